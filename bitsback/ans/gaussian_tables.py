"""Discretised Gaussians on a lattice, as integer frequencies: the only distributions of the coder.

A value is an integer n; its distribution is N(mean, sd^2) in units of the lattice spacing,
integrated over [n - 1/2, n + 1/2].  mean is a whole number of 1/32 spacings, sd one of a fixed
list, 16 to a doubling, so that every distribution is one row of one table:

        row = 32 * scale + (mean32 & 31)            column = n - (mean32 >> 5) + 31

        column   0        1 .. 62        63         frequencies sum to 2^24, each at least 4
                 <= -31   -30 .. 31      >= 32      of the symbols around floor(mean)

The end columns escape: the value itself follows, 16 bits.  The table is made once, at export,
and stored with the model; the coder never evaluates an erf.
"""

import math

import constriction
import numpy as np

from bitsback.errors import DamagedFile

FRACTION_BITS = 5
FRACTIONS = (
    2**FRACTION_BITS
)  # positions of the mean inside a spacing; with 16 they cost 0.002 bits a dimension more over 12 levels
SCALES_PER_DOUBLING = 16
SCALE_ONE = 64  # index of sd = 1; index 0 is sd = 1/16
SCALES = 113  # up to sd = 8
COLUMNS = 64
CENTRE = 31
TOTAL = 2**24
MIN_FREQUENCY = 4  # no symbol costs more than 22 bits; a level pays 2e-5 for it
ESCAPE = 2**16  # escaped values are -2^15 .. 2^15 - 1


def scale_sd(index):
    """sd, in spacings, of a scale index."""
    return 2.0 ** ((index - SCALE_ONE) / SCALES_PER_DOUBLING)


def scale_index(sd):
    """Nearest scale index of an sd in spacings, clipped to the list.  sd: float or array."""
    index = np.rint(SCALE_ONE + SCALES_PER_DOUBLING * np.log2(np.maximum(sd, 1e-9)))
    return np.clip(index, 0, SCALES - 1).astype(np.int32)


def _row(scale, fraction, floor):
    """Masses of one row; `floor` for every column at least, the rest by the Gaussian.  Float64 erfc."""
    edges = np.arange(COLUMNS + 1) - CENTRE - 0.5
    edges[0], edges[-1] = -1e9, 1e9
    erfc = np.vectorize(math.erfc)
    z = (edges - fraction / FRACTIONS) / (scale_sd(scale) * math.sqrt(2))
    below, above = 0.5 * erfc(-z), 0.5 * erfc(z)  # each accurate in its own tail
    share = np.where(z[1:] <= 0, np.diff(below), -np.diff(above))
    row = np.rint(share * (TOTAL - COLUMNS * floor)).astype(np.int64) + floor
    row[np.argmax(row)] += TOTAL - row.sum()
    return row


def gaussian_frequencies():
    """The table of p: (SCALES * FRACTIONS, COLUMNS) int32.  For export only."""
    return np.array(
        [_row(s, f, MIN_FREQUENCY) for s in range(SCALES) for f in range(FRACTIONS)], np.int32
    )


def forward_frequencies(steps):
    """The table of q: (len(steps) * FRACTIONS, COLUMNS) int32, scale indices in, no floor: a column
    that the Gaussian hardly reaches has no frequency, so q draws no outliers that would mislead the
    network (with the floor they cost 1 % of the rate).  For export only."""
    return np.array([_row(s, f, 0) for s in steps for f in range(FRACTIONS)], np.int32)


class _Models(dict):
    """constriction's model of each row, over the columns that have frequency, made when it is asked for first."""

    def __init__(self, frequencies):
        super().__init__()
        self._frequencies = frequencies

    def __missing__(self, row):  # frequencies - 1 with perfect=False comes out exactly as given
        inside = self._frequencies[row][self._frequencies[row] > 0]
        self[row] = constriction.stream.model.Categorical(
            (inside - 1).astype(np.float32), perfect=False
        )
        return self[row]


class Gaussians:
    """Pushes and pops arrays of integers, each under its own row of `frequencies`.

    frequencies: (rows, COLUMNS) int32, 32 rows a scale, rows sum to 2^24, zeros at their ends only.
    Symbols are grouped by row (stable sort), one call of constriction a row; rows come out in
    ascending order when decoding.
    """

    def __init__(self, frequencies):
        self.frequencies = frequencies
        self._whole = bool(
            (frequencies > 0).all()
        )  # no column without frequency: all rows have the same symbols
        self._first, self._symbols = (
            (frequencies > 0).argmax(1).astype(np.int32),
            (frequencies > 0).sum(1).astype(np.uint32),
        )
        self._models, self._windows = _Models(frequencies), {}

    def window(self, begin, end):
        """((end - begin, rows), (rows,)) int64: frequencies of some columns of each row, and of all others together, over 16 and at least 1."""
        if (begin, end) not in self._windows:
            inside = self.frequencies.T[begin:end].astype(np.int64, order="C")
            self._windows[begin, end] = (inside >> 4) + 1, (TOTAL - inside.sum(0) >> 4) + 1
        return self._windows[begin, end]

    @staticmethod
    def _runs(mean32, scale):
        """Order of coding, the row of each value in it; of each run its row, and where it begins."""
        rows = scale.astype(np.int16) * np.int16(FRACTIONS) + (mean32 & (FRACTIONS - 1)).astype(
            np.int16
        )
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        begins = np.concatenate([[0], np.flatnonzero(rows[1:] != rows[:-1]) + 1])
        return order, rows, rows[begins].tolist(), begins

    def push(self, stack, values, mean32, scale, escapes=True):
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
                raise DamagedFile(
                    "a value lies where its distribution has no frequency"
                )  # no encoder pops one
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

    def pop(self, stack, mean32, scale, escapes=True):
        """The mirror of push: (N,) int32.  Errors: StackEmpty."""
        if not len(mean32):
            return np.empty(0, np.int32)
        order, rows, kinds, begins = self._runs(mean32, scale)
        columns, counts = (
            np.empty(len(mean32), np.int32),
            np.diff(begins, append=len(rows)).tolist(),
        )
        symbols = stack.pop_runs(list(zip(counts, map(self._models.__getitem__, kinds))))
        columns[order] = symbols if self._whole else symbols + self._first[rows]
        values = columns + (mean32 >> FRACTION_BITS) - CENTRE
        if escapes:
            far = (columns == 0) | (columns == COLUMNS - 1)
            values[far] = stack.pop_uniform(int(far.sum()), ESCAPE) - ESCAPE // 2
        return values

    def bits_of_each(self, values, mean32, scale, escapes=True):
        """(N,) float64: -log2 of the frequencies that push would use."""
        columns = np.clip(values - (mean32 >> FRACTION_BITS) + CENTRE, 0, COLUMNS - 1)
        bits = PRECISION_BITS - np.log2(
            self.frequencies[scale * FRACTIONS + (mean32 & (FRACTIONS - 1)), columns]
        )
        if escapes:
            bits[(columns == 0) | (columns == COLUMNS - 1)] += math.log2(ESCAPE)
        return bits

    def information_bits(self, values, mean32, scale, escapes=True):
        """The sum of bits_of_each: what the stack should grow by."""
        return float(self.bits_of_each(values, mean32, scale, escapes).sum())


PRECISION_BITS = math.log2(TOTAL)
