"""The frequencies of p(x | y_0) under colour counts.

The frequency of each value in a window around the mean is multiplied by

    w = 16 n + (S share >> 4) + base      n: count of the value after the pixel's G, or G and R
                                           S: sum of n over the window

All values outside the window share one symbol, the escape, weighed with S in place of 16 n; a value
that is no pixel gets weight 0.  (share, base) is the sharpness, which the encoder chooses and
stores in the file.  Integers only (ARITHMETIC.md, section 12).

This is the reference, in numpy; colour_loops.py has the same functions compiled.  In all of them
`counts` is a table of counts, int32; keys: (n,) int64, indices of value -128 in it; values, mean32
and scale: (n,) int32, pixels - 128 and their rows of the Gaussian table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitsback.ans.gaussian_tables import CENTRE, FRACTION_BITS, FRACTIONS, TOTAL, Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.ans.lanes_numpy import ESCAPE_BITS

# (share, base) of each sharpness, from number 1: small for few colours, large for all
SHARPNESS = ((0, 1), (1, 1), (1, 5), (3, 5), (8, 8), (32, 32))
BEHIND, AHEAD = 7, 8  # the window: values from floor(mean) - 7 to floor(mean) + 8
WIDTH = BEHIND + AHEAD + 1
MAX_COUNT = 1023  # larger counts are taken for this one


class Window(NamedTuple):
    """What `reweighted` needs for n values; a window runs down, so that sums are over rows."""

    inside: np.ndarray  # (WIDTH, n) int64: Gaussian frequencies of the window's values
    outside: np.ndarray  # (n,) int64: ... of all other values together
    pixel: np.ndarray | None  # (WIDTH, n) bool: whether a value is a pixel; None where all are
    counts: np.ndarray  # (WIDTH, n) int32


def window(
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
) -> Window:
    """The windows of n values."""
    rows = scale * FRACTIONS + (mean32 & (FRACTIONS - 1))
    inside, outside = gaussians.window(CENTRE - BEHIND, CENTRE + AHEAD + 1)
    first = (mean32 >> FRACTION_BITS) + (128 - BEHIND)
    byte, pixel = first + np.arange(WIDTH, dtype=np.int32)[:, None], None
    if len(first) and (first.min() < 0 or first.max() + WIDTH > 256):
        pixel = (byte >= 0) & (byte < 256)
        np.clip(byte, 0, 255, out=byte)
    n = np.minimum(counts[keys + byte], MAX_COUNT)
    if pixel is not None:
        n *= pixel
    return Window(inside.take(rows, 1), outside.take(rows), pixel, n)


def reweighted(window: Window, share: int, base: int) -> np.ndarray:
    """(WIDTH + 1, n) int64: the window's values and the escape, each column of sum 2^24."""
    total = window.counts.sum(0, dtype=np.int64)
    even = (total * share >> 4) + base
    weighed = np.empty((WIDTH + 1, len(total)), np.int64)
    weights = np.multiply(window.counts, 16, out=weighed[:WIDTH])
    weights += even
    if window.pixel is not None:
        weights *= window.pixel
    weights *= window.inside
    np.multiply(window.outside, total + even, out=weighed[WIDTH])
    sums = weighed.sum(0)
    weighed *= TOTAL - WIDTH - 1
    weighed //= sums
    weighed += 1
    weighed[BEHIND] += TOTAL - weighed.sum(0)  # the rest of rounding down, at most 17
    return weighed


def symbols_of(values: np.ndarray, mean32: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(symbols, which of them are the escape) of values."""
    symbols = values - (mean32 >> FRACTION_BITS) + BEHIND
    escaped = (symbols < 0) | (symbols >= WIDTH)
    return np.where(escaped, WIDTH, symbols), escaped


def byte(values: np.ndarray) -> np.ndarray:
    """Pixels - 128 -> 0..255; a value that is no pixel (a damaged file) counts as the nearest."""
    return np.clip(values, -128, 127).astype(np.int64) + 128


def add(counts: np.ndarray, indices: np.ndarray, times: int) -> None:
    """Adds `times` at indices (n,), some of them several times."""
    np.add.at(counts, indices, times)


def count(counts: np.ndarray, keys: np.ndarray, values: np.ndarray, times: int) -> np.ndarray:
    """Adds `times` to the counts of values after keys; returns the indices (n,) int32 of them."""
    indices = (keys + byte(values)).astype(np.int32)
    add(counts, indices, times)
    return indices


def count_pixels(tables: Sequence[np.ndarray], pixels: np.ndarray, times: int) -> None:
    """Adds `times` for (H, W, C) uint8; tables: of gray, or of green, red and blue."""
    colours = [pixels[..., c].ravel().astype(np.int32) for c in range(pixels.shape[2])]
    if len(colours) == 1:
        add(tables[0], colours[0], times)
        return
    red, green, blue = colours
    add(tables[0], green, times)
    add(tables[1], green << 8 | red, times)
    add(tables[2], (green << 8 | red) << 8 | blue, times)


def push(
    lanes: Lanes,
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    share: int,
    base: int,
) -> None:
    """Pushes values under the counts as they are."""
    found = reweighted(window(gaussians, counts, keys, mean32, scale), share, base)
    lanes.push_each(values, (mean32 >> FRACTION_BITS) - BEHIND, found.T)


def pop(
    lanes: Lanes,
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    share: int,
    base: int,
) -> np.ndarray:
    """The mirror of push: (n,) int32.  Errors: StackEmpty."""
    found = reweighted(window(gaussians, counts, keys, mean32, scale), share, base)
    return lanes.pop_each((mean32 >> FRACTION_BITS) - BEHIND, found.T)


def information_bits(
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """(len(SHARPNESS),) float64: about what a push of values would add to the stack under each."""
    symbols, escaped = symbols_of(values, mean32)
    found, each = window(gaussians, counts, keys, mean32, scale), np.arange(len(symbols))
    return np.array(
        [
            np.sum(np.log2(TOTAL / reweighted(found, *sharpness)[symbols, each]))
            + ESCAPE_BITS * np.count_nonzero(escaped)
            for sharpness in SHARPNESS
        ]
    )
