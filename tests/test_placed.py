"""Values in an array with their context: what kernels write equals what arrays of numpy do."""

import numpy as np
import pytest
import torch

from bitsback.ans.colour_counts import TABLE_SIZES, ColourCounts
from bitsback.ans.device_counts import DeviceCounts
from bitsback.coder import sample_arrays
from bitsback.coder.context import Context
from bitsback.coder.top import Top
from bitsback.diffusion.passes import Places, coding_passes

pytest.importorskip("triton")
from bitsback.coder import placed  # noqa: E402
from bitsback.coder.free_ranks import FreeRanks  # noqa: E402

SHAPES = [(1, 3, 1, 1), (2, 3, 7, 10), (3, 1, 5, 6), (1, 3, 200, 3)]
ORDERS = [coding_passes(count) for count in (4, 2, 8, 4)]


def case(shape, share, sides=(2, 3)):
    """(x, Context of numpy); share: of samples that are coded, None for no mask."""
    rng = np.random.default_rng(sum(shape))
    batch, channels, height, width = shape
    shapes = shape, (batch, channels, sides[0], width + sides[1]), (*shape[:3], sides[1])
    x, below, right = (rng.integers(-300, 300, s).astype(np.int32) for s in shapes)
    free = None if share is None else rng.random(shape) < share
    return x, Context(below, right, free, None if free is None else x[~free])


def on_device(context, device):
    first, second = placed.placed_contexts([context, context], ORDERS, device)
    return second


@pytest.mark.parametrize("share", [None, 0.4, 0, 1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sides", [(2, 3), (0, 0), (0, 1)])
def test_coded_values_are_placed_and_found_again(device, shape, share, sides):
    x, context = case(shape, share, sides)
    there = on_device(context, device)
    coded = sample_arrays.free_values(x, context.free)
    found = there.placed(torch.from_numpy(coded).to(device), shape)
    expected = context.around(x)
    assert np.array_equal(there.around(found).cpu().numpy(), expected)
    assert np.array_equal(found.values.cpu().numpy(), x)
    again = placed.Placed(found.whole, shape)
    assert np.array_equal(placed.free_values(again, there.free).cpu().numpy(), coded)
    empty = placed.empty(found, shape)
    empty.whole.fill_(7)
    if context.fixed is not None:
        placed.put_fixed(empty, there.fixed, there.free)
        x[context.free] = 7
        assert np.array_equal(empty.values.cpu().numpy(), x)
        assert torch.all(empty.whole[:, :, shape[2] :] == 7)
    empty.values[...] = torch.from_numpy(x).to(device)
    assert np.array_equal(there.around(empty).cpu().numpy(), context.around(x))


@pytest.mark.parametrize("share", [0.4, 0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_of_each_pass(device, shape, share):
    """How many samples of each channel are coded, and the number of each in coding order."""
    _, context = case(shape, share)
    ranks = FreeRanks(context.free, ORDERS, device)
    assert ranks.coded == context.free.sum() and ranks.fixed == (~context.free).sum()
    for order in ORDERS:
        for parts in order:
            places = Places(parts, *shape[2:])
            if not places.n:
                continue
            sums, before, counts = ranks.of(places)
            masks = [places.of_colour(context.free, c).ravel() for c in range(shape[1])]
            assert counts == tuple(mask.sum() for mask in masks)
            sums = sums.cpu().numpy()[: len(masks) * len(masks[0])].reshape(len(masks), -1)
            for mask, found, begin in zip(masks, sums, before):
                assert np.array_equal(found - begin, np.cumsum(mask))


@pytest.mark.parametrize("shape", SHAPES)
def test_fixed_pixels_are_counted(device, shape):
    """Values that are no pixels, too."""
    x, context = case(shape, 0.4)
    there = on_device(context, device)
    host, counts = ColourCounts(3), DeviceCounts(ColourCounts(3), device)
    host.count_all(x, 2, ~context.free)
    whole = torch.from_numpy(context.around(x)).to(device)
    placed.count_fixed(counts, placed.Placed(whole, shape), there.free, 2)
    assert counts.counted == host.counted
    for table in TABLE_SIZES if shape[1] == 3 else ["gray"]:
        if table in host._tables:
            assert np.array_equal(counts._table(table).cpu().numpy(), host._tables[table])


@pytest.mark.parametrize("share", [None, 0.4, 0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("each", [False, True])
def test_rows_of_the_top_distribution(device, shape, share, each):
    """Of three integers, or of an integer for each sample."""
    x, context = case(shape, share)
    top = Top(x if each else (5, -900, 7), (70, 71, 112))
    expected = top._parameters(shape, context)
    found = top._parameters(shape, on_device(context, device))
    assert all(np.array_equal(a, b.cpu().numpy()) for a, b in zip(expected, found, strict=True))
