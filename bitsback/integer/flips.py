"""Mirrored inputs of a network that keep every pixel's coding pass, and outputs mirrored back.

An input lies on a canvas, MARGIN lines from each edge, and the rest is its reflection: at its edges
networks then err less than with zeros.  Line i of the canvas's n becomes line n - i, and line 0
stays: even lines remain even.  So a pixel keeps its place in a 2x2 block, but blocks do not: even
lines of a block are in the block after it.  ARITHMETIC.md, section 17.
"""

import torch

COLUMNS, ROWS = 1, 2  # bits of `flips`: left and right exchanged, top and bottom
ALL_FLIPS = range(4)
PASSES = 4  # of a step whose inputs may be mirrored: a pass has one place in all blocks
MARGIN = 4  # lines: 8 gain 0.02 % more on 256x256 pixels


def canvas_side(side: int) -> int:
    """Lines of the canvas of an input of so many."""
    return MARGIN + -(-side // 8) * 8 + MARGIN


def reflected_lines(side: int, device: torch.device) -> torch.Tensor:
    """(n,) int64: which line of the input each line of the canvas is."""
    lines = (torch.arange(canvas_side(side), device=device) - MARGIN) % (2 * side)
    return torch.minimum(lines, 2 * side - 1 - lines)


def _mirrored(
    x: torch.Tensor, flips: int, axes: tuple[int, int], odd: tuple[int, int]
) -> torch.Tensor:
    """Lines of two axes, rows and columns, mirrored; odd: 1 where they are blocks' odd lines."""
    wanted = [k for k, bit in enumerate((ROWS, COLUMNS)) if flips & bit]
    x = x.flip([axes[k] for k in wanted])
    rolled = [axes[k] for k in wanted if not odd[k]]
    return x.roll([1] * len(rolled), rolled) if rolled else x


def on_canvas(y: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) and its reflections: (B, C, H', W')."""
    rows, columns = (reflected_lines(side, y.device) for side in y.shape[2:])
    return y.index_select(2, rows).index_select(3, columns)


def flipped_pixels(canvas: torch.Tensor, flips: int) -> torch.Tensor:
    """(B, C, H', W') mirrored."""
    return _mirrored(canvas, flips, (2, 3), (0, 0)) if flips else canvas


def restored_pixels(out: torch.Tensor, flips: int, height: int, width: int) -> torch.Tensor:
    """(B, C, H', W') mirrored back, and what is of the input: (B, C, height, width)."""
    out = _mirrored(out, flips, (2, 3), (0, 0)) if flips else out
    return out[:, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width]


def flipped_blocks(innovations: torch.Tensor, flips: int, into: torch.Tensor) -> None:
    """Innovations of an input, (B, h, w, 12) int8 (Places.put_unshuffled), mirrored on the canvas.

    into: (B, h', w', 12) zeros, where they are written.
    """
    begin, (height, width) = MARGIN // 2, innovations.shape[1:3]
    target = into.unflatten(3, (3, 2, 2))
    canvas = torch.zeros_like(into)
    canvas[:, begin : begin + height, begin : begin + width] = innovations
    source = canvas.unflatten(3, (3, 2, 2))
    for row in (0, 1):
        for column in (0, 1):
            part = source[..., row, column]
            target[..., row, column] = _mirrored(part, flips, (1, 2), (row, column))


def restored_blocks(
    head: torch.Tensor, flips: int, row: int, column: int, height: int, width: int
) -> torch.Tensor:
    """What a pass adds for each block of the canvas, (B, 9, h', w'), mirrored back: of the input's
    blocks, (B, 9, height, width).  row, column: of the pass's pixels in a block.
    """
    head = _mirrored(head, flips, (2, 3), (row, column)) if flips else head
    begin = MARGIN // 2
    return head[:, :, begin : begin + height, begin : begin + width]
