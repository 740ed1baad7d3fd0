"""Sums over blocks of pixels, interpolated means and squares around them: compiled."""

import numpy as np

from bitsback.ans.compiled import compiled
from bitsback.codecs.block_sums import Weights


@compiled
def _sums(pixels, side, sums, squares):
    height, width, channels = pixels.shape
    for y in range(height):
        for c in range(channels):
            square = np.int64(0)
            for block in range(sums.shape[1]):
                total = np.int64(0)
                for x in range(block * side, min(block * side + side, width)):
                    value = np.int64(pixels[y, x, c])
                    total += value
                    square += value * value
                sums[y // side, block, c] += total
            squares[c] += square


def block_sums(pixels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """As block_sums.block_sums."""
    height, width, channels = pixels.shape
    sums = np.zeros((-(-height // side), -(-width // side), channels), np.int64)
    squares = np.zeros(channels, np.int64)
    _sums(pixels, side, sums, squares)
    return sums, squares


@compiled
def _squares(pixels, grid, above, below, down, before, after, across, means, found):
    height, width, channels = pixels.shape
    for y in range(height):
        for block in range(grid.shape[1]):
            for c in range(channels):
                one, other = grid[above[y], block, c], grid[below[y], block, c]
                means[block, c] = one * (64 - down[y]) + other * down[y]
        for c in range(channels):
            square = 0
            for x in range(width):
                share = across[x]
                mean = means[before[x], c] * (64 - share) + means[after[x], c] * share
                left = ((np.int64(pixels[y, x, c]) << 18) - mean) >> 8
                square += left * left
            found[c] += square


def squares_around(
    pixels: np.ndarray,
    grid: np.ndarray,
    down: Weights,
    across: Weights,
) -> np.ndarray:
    """As block_sums.squares_around."""
    found = np.zeros(pixels.shape[2], np.int64)
    _squares(pixels, grid, *down, *across, np.empty(grid.shape[1:], np.int64), found)
    return found


@compiled
def _means(grid, above, below, down, before, after, across, mean32, shift, found):
    half = 1 << (shift - 1)
    for c in range(grid.shape[2]):
        for y in range(above.size):
            one, other, share = above[y], below[y], down[y]
            for x in range(before.size):
                left, right = before[x], after[x]
                first = grid[one, left, c] * (64 - share) + grid[other, left, c] * share
                second = grid[one, right, c] * (64 - share) + grid[other, right, c] * share
                more = first * (64 - across[x]) + second * across[x]
                found[c, y, x] = mean32[c] + ((more + half) >> shift)


def interpolated_means(
    grid: np.ndarray, down: Weights, across: Weights, mean32: np.ndarray, shift: int
) -> np.ndarray:
    """As block_sums.interpolated_means."""
    found = np.empty((grid.shape[2], len(down[0]), len(across[0])), np.int32)
    _means(grid.astype(np.int64), *down, *across, mean32, shift, found)
    return found
