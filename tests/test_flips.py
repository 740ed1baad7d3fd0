"""flips.py: reflected edges, and mirrored inputs that keep every pixel's place in its 2x2 block."""

import numpy as np
import pytest
import torch

from bitsback.diffusion.passes import ORDER
from bitsback.integer.flips import (
    ALL_FLIPS,
    MARGIN,
    canvas_side,
    flipped_blocks,
    flipped_in_zeros,
    flipped_pixels,
    restored_blocks,
    restored_pixels,
)
from tests.conftest import unshuffled

SIZES = [(1, 1), (8, 8), (9, 16), (13, 22)]


def numbered(shape):
    return torch.arange(1, 1 + np.prod(shape), dtype=torch.int32).reshape(shape)


@pytest.mark.parametrize("size", SIZES)
def test_a_canvas_is_the_reflected_input(size):
    """What numpy's symmetric padding makes; sides are multiples of 8."""
    y = numbered((2, 3, *size))
    widths = [(MARGIN, canvas_side(side) - MARGIN - side) for side in size]
    expected = np.pad(y.numpy(), ((0, 0), (0, 0), *widths), mode="symmetric")
    found = flipped_pixels(y, 0)
    assert np.array_equal(found.numpy(), expected) and found.dtype == y.dtype
    assert not any(side % 8 or side < 8 for side in found.shape[2:])
    assert max(np.subtract(found.shape[2:], size)) < MARGIN * 2 + 8


@pytest.mark.parametrize("flips", ALL_FLIPS)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_mirrored_is_mirrored_back(flips, size):
    y = numbered((2, 3, *size))
    there = flipped_pixels(y, flips)
    assert torch.equal(restored_pixels(there, flips, *size), y)


def test_line_i_becomes_line_n_minus_i():
    y = numbered((1, 1, 8, 16))
    canvas = flipped_pixels(y, 0)
    rows, columns = ([-i % n for i in range(n)] for n in canvas.shape[2:])
    assert torch.equal(flipped_pixels(y, 1), canvas[:, :, :, columns])
    assert torch.equal(flipped_pixels(y, 2), canvas[:, :, rows])
    assert torch.equal(flipped_pixels(y, 3), canvas[:, :, rows][:, :, :, columns])


def zero_canvas(known):
    widths = [(MARGIN, canvas_side(side) - MARGIN - side) for side in known.shape[2:]]
    return torch.from_numpy(np.pad(known.numpy(), ((0, 0), (0, 0), *widths)))


def mirrored(canvas, flips):
    for axis, bit in ((2, 2), (3, 1)):
        if flips & bit:
            canvas = canvas.flip(axis).roll(1, axis)
    return canvas


@pytest.mark.parametrize("flips", ALL_FLIPS)
@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_mirrored_as_their_pixels_are(flips, size):
    """Innovations lie in zeros, not in their reflections."""
    known = numbered((2, 3, *size)) % 97
    expected = unshuffled(mirrored(zero_canvas(known), flips).numpy())
    room = torch.zeros((*expected.shape[:3], 16), dtype=torch.int8)
    flipped_blocks(torch.from_numpy(unshuffled(known.numpy())), flips, room[..., :12])
    assert np.array_equal(room[..., :12].numpy(), expected) and not room[..., 12:].any()
    assert torch.equal(flipped_in_zeros(known, flips), mirrored(zero_canvas(known), flips))


@pytest.mark.parametrize("flips", ALL_FLIPS)
@pytest.mark.parametrize("row, column", ORDER)
def test_a_pass_hears_its_own_block(flips, row, column):
    """What the head says of a mirrored pixel's block reaches that pixel."""
    pixels = numbered((1, 1, 16, 24))
    head = flipped_pixels(pixels, flips)[:, :, row::2, column::2]
    found = restored_blocks(head, flips, (row, column), 8, 12)
    assert torch.equal(found, pixels[:, :, row::2, column::2])
