"""Context of a segment: pixels around it that are decoded before it, and fixed samples inside.

The network expects noised pixels y_k = x + noise of level k.  Encoder and decoder both compute them
for known pixels by the forward chain, with a hash of (level, channel, side, row, column) in place
of random numbers: distributed as the network expects, equal on every machine, at no cost in bits.
"""

from typing import NamedTuple

import numpy as np

from bitsback.ans.gaussian_tables import (
    CENTRE,
    COLUMNS,
    FRACTION_BITS,
    FRACTIONS,
    TOTAL,
    Gaussians,
)
from bitsback.diffusion.levels import Levels, forward_mean32

# Rows and columns of context.  16 and 32 are no better (within 0.05 % on six images) and take a
# twentieth and a tenth more time.
CONTEXT_ROWS = 8
BELOW, RIGHT, INSIDE = 0, 1, 2  # sides


class Context(NamedTuple):
    """Values around a segment (B, C, H, W): below (B, C, h, W + w), to the right (B, C, H, w).

    free: (B, C, H, W) bool, which values of the segment are coded; None for all.  fixed: (n,) the
    other values, which side information gives, in C order.
    """

    below: np.ndarray
    right: np.ndarray
    free: np.ndarray | None = None
    fixed: np.ndarray | None = None

    def placed(self, coded: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n,) int32, the coded values -> the segment (B, C, H, W), fixed values included."""
        if self.free is None or self.fixed is None:
            return coded.reshape(shape)
        values = np.empty(shape, np.int32)
        values[self.free], values[~self.free] = coded, self.fixed
        return values

    def around(self, values: np.ndarray) -> np.ndarray:
        """The segment (B, C, H, W) and its context, as one (B, C, H + h, W + w) array."""
        return np.concatenate([np.concatenate([values, self.right], 3), self.below], 2)


def free_values(values: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    """(n,) the values where `free` is true, in C order; all of them where it is None."""
    return values.ravel() if free is None else values[free]


def no_context(values: np.ndarray) -> Context:
    """The empty Context of a segment (B, C, H, W)."""
    return Context(values[:, :, :0], values[:, :, :, :0])


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


def context_chain(forward: Gaussians, levels: Levels, context: Context) -> list[Context]:
    """Context of int32 pixels - 128 -> [Context of y_0, ..., of y_{K-1}], lattice indices.

    forward: Gaussians over the forward table, row set k for level k.
    """
    chain, values = [], context
    inside = () if context.free is None else np.nonzero(~context.free)[1:]
    for k in range(len(levels)):

        def noised(value: np.ndarray, bits: np.ndarray, k: int = k) -> np.ndarray:
            mean32 = forward_mean32(levels, k, value)
            return sample(forward, mean32, k, np.broadcast_to(bits, value.shape))

        values = Context(
            noised(values.below, hash_bits(k, BELOW, *values.below.shape[1:])),
            noised(values.right, hash_bits(k, RIGHT, *values.right.shape[1:])),
            context.free,
            None if values.fixed is None else noised(values.fixed, hash_at(k, INSIDE, *inside)),
        )
        chain.append(values)
    return chain
