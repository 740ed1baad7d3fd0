"""The number of each coded sample among those that are coded, on a device, for Triton kernels."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from bitsback.ans.launch import launch
from bitsback.coder import sample_triton
from bitsback.diffusion.passes import Pass, Places

BLOCK = 512  # samples of a program


def grid_of(n: int) -> tuple[int]:
    """Programs of BLOCK samples each for n samples."""
    return (-(-n // BLOCK),)


def pass_grid(places: Places, batch: int, height: int, width: int) -> tuple[int, ...]:
    """The places of a pass as kernels take them: sample_triton.PASS."""
    parts = []
    for row, column, stride in places.grid.tolist():
        rows, columns = (height - row - 1) // stride + 1, (width - column - 1) // stride + 1
        parts.append((row, column, stride, rows * columns, max(1, columns)))
    (row_0, column_0, stride, part, columns_0), (row_1, column_1, _, _, columns_1) = (
        parts[0],
        parts[-1],
    )
    grid = places.n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    return batch * places.n, *grid


class FreeRanks:
    """Which samples of a segment are coded, and the number of each among them, on a device.

    free: (B, C, H, W) bool; orders: the coding passes of all steps.  mask: (B C H W) uint8; sums:
    int32, its cumulative sum; coded, fixed: how many samples are, and are not, in C order.
    """

    def __init__(self, free: np.ndarray, orders: Iterable[tuple[Pass, ...]], device: torch.device):
        self.shape, self.coded = free.shape, int(np.count_nonzero(free))
        self.fixed = free.size - self.coded
        self.mask = torch.from_numpy(np.ascontiguousarray(free).view(np.uint8)).to(device).view(-1)
        self.sums = torch.cumsum(self.mask, 0, dtype=torch.int32)
        planes = free.shape[0] * free.shape[1]
        free_of = np.count_nonzero(free.reshape(planes, -1), 1)
        ends = np.cumsum(free[0, 0].size - free_of).tolist()
        self.fixed_of = [*zip([0, *ends[:-1]], ends)]  # places of each plane among the fixed ones
        self._passes: dict[bytes, tuple[Tensor, tuple[int, ...], tuple[int, ...]]] = {}
        for order in set(orders):
            self._add(order, free)

    def _add(self, order: tuple[Pass, ...], free: np.ndarray) -> None:
        batch, channels, height, width = free.shape
        passes = [Places(parts, height, width) for parts in order]
        passes = [p for p in passes if p.n]
        ordered = self.mask.new_empty(free.size)
        begin, before, found = 0, 0, []
        for places in passes:
            grid = pass_grid(places, batch, height, width)
            sizes = height, width, *grid
            launch(
                sample_triton.ordered_mask,
                grid_of(grid[0]),
                self.mask,
                ordered[begin:],
                *sizes,
                CHANNELS=channels,
                BLOCK=BLOCK,
            )
            counts = tuple(places.count(free[:, c : c + 1]) for c in range(channels))
            starts = tuple(before + sum(counts[:channel]) for channel in range(channels))
            found.append((places, begin, starts, counts))
            begin, before = begin + channels * grid[0], before + sum(counts)
        sums = torch.cumsum(ordered, 0, dtype=torch.int32)
        for places, begin, starts, counts in found:
            self._passes[places.grid.tobytes()] = sums[begin:], starts, counts

    def of(self, places: Places) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
        """Of a pass: (C B n) int32 cumulative sums from the order's begin on; how many samples are
        coded before each channel; how many of each channel are coded.
        """
        return self._passes[places.grid.tobytes()]


def masks(free: FreeRanks | None, unused: Tensor) -> tuple[Tensor, Tensor]:
    """mask and sums of FreeRanks; without a mask, arrays of their types that are not read."""
    return (unused, unused) if free is None else (free.mask, free.sums)
