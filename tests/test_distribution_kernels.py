"""Distributions by Triton kernels: the integers of torch operations, for any layout and values."""

import numpy as np
import pytest
import torch

from bitsback.coder import distribution_arrays, sample_tensors
from bitsback.coder.sample_tensors import FreeSamples
from bitsback.diffusion.passes import Places, coding_passes
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.integer.network import StepTables

pytest.importorskip("triton")
from bitsback.coder.distribution_kernels import StepDistributions  # noqa: E402
from bitsback.coder.free_ranks import FreeRanks  # noqa: E402
from bitsback.coder.placed import Placed  # noqa: E402

CPU = torch.device("cpu")
WHOLE = WholeRows(1000, 8, 0)
SHAPES = [(1, 3, 1, 1), (2, 3, 7, 10), (3, 1, 1, 6), (1, 1, 9, 5), (2, 3, 2, 3), (1, 3, 6, 1)]
LARGE = 2**31 - 1


def numbers(rng, shape, reach):
    return torch.from_numpy(rng.integers(-reach - 1, reach + 1, shape).astype(np.int32))


def case(shape, reach, seed):
    """(step, trunk, heads, y, values): random integers, channels last, wider than the values."""
    rng = np.random.default_rng(seed)
    batch, _, height, width = shape
    tables = [numbers(rng, 256, reach) for _ in range(4)]
    tables[0] %= 32  # half of them have rows of whole pixels
    step = StepTables(int(rng.integers(-70000, 70000)), -321, 96, *tables)
    rows, columns = (height + 7) // 8 * 8, (width + 7) // 8 * 8
    trunk = numbers(rng, (batch, rows, columns, 9), reach).permute(0, 3, 1, 2)
    trunk = trunk[:, :, : height + 1, : width + 1]
    heads = numbers(rng, (2, batch, rows // 2, columns // 2, 9), reach).permute(0, 1, 4, 2, 3)
    return step, trunk, heads, numbers(rng, shape, reach), numbers(rng, shape, reach)


def surrounded(values, rng):
    """(B, C, H, W) -> the same inside an array with room for a context."""
    batch, channels, height, width = values.shape
    whole = numbers(rng, (batch, channels, height + 2, width + 3), 999)
    whole = whole.to(values.device)
    whole[:, :, :height, :width] = values
    return Placed(whole, values.shape)


def reference(shape, passes, reach, seed, free=None):
    """All that torch operations compute for one step: means, scales, values, keys, innovations."""
    step, trunk, heads, y, values = case(shape, reach, seed)
    order = coding_passes(passes)
    mask = None if free is None else FreeSamples(free, [order], CPU)
    ours = distribution_arrays.StepDistributions(step, trunk, y, values, mask)
    innovations = torch.zeros((*heads.shape[1:2], *heads.shape[3:], 12), dtype=torch.int8)
    results, used = [], 0
    for number, parts in enumerate(order):
        places = Places(parts, *shape[2:], number)
        if not places.n:
            continue
        later = innovations if number + 1 < passes else None
        ours.begin(places, heads[number % 2] if number else None, later)
        for colour in (1, 0, 2)[: shape[1]]:
            channel = colour if shape[1] == 3 else 0
            mean32, scale = (array.clone() for array in ours.of(colour))
            above = sample_tensors.of_colour(places, y, channel, mask)
            results += [mean32, WHOLE.scale(mean32, scale, above)]
            used += int((results[-1] >= WHOLE.begin).sum())
            results.append(sample_tensors.of_colour(places, values, channel, mask))
            results.append(sample_tensors.counted(places, values, channel, mask)[1])
        ours.end()
        results.append(innovations.clone())
    assert used or reach > 300 or free is not None or np.prod(shape) < 100
    return results


def by_kernels(device, shape, passes, reach, seed, known, free=None):
    """The same by kernels, with all values, or with those that `put` gives."""
    step, trunk, heads, y, values = (
        StepTables(*(part.to(device) if torch.is_tensor(part) else part for part in item))
        if isinstance(item, StepTables)
        else item.to(device)
        for item in case(shape, reach, seed)
    )
    order, rng = coding_passes(passes), np.random.default_rng(seed + 1)
    mask = None if free is None else FreeRanks(free, [order], device)
    there = surrounded(values, rng)
    if not known:
        fixed = (
            torch.zeros_like(values)
            if free is None
            else values * torch.from_numpy(~free).to(device)
        )
        there.values[...] = fixed
    ours = StepDistributions(step, trunk, surrounded(y, rng), there, mask)
    ours.known, ours.keyed, ours.whole = known, True, WHOLE
    innovations = torch.zeros(
        (*heads.shape[1:2], *heads.shape[3:], 16), dtype=torch.int8, device=device
    )
    results = []
    listed = None if free is None else FreeSamples(free, [order], device)
    for number, parts in enumerate(order):
        places = Places(parts, *shape[2:], number)
        if not places.n:
            continue
        later = innovations if number + 1 < passes else None
        ours.begin(places, heads[number % 2] if number else None, later)
        for colour in (1, 0, 2)[: shape[1]]:
            channel = colour if shape[1] == 3 else 0
            coded = sample_tensors.of_colour(places, values, channel, listed)
            results += [array.clone() for array in ours.of(colour)]
            results += [ours.coded(colour) if known else coded, ours.keys(colour)[1].clone()]
            ours.put(coded.contiguous())
        ours.end()
        results.append(innovations[..., :12].clone())
    assert torch.equal(there.values, values)
    return [array.cpu() for array in results]


def alike(device, *arguments):
    expected = reference(*arguments)
    for known in (True, False):
        actual = by_kernels(device, *arguments[:4], known, *arguments[4:])
        assert len(expected) == len(actual)
        assert all(torch.equal(a, b) for a, b in zip(expected, actual))
    return expected


@pytest.mark.parametrize("passes", [2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [300, 40_000, LARGE])
def test_kernels_equal_torch_operations(device, shape, passes, reach):
    """Sums and products that pass int32, as a damaged file may cause them, wrap alike."""
    alike(device, shape, passes, reach, passes)


@pytest.mark.parametrize("passes", [2, 4, 8])
@pytest.mark.parametrize("shape", [(2, 3, 7, 10), (1, 1, 9, 5), (2, 1, 4, 3)])
def test_only_free_values_are_returned(device, shape, passes):
    """A mask chooses the same values in both; fixed ones are read where they are."""
    free = np.random.default_rng(5).random(shape) < 0.4
    some = alike(device, shape, passes, 300, 3, free)
    assert sum(map(len, some)) < sum(map(len, reference(shape, passes, 300, 3)))


def test_nothing_is_coded_where_all_samples_are_fixed(device):
    """Innovations are those of the fixed samples."""
    shape = (1, 3, 5, 6)
    nothing = alike(device, shape, 4, 300, 3, np.zeros(shape, bool))
    assert torch.equal(nothing[-1], reference(shape, 4, 300, 3)[-1])
