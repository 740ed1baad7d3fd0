"""The frequencies of gaussian_digits.py as a compiled loop: the same integers."""

import numpy as np

from bitsback.ans.compiled import compiled
from bitsback.ans.gaussian_digits import (
    DIGIT_BITS,
    LEAST_MEAN,
    MOST_MEAN,
    UNIFORM_SHIFT,
    WIDEST,
)
from bitsback.ans.gaussian_tables import CENTRE, FRACTION_BITS, FRACTIONS, SCALES, TOTAL


@compiled
def _write(table, mean32, deviations, bits, below, found):
    count = 1 << bits
    for n in range(len(mean32)):
        scale = 8 * deviations[n] - 16 * below
        coarser = min(max((scale - WIDEST) >> 4, 0), DIGIT_BITS)
        scale = min(max(scale - 16 * coarser, 0), SCALES - 1)
        shift = below + coarser
        mean = (mean32[n] - 16 * ((1 << shift) - 1)) >> shift
        mean = min(max(mean, LEAST_MEAN), MOST_MEAN)
        row = table[scale * FRACTIONS + (mean & (FRACTIONS - 1))]
        first, here = CENTRE - (mean >> FRACTION_BITS), found[n]
        total = np.int64(0)
        for i in range(count):
            here[i] = row[first + (i >> coarser)]
            total += here[i]
        uniform = total >> (UNIFORM_SHIFT + bits)
        total += uniform << bits
        left = np.int64(TOTAL)
        for i in range(count):
            here[i] = (here[i] + uniform) * (TOTAL - count) // total + 1
            left -= here[i]
        here[0] += left
        here[count] = 0


def frequencies(
    table: np.ndarray, mean32: np.ndarray, deviations: np.ndarray, bits: int, below: int
) -> np.ndarray:
    """As gaussian_digits.frequencies."""
    found = np.empty((len(mean32), (1 << bits) + 1), np.int64)
    _write(table, mean32, deviations, bits, below, found)
    return found
