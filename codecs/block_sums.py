"""Sums over blocks of pixels, interpolated means and squares around them: in numpy, the reference.

Where means are interpolated, Weights are of each row or column: the block before it, the block
after it, and the weight of the latter in 1/64, all int64.
"""

from collections.abc import Sequence

import numpy as np

from bitsback.integer.fixed_point import rounded_shift

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]
ONE = 4096  # what weights of a pixel sum to: 64 down, 64 across


def block_sums(pixels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, C) uint8 -> (sums of blocks of `side` pixels (r, c, C), squares' sums (C,)), int64."""
    tops, lefts = (np.arange(0, size, side) for size in pixels.shape[:2])
    rows = np.add.reduceat(pixels, tops, 0, dtype=np.int64)
    squares = sum(np.square(line, dtype=np.int64).sum(0) for line in pixels)
    return np.add.reduceat(rows, lefts, 1), np.asarray(squares, np.int64)


def squares_around(
    pixels: np.ndarray,
    grid: np.ndarray,
    down: Weights,
    across: Weights,
) -> np.ndarray:
    """Sums of squares (C,) int64, in 1/1024 gray levels, of (H, W, C) uint8 minus the interpolated
    grid: whole numbers, whose sums are the same in every order.

    grid: (r, c, C) int64, 1/64 gray levels.
    """
    found = np.zeros(pixels.shape[2], np.int64)
    for y, line in enumerate(pixels):
        row = [some[y : y + 1] for some in down]
        left = (line.astype(np.int64) * 64 * ONE - interpolated(grid, row, across)[0]) >> 8
        found += np.square(left).sum(0)
    return found


def interpolated(grid: np.ndarray, down: Sequence[np.ndarray], across: Weights) -> np.ndarray:
    """(r, c, C) numbers, one a block -> (h, w, C), interpolated linearly, ONE times as large."""
    above, below, share = down
    before, after, weight = across
    share, weight = share[:, None, None], weight[:, None]
    lines = grid[above] * (64 - share) + grid[below] * share
    return lines[:, before] * (64 - weight) + lines[:, after] * weight


def interpolated_means(
    grid: np.ndarray, down: Weights, across: Weights, mean32: np.ndarray, shift: int
) -> np.ndarray:
    """(r, c, C) int32 steps -> (C, h, w) int32: mean32 (C,) plus what is interpolated >> shift,
    rounded."""
    more = rounded_shift(interpolated(grid, down, across), shift)
    return mean32[:, None, None] + more.transpose(2, 0, 1).astype(np.int32)
