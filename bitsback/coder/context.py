"""What is already known when a group is decoded: pixels beyond its border, and samples inside that were told before.

The network expects noised pixels y_k = x + noise of level k.  For known pixels both sides make
them: the forward chain itself, with its random numbers replaced by a hash of (level, channel,
side, row, column).  In distribution for the network, equal on every machine, and it costs no bits.
"""

from typing import NamedTuple

import numpy as np

from bitsback.ans.gaussian_tables import CENTRE, COLUMNS, FRACTION_BITS, FRACTIONS, TOTAL
from bitsback.diffusion.levels import forward_mean32

CONTEXT_ROWS = 8  # rows and columns of context: 16 and 32 are no better (within 0.05 % on six images) and take a twentieth and a tenth more time
BELOW, RIGHT, INSIDE = 0, 1, 2  # sides


class Context(NamedTuple):
    """Values around a group of (B, 3, H, W): below (B, 3, h, W + w), to the right (B, 3, H, w); and in it.

    free: (B, 3, H, W) bool, what is not known in the group and must be coded, or None: all of it; fixed: (n,) values of the rest, in C order.
    """

    below: np.ndarray
    right: np.ndarray
    free: np.ndarray | None = None
    fixed: np.ndarray | None = None

    def placed(self, coded, shape):
        """(n,) values of what is free -> all of the group: an array of `shape` (B, 3, H, W)."""
        if self.free is None:
            return coded.reshape(shape)
        values = np.empty(shape, np.int32)
        values[self.free], values[~self.free] = coded, self.fixed
        return values

    def around(self, values):
        """The group and what is known, as one (B, 3, H + h, W + w) array."""
        return np.concatenate([np.concatenate([values, self.right], 3), self.below], 2)


def free_values(values, free):
    """(n,) those of `values` that are free: all where free is None."""
    return values.ravel() if free is None else values[free]


def no_context(values):
    """The Context of a group with nothing known around it."""
    return Context(values[:, :, :0], values[:, :, :, :0])


def hash_bits(level, side, channels, rows, columns):
    """hash_at for all channels, rows and columns: (channels, rows, columns) uint32."""
    return hash_at(
        level,
        side,
        np.arange(channels)[:, None, None],
        np.arange(rows)[:, None],
        np.arange(columns),
    )


def hash_at(level, side, channel, row, column):
    """24 random-looking bits for each place, uint32; channel, row, column: integers that broadcast.

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


def sample(forward, mean32, scale, bits):
    """Integers drawn from row set `scale` of a table of frequencies by 24-bit `bits`; all arrays of one shape."""
    rows = slice(scale * FRACTIONS, (scale + 1) * FRACTIONS)
    edges = (
        np.cumsum(forward.frequencies[rows].astype(np.int64), 1)
        + TOTAL * np.arange(FRACTIONS)[:, None]
    )  # of all rows, one after the other: sorted
    fraction = mean32 & (FRACTIONS - 1)
    place = np.searchsorted(edges.ravel(), fraction * np.int64(TOTAL) + bits, side="right")
    return (place - fraction * COLUMNS + (mean32 >> FRACTION_BITS) - CENTRE).astype(np.int32)


def context_chain(forward, levels, context):
    """context: Context of int32 pixels - 128 -> [of y_0, ..., of y_{K-1}], lattice indices, as Context.

    forward: Gaussians over the forward table, row set k for level k.
    """
    chain, values, inside = (
        [],
        context,
        () if context.free is None else np.nonzero(~context.free)[1:],
    )
    for k in range(len(levels)):
        noised = lambda value, bits: sample(
            forward, forward_mean32(levels, k, value), k, np.broadcast_to(bits, value.shape)
        )  # noqa: E731, B023
        around = (
            noised(value, hash_bits(k, side, *value.shape[1:]))
            for side, value in ((BELOW, values.below), (RIGHT, values.right))
        )
        values = Context(
            *around,
            context.free,
            None if context.free is None else noised(values.fixed, hash_at(k, INSIDE, *inside)),
        )
        chain.append(values)
    return chain
