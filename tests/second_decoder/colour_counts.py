"""Colour counts (ARITHMETIC.md, section 12)."""

from collections import Counter
from itertools import accumulate

import numpy as np

from tests.second_decoder.integers import B, G, R
from tests.second_decoder.lanes import rows_and_bases
from tests.second_decoder.passes import PASSES, part


def byte(value):
    return min(max(int(value), -128), 127) + 128


def keys(x, parts, colour, coded=...):
    """For each coded value of an array of x (images, 3, H, W): (table, bytes of the colours before
    it); with its own byte that is its place in Counts.seen.
    """
    count = part(x, parts, colour)[coded].size
    if x.shape[1] == 1:
        return [("gray",)] * count
    before = [
        map(byte, part(x, parts, c)[coded].ravel().tolist())
        for c in {G: (), R: (G,), B: (G, R)}[colour]
    ]
    return list(zip([colour] * count, *before))


class Counts:
    """Counts of the pixels decoded so far.  `seen` in its methods is a copy that includes the
    segment being decoded.
    """

    def __init__(self, sharpness):
        self.share, self.base = [(0, 1), (1, 1), (1, 5), (3, 5), (8, 8), (32, 32)][sharpness - 1]
        self.seen = Counter()

    def add(self, x, times=1):
        """All pixels of a segment."""
        for parts in PASSES[4]:
            for colour in (G,) if x.shape[1] == 1 else (G, R, B):
                for key, value in zip(
                    keys(x, parts, colour), part(x, parts, colour).ravel().tolist()
                ):
                    self.seen[(*key, byte(value))] += times

    def cumulative(self, gaussian, key, b, seen):
        """Cumulative frequencies q of the 17 symbols; gaussian: those of the row."""
        values = range(b - 7, b + 9)
        m = [(gaussian[25 + i] - gaussian[24 + i] >> 4) + 1 for i in range(16)]
        n = [min(seen[(*key, byte(v))], 1023) if -128 <= v <= 127 else 0 for v in values]
        e = (sum(n) * self.share >> 4) + self.base
        w = [m[i] * (16 * n[i] + e) if -128 <= v <= 127 else 0 for i, v in enumerate(values)]
        w.append(((2**24 - gaussian[40] + gaussian[24] >> 4) + 1) * (sum(n) + e))
        q = [one * (2**24 - 17) // sum(w) + 1 for one in w]
        q[7] += 2**24 - sum(q)
        return [0, *accumulate(q)]

    @staticmethod
    def chunks(count):
        length = max(256, (count + 11) // 12)
        for begin in range(0, count, length):
            yield range(begin, min(begin + length, count))

    def pop_array(self, lanes, table, places, mean, row_set, seen):
        rows, bases = rows_and_bases(mean, row_set)
        values = np.zeros(len(rows), np.int64)
        for chunk in self.chunks(len(rows)):
            distributions = [
                self.cumulative(table[rows[i]], places[i], int(bases[i]), seen) for i in chunk
            ]
            for i, (symbol, number) in zip(chunk, lanes.pop_symbols(distributions, (16,))):
                values[i] = bases[i] - 7 + symbol if number is None else number - 2**15
            for i in chunk:
                seen[(*places[i], byte(values[i]))] += 1
        return values

    def push_arrays(self, lanes, table, arrays):
        """All arrays of step 0, (places, values, mean32, scale), in the decoder's order.

        They are pushed in the reverse order.
        """
        coded, seen = [], Counter(self.seen)
        for places, values, mean, row_set in arrays:
            rows, bases = rows_and_bases(mean, row_set)
            for chunk in self.chunks(len(rows)):
                symbols = [int(values[i] - bases[i]) + 7 for i in chunk]
                symbols = [symbol if 0 <= symbol < 16 else 16 for symbol in symbols]
                distributions = [
                    self.cumulative(table[rows[i]], places[i], int(bases[i]), seen) for i in chunk
                ]
                numbers = [int(values[i]) + 2**15 for i in chunk]
                coded.append((distributions, list(zip(symbols, numbers))))
                for i in chunk:
                    seen[(*places[i], byte(values[i]))] += 1
        for distributions, symbols in reversed(coded):
            lanes.push_symbols(distributions, symbols, (16,))
