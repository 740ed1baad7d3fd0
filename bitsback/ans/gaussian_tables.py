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

import math
from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np

from bitsback.ans.stack import Stack
from bitsback.errors import DamagedFile

FRACTION_BITS = 5
# Positions of the mean inside a spacing; 16 would cost 0.002 bits per dimension more on 12 levels.
FRACTIONS = 2**FRACTION_BITS
SCALES_PER_DOUBLING = 16
SCALE_ONE = 64  # index of sd = 1; index 0 is sd = 1/16
SCALES = 113  # up to sd = 8
COLUMNS = 64
CENTRE = 31
TOTAL = 2**24
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


class _Models(dict[int, Any]):
    """constriction's model of each row, over its columns of frequency > 0, made on first use."""

    def __init__(self, frequencies: np.ndarray):
        super().__init__()
        self._frequencies = frequencies

    def __missing__(self, row: int) -> Any:
        # frequencies - 1 with perfect=False makes exactly these frequencies
        inside = self._frequencies[row][self._frequencies[row] > 0]
        self[row] = constriction.stream.model.Categorical(
            (inside - 1).astype(np.float32), perfect=False
        )
        return self[row]


class Gaussians:
    """Pushes and pops arrays of integers, each under its own row of `frequencies`.

    frequencies: (rows, COLUMNS) int32, 32 rows a scale, rows sum to 2^24, zeros at their ends only.
    Symbols are sorted by row (stable), with one call of constriction a row; a decoder pops rows in
    ascending order.
    """

    def __init__(self, frequencies: np.ndarray):
        self.frequencies = frequencies
        self._whole = bool((frequencies > 0).all())  # all rows have the same symbols
        self._first = (frequencies > 0).argmax(1).astype(np.int32)
        self._symbols = (frequencies > 0).sum(1).astype(np.uint32)
        self._models = _Models(frequencies)
        self._windows: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def window(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies of columns begin..end - 1 of each row, and of all other columns together.

        (end - begin, rows) and (rows,) int64, divided by 16, at least 1.
        """
        if (begin, end) not in self._windows:
            inside = self.frequencies.T[begin:end].astype(np.int64, order="C")
            self._windows[begin, end] = (inside >> 4) + 1, (TOTAL - inside.sum(0) >> 4) + 1
        return self._windows[begin, end]

    @staticmethod
    def _runs(
        mean32: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[int], np.ndarray]:
        """Order of coding and each value's row in it; each run's row and begin."""
        rows = scale.astype(np.int16) * np.int16(FRACTIONS) + (mean32 & (FRACTIONS - 1)).astype(
            np.int16
        )
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        begins = np.concatenate([[0], np.flatnonzero(rows[1:] != rows[:-1]) + 1])
        return order, rows, rows[begins].tolist(), begins

    def push(
        self,
        stack: Stack,
        values: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
        escapes: bool = True,
    ) -> None:
        """values: (N,) int32; mean32: (N,) int32, 1/32 spacings; scale: (N,) int32 indices.

        Without `escapes` the end columns stand for exactly -31 and 32 from the mean's floor.
        Errors: DamagedFile for a value without frequency.
        """
        if not len(values):
            return
        columns = np.clip(values + CENTRE - (mean32 >> FRACTION_BITS), 0, COLUMNS - 1).astype(
            np.int32, copy=False
        )
        order, rows, kinds, begins = self._runs(mean32, scale)
        symbols = columns[order]  # for all runs at once: there are many short ones
        if not self._whole:
            symbols -= self._first[rows]
            if (symbols.view(np.uint32) >= self._symbols[rows]).any():  # also those below 0
                # no encoder pops such a value
                raise DamagedFile("a value lies where its distribution has no frequency")
        if escapes:
            far = (columns == 0) | (columns == COLUMNS - 1)
            stack.push_uniform(values[far] + ESCAPE // 2, ESCAPE)
        models, begins = self._models, begins.tolist()
        stack.push_runs(
            [
                (symbols[begin:end], models[row])
                for row, begin, end in zip(kinds, begins, [*begins[1:], len(rows)])
            ]
        )

    def pop(
        self, stack: Stack, mean32: np.ndarray, scale: np.ndarray, escapes: bool = True
    ) -> np.ndarray:
        """The mirror of push: (N,) int32.  Errors: StackEmpty."""
        if not len(mean32):
            return np.empty(0, np.int32)
        order, rows, kinds, begins = self._runs(mean32, scale)
        columns = np.empty(len(mean32), np.int32)
        counts = np.diff(begins, append=len(rows)).tolist()
        symbols = stack.pop_runs(list(zip(counts, map(self._models.__getitem__, kinds))))
        columns[order] = symbols if self._whole else symbols + self._first[rows]
        values = columns + (mean32 >> FRACTION_BITS) - CENTRE
        if escapes:
            far = (columns == 0) | (columns == COLUMNS - 1)
            values[far] = stack.pop_uniform(int(far.sum()), ESCAPE) - ESCAPE // 2
        return values

    def bits_of_each(
        self, values: np.ndarray, mean32: np.ndarray, scale: np.ndarray, escapes: bool = True
    ) -> np.ndarray:
        """(N,) float64: -log2 of the frequencies that push would use."""
        columns = np.clip(values - (mean32 >> FRACTION_BITS) + CENTRE, 0, COLUMNS - 1)
        bits = PRECISION_BITS - np.log2(
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


PRECISION_BITS = math.log2(TOTAL)
