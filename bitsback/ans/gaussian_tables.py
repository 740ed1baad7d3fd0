"""Discretised Gaussians on a lattice, as integer frequencies: the coder's distributions.

A value is an integer n; its distribution is N(mean, sd^2) in units of the lattice spacing,
integrated over [n - 1/2, n + 1/2].  mean is a whole number of 1/32 spacings, sd one of a fixed
list, 16 to a doubling, so that every distribution is one row of one table:

        row = 32 * scale + (mean32 & 31)            column = n - (mean32 >> 5) + 31

        column   0        1 .. 62        63         n - floor(mean) in the line below;
                 <= -31   -30 .. 31      >= 32      frequencies sum to 2^24, each at least 4

The end columns are escapes: the value itself follows in 16 bits.  The table is computed once, at
export, and stored with the model; the coder never evaluates an erf.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitsback.ans.row_table import CENTRE, COLUMNS, PRECISION, RowTable, row_table

FRACTION_BITS = 5
# Positions of the mean inside a spacing; 16 would cost 0.002 bits per dimension more on 12 levels.
FRACTIONS = 2**FRACTION_BITS
SCALES_PER_DOUBLING = 16
SCALE_ONE = 64  # index of sd = 1; index 0 is sd = 1/16
SCALES = 113  # up to sd = 8
TOTAL = 2**PRECISION
MIN_FREQUENCY = 4  # no symbol costs more than 22 bits; costs a level 2e-5 bits per dimension
ESCAPE = 2**16  # escaped values are -2^15 .. 2^15 - 1


def scale_sd(index: int) -> float:
    """sd, in spacings, of a scale index."""
    return 2.0 ** ((index - SCALE_ONE) / SCALES_PER_DOUBLING)


def scale_index(sd: float | np.ndarray) -> np.ndarray:
    """Nearest scale index of an sd in spacings, clipped to the list.  sd: float or array."""
    index = np.rint(SCALE_ONE + SCALES_PER_DOUBLING * np.log2(np.maximum(sd, 1e-9)))
    return np.clip(index, 0, SCALES - 1).astype(np.int32)


def _row(scale: int, fraction: int, floor: int) -> np.ndarray:
    """Frequencies of one row: `floor` for every column, and the Gaussian's share of the rest."""
    edges = np.arange(COLUMNS + 1) - CENTRE - 0.5
    edges[0], edges[-1] = -1e9, 1e9
    erfc = np.vectorize(math.erfc)
    z = (edges - fraction / FRACTIONS) / (scale_sd(scale) * math.sqrt(2))
    below, above = 0.5 * erfc(-z), 0.5 * erfc(z)  # each accurate in its own tail
    share = np.where(z[1:] <= 0, np.diff(below), -np.diff(above))
    row = np.rint(share * (TOTAL - COLUMNS * floor)).astype(np.int64) + floor
    row[np.argmax(row)] += TOTAL - row.sum()
    return row


def gaussian_frequencies() -> np.ndarray:
    """The table of p: (SCALES * FRACTIONS, COLUMNS) int32.  For export only."""
    return np.array(
        [_row(s, f, MIN_FREQUENCY) for s in range(SCALES) for f in range(FRACTIONS)], np.int32
    )


def forward_frequencies(steps: Sequence[int]) -> np.ndarray:
    """The table of q: (len(steps) * FRACTIONS, COLUMNS) int32 of these scale indices.

    Without a floor: a column that the Gaussian hardly reaches has frequency 0, so that q draws no
    outliers, which would mislead the network (with the floor they cost 1 % of the rate).  For
    export only.
    """
    return np.array([_row(s, f, 0) for s in steps for f in range(FRACTIONS)], np.int32)


class Gaussians:
    """Pushes and pops arrays of integers, each under its own row of `frequencies`.

    frequencies: (rows, COLUMNS) int32, 32 rows a scale, rows sum to 2^24, zeros at their ends only.
    """

    def __init__(self, frequencies: np.ndarray):
        self.frequencies = frequencies
        self._windows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    @functools.cached_property
    def table(self) -> RowTable:
        """The rows as lanes code under them."""
        return row_table(self.frequencies)

    def window(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies of columns begin..end - 1 of each row, and of all other columns together.

        (end - begin, rows) and (rows,) int64, divided by 16, at least 1.
        """
        if (begin, end) not in self._windows:
            inside = self.frequencies.T[begin:end].astype(np.int64, order="C")
            self._windows[begin, end] = (inside >> 4) + 1, (TOTAL - inside.sum(0) >> 4) + 1
        return self._windows[begin, end]

    def push(
        self,
        lanes: Any,
        values: Any,
        mean32: Any,
        scale: Any,
        escapes: bool = True,
    ) -> None:
        """values: (N,) int32; mean32: (N,) int32, 1/32 spacings; scale: (N,) or (1,) int32 indices.

        lanes: Lanes, or DeviceLanes with tensors on their device.

        Without `escapes` the end columns stand for exactly -31 and 32 from the mean's floor.
        Errors: DamagedFile for a value without frequency.
        """
        lanes.push_gaussian(self.table, values, mean32, scale, escapes)

    def pop(self, lanes: Any, mean32: Any, scale: Any, escapes: bool = True) -> Any:
        """The mirror of push: (N,) int32.  Errors: StackEmpty."""
        return lanes.pop_gaussian(self.table, mean32, scale, escapes)

    def bits_of_each(
        self, values: np.ndarray, mean32: np.ndarray, scale: np.ndarray, escapes: bool = True
    ) -> np.ndarray:
        """(N,) float64: -log2 of the frequencies that push would use."""
        columns = np.clip(values - (mean32 >> FRACTION_BITS) + CENTRE, 0, COLUMNS - 1)
        bits = PRECISION - np.log2(
            self.frequencies[scale * FRACTIONS + (mean32 & (FRACTIONS - 1)), columns]
        )
        if escapes:
            bits[(columns == 0) | (columns == COLUMNS - 1)] += math.log2(ESCAPE)
        return bits

    def information_bits(
        self, values: np.ndarray, mean32: np.ndarray, scale: np.ndarray, escapes: bool = True
    ) -> float:
        """The sum of bits_of_each: what a push adds to the stack."""
        return float(self.bits_of_each(values, mean32, scale, escapes).sum())
