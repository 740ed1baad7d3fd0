"""What a group sees beyond its border: pixels that are already known when it is decoded.

The network expects noised pixels y_k = x + noise of level k.  For known pixels both sides make
them: the forward chain itself, with its random numbers replaced by a hash of (level, channel,
side, row, column).  In distribution for the network, equal on every machine, and it costs no bits.
"""
from typing import NamedTuple

import numpy as np

from .lattice import CENTRE, COLUMNS, FRACTION_BITS, FRACTIONS
from .levels import forward_mean32

ROWS = 32                       # rows and columns of context; more gain nothing that shows
BELOW, RIGHT = 0, 1             # sides


class Known(NamedTuple):
    """Values around a group of (B, 3, H, W): below (B, 3, h, W + w), to the right (B, 3, H, w)."""

    below: np.ndarray
    right: np.ndarray

    def around(self, values):
        """The group and what is known, as one (B, 3, H + h, W + w) array."""
        return np.concatenate([np.concatenate([values, self.right], 3), self.below], 2)


def nothing(values):
    """The Known of a group with nothing known around it."""
    return Known(values[:, :, :0], values[:, :, :, :0])


def hash_bits(level, side, channels, rows, columns):
    """(channels, rows, columns) uint32, 24 random-looking bits each.

    x = (((level * 4 + channel) * 2 + side) * 2^22 + row) * 2^24 + column, mixed by the finaliser
    of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), top 24 bits.
    """
    key = ((np.uint64(level * 4) + np.arange(channels, dtype=np.uint64)) * np.uint64(2) + np.uint64(side))[:, None, None]
    row = np.arange(rows, dtype=np.uint64)[None, :, None]
    z = (((key << np.uint64(22)) + row) << np.uint64(24)) + np.arange(columns, dtype=np.uint64)[None, None, :]
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.uint32)


def sample(forward, mean32, scale, bits):
    """Integers drawn from row set `scale` of a table of masses by 24-bit `bits`; all arrays of one shape."""
    values = np.empty(mean32.shape, np.int32)
    fraction = mean32 & (FRACTIONS - 1)
    for f in np.unique(fraction):
        here = fraction == f
        edges = np.cumsum(forward.masses[scale * FRACTIONS + f].astype(np.int64))
        column = np.minimum(np.searchsorted(edges, bits[here], side="right"), COLUMNS - 1)
        values[here] = column + (mean32[here] >> FRACTION_BITS) - CENTRE
    return values


def context_chain(forward, levels, known):
    """known: Known of int32 pixels - 128 -> [of y_0, ..., of y_{K-1}], lattice indices, as Known.

    forward: Gaussians over the forward table, row set k for level k.
    """
    chain, values = [], known
    for k in range(len(levels)):
        values = Known(*(sample(forward, forward_mean32(levels, k, value), k, np.broadcast_to(hash_bits(k, side, *value.shape[1:]), value.shape))
                         for side, value in zip((BELOW, RIGHT), values)))
        chain.append(values)
    return chain
