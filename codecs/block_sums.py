"""Sums over blocks of pixels and squares around interpolated means: in numpy, the reference."""

import numpy as np

from bitsback.codecs.image import strips

ONE = 4096  # what weights of a pixel sum to: 64 down, 64 across


def block_sums(pixels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, C) uint8 -> (sums of blocks of `side` pixels (r, c, C), squares' sums (C,)), int64."""
    tops, lefts = (np.arange(0, size, side) for size in pixels.shape[:2])
    rows = np.add.reduceat(pixels, tops, 0, dtype=np.int64)
    squares = sum(
        np.square(line, dtype=np.int64).sum(0) for rows in strips(pixels) for line in rows
    )
    return np.add.reduceat(rows, lefts, 1), np.asarray(squares, np.int64)


def squares_around(
    pixels: np.ndarray,
    grid: np.ndarray,
    down: tuple[np.ndarray, np.ndarray, np.ndarray],
    across: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Sums of squares (C,) float64 of (H, W, C) uint8 minus the interpolated grid.

    grid: (r, c, C) float64 gray levels; down, across: of each row and column the block before, the
    block after and the weight of the latter in 1/64, int64.
    """
    found = np.zeros(pixels.shape[2])
    before, after, weight = across
    weight = weight[:, None]
    for y, line in enumerate(pixels):
        above, below, share = (some[y] for some in down)
        means = grid[above] * (64 - share) + grid[below] * share
        left = line - (means[before] * (64 - weight) + means[after] * weight) / ONE
        found += (left**2).sum(0)
    return found
