"""Colour counts as tensors: frequencies, words and counts of the host's, of both kinds."""

import numpy as np
import pytest
import torch

from bitsback.ans import colour_frequencies, lanes_numpy
from bitsback.ans.colour_counts import BLUE, GREEN, RED, ColourCounts, PixelArray
from bitsback.ans.device_counts import DeviceCounts
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.lanes import Lanes

pytest.importorskip("triton")
KINDS = [False, True]  # torch operations, Triton kernels


def message(lanes, size):
    found = Lanes(np.random.default_rng(3).bytes(8 * size + 4 * lanes), lanes_numpy)
    found.widen(lanes)
    return found


def array(n, table, seed, far=0.1):
    """A PixelArray whose values follow few keys, some far from the mean, some means far outside."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, n)
    mean32 = 32 * values + rng.integers(-90, 90, n)
    anywhere = rng.random(n) < far
    mean32[anywhere] = rng.integers(-20_000, 20_000, anywhere.sum())
    keys = {GREEN: 0, "gray": 0, RED: 7 << 8, BLUE: 65_000 << 8}[table]
    scale = rng.integers(0, 113, n)
    arrays = (array.astype(np.int32) for array in (values, mean32, scale))
    return PixelArray(table, np.full(n, keys, np.int64), *arrays)


def tensors(pixels, device):
    table, keys, values, mean32, scale = pixels
    arrays = (
        torch.from_numpy(a.astype(np.int32)).to(device) for a in (keys, values, mean32, scale)
    )
    return PixelArray(table, *arrays)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize(
    "n, lanes, sharpness, table", [(1, 1, 1, GREEN), (700, 33, 6, RED), (300, 64, 4, BLUE)]
)
def test_arrays_are_coded_as_on_the_host(gaussians, kernels, n, lanes, sharpness, table, device):
    """A push, then a pop: the same words and values, and counts that return to what they were."""
    pixels, host = array(n, table, n), ColourCounts(sharpness, colour_frequencies)
    for times in (1, 1100):  # counts above the largest, too
        host.count(table, pixels.keys[: n // times + 1], pixels.values[: n // times + 1], times)
    host.count(table, pixels.keys, pixels.values)
    tallies, before = DeviceCounts(host, device, kernels), host._table(table).copy()
    expected, there = message(lanes, n), DeviceLanes(message(lanes, n), device, 9 * n, kernels)
    host.push(expected, gaussians, pixels)
    ours = tensors(pixels, device)
    tallies.push(there, gaussians, ours)
    assert there.to_lanes().to_bytes() == expected.to_bytes()
    assert np.array_equal(tallies._table(table).cpu().numpy(), host._table(table))
    again = DeviceLanes(expected, device, 9 * n, kernels)
    popped = tallies.pop(again, gaussians, table, ours.keys, ours.mean32, ours.scale)
    assert np.array_equal(popped.cpu().numpy(), pixels.values)
    assert again.to_lanes().to_bytes() == message(lanes, n).to_bytes()
    assert np.array_equal(tallies._table(table).cpu().numpy(), before)


@pytest.mark.parametrize("kernels", KINDS)
def test_frequencies_of_each_sharpness(gaussians, kernels, device):
    """Windows at the ends of 0..255 and outside."""
    pixels = array(200, GREEN, 4, 0.4)
    for sharpness in range(1, 7):
        host = ColourCounts(sharpness, colour_frequencies)
        host.count(GREEN, pixels.keys, pixels.values, sharpness)
        ours = tensors(pixels, device)
        ends = DeviceCounts(host, device, kernels).ends(
            gaussians, GREEN, ours.keys, ours.mean32, ours.scale
        )
        expected = host.frequencies(
            gaussians, GREEN, pixels.keys, pixels.mean32, pixels.scale
        ).cumsum(1)
        assert np.array_equal(ends.cpu().numpy().T, expected)


@pytest.mark.parametrize("kernels", KINDS)
def test_restore_undoes_what_was_counted(kernels, device):
    """In place of the latest snapshot."""
    tallies, ours = (
        DeviceCounts(ColourCounts(2), device, kernels),
        tensors(array(50, RED, 6), device),
    )
    tallies.count(RED, ours.keys, ours.values, 3)
    before = tallies._table(RED).clone()
    tallies.snapshot()
    tallies.count(RED, ours.keys, ours.values - 999, -2)
    tallies.count(RED, ours.keys[:0], ours.values[:0])
    assert not torch.equal(tallies._table(RED), before)
    tallies.restore()
    assert torch.equal(tallies._table(RED), before) and tallies.counted == 150
