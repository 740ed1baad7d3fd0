"""Mirrored inputs of a network that keep every pixel's coding pass, and outputs mirrored back.

An input lies on a canvas, MARGIN lines from its top and left, and the rest is its reflection: at
the edges networks then err less than with zeros.  Mirrored, line i of the canvas's n becomes line
n - i, and line 0 stays: even lines remain even.  So a pixel keeps its place in a 2x2 block, but
blocks do not: even lines of a block are in the block after it.  ARITHMETIC.md, section 17.
"""

import itertools
from collections.abc import Sequence

import torch

from bitsback.integer.network import padded

COLUMNS, ROWS = 1, 2  # bits of `flips`: left and right exchanged, top and bottom
ALL_FLIPS = range(4)
PASSES = 4  # of a step whose inputs may be mirrored: a pass has one place in all blocks
MARGIN = 4  # lines: 8 gain 0.02 % more on 256x256 pixels


def canvas_side(side: int) -> int:
    """Lines of the canvas of an input of so many."""
    return padded(side) + 2 * MARGIN


def _bits(flips: int) -> tuple[bool, bool]:
    """Whether rows, and whether columns are mirrored."""
    return bool(flips & ROWS), bool(flips & COLUMNS)


def _lines(side: int, mirrored: bool, device: torch.device) -> torch.Tensor:
    """(n,) int64: which line of the input each line of the canvas is."""
    lines = torch.arange(canvas_side(side), device=device)
    if mirrored:
        lines = -lines % len(lines)
    lines = (lines - MARGIN) % (2 * side)
    return torch.minimum(lines, 2 * side - 1 - lines)


def flipped_pixels(y: torch.Tensor, flips: int) -> torch.Tensor:
    """(B, C, H, W) on its canvas, mirrored: (B, C, H', W')."""
    for axis, mirrored in zip((2, 3), _bits(flips)):
        y = y.index_select(axis, _lines(y.shape[axis], mirrored, y.device))
    return y


def _window(
    canvas: Sequence[int],
    begin: int,
    sides: Sequence[int],
    flips: int,
    odd: tuple[int, int] = (0, 0),
) -> tuple[slice, slice]:
    """Where an input of these sides lies on its canvas, from line `begin` on, once it is mirrored.

    odd: of blocks' lines, 1 for their odd ones.
    """
    firsts = (
        total - begin - one - side + 1 if mirrored else begin
        for total, side, mirrored, one in zip(canvas, sides, _bits(flips), odd)
    )
    rows, columns = (slice(first, first + side) for first, side in zip(firsts, sides))
    return rows, columns


def _turned(x: torch.Tensor, flips: int, axes: tuple[int, int] = (2, 3)) -> torch.Tensor:
    """With its lines in the other order where they are mirrored."""
    chosen = [axis for axis, mirrored in zip(axes, _bits(flips)) if mirrored]
    return x.flip(chosen) if chosen else x


def restored_pixels(out: torch.Tensor, flips: int, height: int, width: int) -> torch.Tensor:
    """The mirror of flipped_pixels, without reflections: (B, C, height, width)."""
    rows, columns = _window(out.shape[2:], MARGIN, (height, width), flips)
    return _turned(out[:, :, rows, columns], flips)


def flipped_in_zeros(values: torch.Tensor, flips: int) -> torch.Tensor:
    """The mirror of restored_pixels: (B, C, H, W) on a canvas of zeros, mirrored."""
    sides = values.shape[2:]
    canvas = values.new_zeros((*values.shape[:2], *map(canvas_side, sides)))
    rows, columns = _window(canvas.shape[2:], MARGIN, sides, flips)
    canvas[:, :, rows, columns] = _turned(values, flips)
    return canvas


def flipped_blocks(innovations: torch.Tensor, flips: int, into: torch.Tensor) -> None:
    """As flipped_in_zeros, of innovations (B, h, w, 12) int8 (Places.put_unshuffled).

    into: (B, h', w', 12) zeros, where they are written.
    """
    source, target = (x.unflatten(3, (3, 2, 2)) for x in (innovations, into))
    lines = [((0, 0), (1, 1)) if mirrored else ((0, slice(None)),) for mirrored in _bits(flips)]
    for (odd_row, row), (odd_column, column) in itertools.product(*lines):
        odd = odd_row, odd_column
        rows, columns = _window(into.shape[1:3], MARGIN // 2, innovations.shape[1:3], flips, odd)
        part = _turned(source[..., row, column], flips, (1, 2))
        target[:, rows, columns, :, row, column] = part


def restored_blocks(
    head: torch.Tensor, flips: int, place: tuple[int, int], height: int, width: int
) -> torch.Tensor:
    """What a pass adds for each block of the canvas, (B, 9, h', w'), mirrored back: of the input's
    blocks, (B, 9, height, width).  place: row and column of the pass's pixels in a block.
    """
    rows, columns = _window(head.shape[2:], MARGIN // 2, (height, width), flips, place)
    return _turned(head[:, :, rows, columns], flips)
