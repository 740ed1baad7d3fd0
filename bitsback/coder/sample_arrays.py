"""Samples in coding order, masks and the noise of the context, by arrays of numpy: the reference.

sample_loops.py has the same functions, compiled.  `free` is (B, C, H, W) bool, or None where all
samples are coded; arrays in coding order have the free samples of one colour of a pass.
"""

import numpy as np

from bitsback.ans.colour_counts import ColourCounts, Table, table_and_keys
from bitsback.ans.gaussian_tables import (
    CENTRE,
    COLUMNS,
    FRACTION_BITS,
    FRACTIONS,
    TOTAL,
    Gaussians,
)
from bitsback.diffusion.levels import Levels, forward_mean32
from bitsback.diffusion.passes import Places


def free_values(values: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    """(n,) the values where `free` is true, in C order; all of them where it is None."""
    return values.ravel() if free is None else values[free]


def placed(coded: np.ndarray, fixed: np.ndarray, free: np.ndarray) -> np.ndarray:
    """int32 of free's shape: `coded` (n,) where it is true, `fixed` (m,) elsewhere, in C order."""
    values = np.empty(free.shape, np.int32)
    values[free], values[~free] = coded, fixed
    return values


def empty(like: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """int32 of `shape`, not set.  like: any array that is where the result shall be."""
    return np.empty(shape, np.int32)


def put_fixed(values: np.ndarray, fixed: np.ndarray, free: np.ndarray) -> None:
    """Writes `fixed` (m,) int32 into values, int32 of free's shape, where free is false."""
    values[~free] = fixed


def count_fixed(counts: ColourCounts, x: np.ndarray, free: np.ndarray, times: int) -> None:
    """Adds `times` to the counts of the pixels x (B, 3 or 1, H, W) that are not free."""
    counts.count_all(x, times, ~free)


def of_colour(
    places: Places, array: np.ndarray, colour: int, free: np.ndarray | None
) -> np.ndarray:
    """(m,) the free samples of one channel of array (B, C, H, W), in coding order."""
    return free_values(places.of_colour(array, colour), _free(places, colour, free))


def put(
    places: Places, array: np.ndarray, colour: int, free: np.ndarray | None, coded: np.ndarray
) -> None:
    """The mirror of of_colour: writes (m,) into array."""
    here = places.of_colour(array, colour)
    mask = _free(places, colour, free)
    if mask is None:
        here = coded.reshape(here.shape)
    else:
        here[mask] = coded
    places.put(array[:, colour : colour + 1], here[:, None])


def counted(
    places: Places, x: np.ndarray, colour: int, free: np.ndarray | None
) -> tuple[Table, np.ndarray]:
    """Table of counts of one colour of pixels x - 128, and (m,) int64, the index of each."""
    table, keys = table_and_keys(places.of(x), colour)
    return table, free_values(keys, _free(places, colour, free))


def _free(places: Places, colour: int, free: np.ndarray | None) -> np.ndarray | None:
    return None if free is None else places.of_colour(free, colour)


def hash_bits(level: int, side: int, channels: int, rows: int, columns: int) -> np.ndarray:
    """hash_at of all channels, rows and columns below these: (channels, rows, columns) uint32."""
    return hash_at(
        level,
        side,
        np.arange(channels)[:, None, None],
        np.arange(rows)[:, None],
        np.arange(columns),
    )


def hash_at(
    level: int, side: int, channel: np.ndarray, row: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """24 random-looking bits for each sample, uint32.  channel, row, column: integers, broadcast.

    x = (((level * 4 + channel) * 4 + side) * 2^22 + row) * 2^24 + column, mixed by the finaliser
    of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), top 24 bits.
    """
    channel, row, column = (np.asarray(part).astype(np.uint64) for part in (channel, row, column))
    key = (np.uint64(level * 4) + channel) * np.uint64(4) + np.uint64(side)
    z = (((key << np.uint64(22)) + row) << np.uint64(24)) + column
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.uint32)


def sample(forward: Gaussians, mean32: np.ndarray, scale: int, bits: np.ndarray) -> np.ndarray:
    """int32 drawn from row set `scale` of a table by 24-bit numbers `bits`; arrays of one shape."""
    rows = slice(scale * FRACTIONS, (scale + 1) * FRACTIONS)
    edges = np.cumsum(forward.frequencies[rows].astype(np.int64), 1)
    edges += TOTAL * np.arange(FRACTIONS)[:, None]  # of all rows in one sorted list
    fraction = mean32 & (FRACTIONS - 1)
    found = np.searchsorted(edges.ravel(), fraction * np.int64(TOTAL) + bits, side="right")
    return (found - fraction * COLUMNS + (mean32 >> FRACTION_BITS) - CENTRE).astype(np.int32)


def noised(
    forward: Gaussians, levels: Levels, k: int, side: int, previous: np.ndarray
) -> np.ndarray:
    """Samples of level k - 1 (B, C, h, w) int32 of a side of a segment -> those of level k."""
    bits = np.broadcast_to(hash_bits(k, side, *previous.shape[1:]), previous.shape)
    return sample(forward, forward_mean32(levels, k, previous), k, bits)


def noised_where(
    forward: Gaussians, levels: Levels, k: int, side: int, previous: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """noised for the samples that are not free, (n,) in C order."""
    bits = hash_at(k, side, *np.nonzero(~free)[1:])
    return sample(forward, forward_mean32(levels, k, previous), k, bits)
