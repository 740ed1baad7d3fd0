"""A network evaluated tile by tile where memory is too small for all pixels at once.

An output depends only on inputs within the network's reach, so a tile with a margin of that width
gives the same integers as the whole.  What does not fit is halved, and halved again: no tile is
smaller than it must be, and nothing of this is in a file.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from bitsback.memory import give_device_memory_back, out_of_memory

log = logging.getLogger("bitsback")
Evaluate = Callable[..., Sequence[torch.Tensor]]


class Grid(NamedTuple):
    """How an evaluation may be cut, in rows and columns of its inputs.

    unit: tiles begin at its multiples; margin: a multiple of it, no output depends on inputs
    farther away; scales: of each output, how many rows of the inputs one of its rows stands for.
    """

    unit: int
    margin: int
    scales: tuple[int, ...]


class Tile(NamedTuple):
    """Part of a batch: images first..last - 1, rows top..bottom - 1, columns left..right - 1."""

    first: int
    last: int
    top: int
    bottom: int
    left: int
    right: int

    def halves(self, unit: int) -> tuple["Tile", "Tile"]:
        """Halves of the images if there are several, else of the longer side."""
        if self.last - self.first > 1:
            middle = (self.first + self.last) // 2
            return self._replace(last=middle), self._replace(first=middle)
        height, width = self.bottom - self.top, self.right - self.left
        if height >= width:
            middle = self.top + height // 2 // unit * unit
            return self._replace(bottom=middle), self._replace(top=middle)
        middle = self.left + width // 2 // unit * unit
        return self._replace(right=middle), self._replace(left=middle)

    def can_be_halved(self, grid: Grid) -> bool:
        """Whether halves take clearly less memory: margins do not shrink."""
        side = max(self.bottom - self.top, self.right - self.left)
        return self.last - self.first > 1 or side >= 2 * max(grid.margin, grid.unit)


def in_tiles(
    evaluate: Evaluate, inputs: Sequence[torch.Tensor], grid: Grid
) -> Sequence[torch.Tensor]:
    """evaluate(*inputs), of less at once where memory runs out.

    inputs: (B, C, H, W) each; evaluate: of the same part of each; its outputs are
    (B, O, H, W) where the scale is 1, else (B, O, H' / scale, W' / scale), H' and W' being H and W
    rounded up to multiples of the unit.  Errors: that of an allocation where smaller tiles would
    not help.
    """
    batch, _, height, width = inputs[0].shape
    whole = Tile(0, batch, 0, height, 0, width)
    try:
        return evaluate(*inputs)
    except Exception as error:  # torch's, Triton's and Python's have no class in common
        if not out_of_memory(error) or not whole.can_be_halved(grid):
            raise
    log.info("no memory for a network on %dx%d pixels at once: in tiles", width, height)
    made = _Tiled(evaluate, inputs, grid)
    for half in whole.halves(grid.unit):
        made.add(half)
    return made.outputs


class _Tiled:
    """Outputs that are written tile by tile."""

    def __init__(self, evaluate: Evaluate, inputs: Sequence[torch.Tensor], grid: Grid):
        self.evaluate, self.inputs, self.grid = evaluate, inputs, grid
        self.outputs: list[torch.Tensor] = []

    def add(self, tile: Tile) -> None:
        """Evaluates a tile, or each of its halves if memory is too small for it."""
        give_device_memory_back()  # outside of `except`, whose frames hold tensors
        try:
            self._write(tile)
            return
        except Exception as error:
            if not out_of_memory(error) or not tile.can_be_halved(self.grid):
                raise
        for half in tile.halves(self.grid.unit):
            self.add(half)

    def _write(self, tile: Tile) -> None:
        height, width = self.inputs[0].shape[2:]
        images, margin = slice(tile.first, tile.last), self.grid.margin
        top, left = max(0, tile.top - margin), max(0, tile.left - margin)
        rows, columns = slice(top, tile.bottom + margin), slice(left, tile.right + margin)
        parts = (x[images, :, rows, columns] for x in self.inputs)
        found = self.evaluate(*(x.contiguous(memory_format=_layout(x)) for x in parts))
        self.outputs = self.outputs or [self._empty(*pair) for pair in zip(found, self.grid.scales)]
        for part, whole, scale in zip(found, self.outputs, self.grid.scales):
            begin, side = tile.top // scale, tile.left // scale
            # at the image's end up to the end of the output, which may be padded
            end = whole.shape[2] if tile.bottom == height else tile.bottom // scale
            last = whole.shape[3] if tile.right == width else tile.right // scale
            before, beside = (tile.top - top) // scale, (tile.left - left) // scale
            whole[images, :, begin:end, side:last] = part[
                :, :, before : before + end - begin, beside : beside + last - side
            ]

    def _empty(self, part: torch.Tensor, scale: int) -> torch.Tensor:
        """Memory for an output of which `part` is a tile."""
        batch, _, *sides = self.inputs[0].shape
        if scale != 1:
            sides = [-(-side // self.grid.unit) * self.grid.unit // scale for side in sides]
        return part.new_empty((batch, part.shape[1], *sides)).contiguous(
            memory_format=_layout(part)
        )


def _layout(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.stride(1) == 1 and tensor.shape[1] > 1
    return torch.channels_last if last else torch.contiguous_format
