"""Mirrored inputs of a network that keep every pixel's coding pass, and outputs mirrored back.

An input lies on a canvas, MARGIN lines from its top and left, and the rest is its reflection: at
the edges networks then err less than with zeros.  Mirrored, line i of the canvas's n becomes line
n - i, and line 0 stays: even lines remain even.  So a pixel keeps its place in a 2x2 block, but
blocks do not: even lines of a block are in the block after it.  ARITHMETIC.md, section 17.
"""

import torch

COLUMNS, ROWS = 1, 2  # bits of `flips`: left and right exchanged, top and bottom
ALL_FLIPS = range(4)
PASSES = 4  # of a step whose inputs may be mirrored: a pass has one place in all blocks
MARGIN = 4  # lines: 8 gain 0.02 % more on 256x256 pixels


def canvas_side(side: int) -> int:
    """Lines of the canvas of an input of so many."""
    return -(-side // 8) * 8 + 2 * MARGIN


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


def _part(total: int, begin: int, count: int, mirrored: bool, odd: int = 0) -> slice:
    """Where `count` lines of a canvas's `total`, from line `begin` on, lie once it is mirrored.

    odd: lines are those of blocks: 1 for their odd lines.
    """
    first = total - begin - odd - count + 1 if mirrored else begin
    return slice(first, first + count)


def _back(part: torch.Tensor, flips: int) -> torch.Tensor:
    """(B, C, H, W) with its lines in the other order where they are mirrored."""
    axes = [axis for axis, mirrored in zip((2, 3), _bits(flips)) if mirrored]
    return part.flip(axes) if axes else part


def restored_pixels(out: torch.Tensor, flips: int, height: int, width: int) -> torch.Tensor:
    """The mirror of flipped_pixels, without reflections: (B, C, height, width)."""
    rows, columns = (
        _part(total, MARGIN, count, mirrored)
        for total, count, mirrored in zip(out.shape[2:], (height, width), _bits(flips))
    )
    return _back(out[:, :, rows, columns], flips)


def flipped_blocks(innovations: torch.Tensor, flips: int, into: torch.Tensor) -> None:
    """Innovations of an input, (B, h, w, 12) int8 (Places.put_unshuffled), mirrored on its canvas.

    into: (B, h', w', 12) zeros, where they are written: beyond the input there are none.
    """
    source, target = (x.unflatten(3, (3, 2, 2)) for x in (innovations, into))
    sides, axes = innovations.shape[1:3], _bits(flips)
    places = [((0, 0), (1, 1)) if mirrored else ((0, slice(None)),) for mirrored in axes]
    turned = [axis for axis, mirrored in zip((1, 2), axes) if mirrored]
    for odd_row, row in places[0]:
        for odd_column, column in places[1]:
            rows, columns = (
                _part(total, MARGIN // 2, count, mirrored, odd)
                for total, count, mirrored, odd in zip(
                    into.shape[1:3], sides, axes, (odd_row, odd_column)
                )
            )
            part = source[..., row, column]
            target[:, rows, columns, :, row, column] = part.flip(turned) if turned else part


def restored_blocks(
    head: torch.Tensor, flips: int, place: tuple[int, int], height: int, width: int
) -> torch.Tensor:
    """What a pass adds for each block of the canvas, (B, 9, h', w'), mirrored back: of the input's
    blocks, (B, 9, height, width).  place: row and column of the pass's pixels in a block.
    """
    rows, columns = (
        _part(total, MARGIN // 2, count, mirrored, odd)
        for total, count, mirrored, odd in zip(head.shape[2:], (height, width), _bits(flips), place)
    )
    return _back(head[:, :, rows, columns], flips)
