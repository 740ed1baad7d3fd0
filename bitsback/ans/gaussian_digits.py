"""Values of a few bits under a Gaussian cut to them, as digits: the distribution of remainders.

A value of 2^bits, of which a Gaussian lies somewhere, is coded digit by digit, the highest first.
A digit's frequencies are columns of the table of Gaussians: those that lie in what the digits
before leave possible, at a resolution that fits the digit.  ARITHMETIC.md, section 14.

This is the reference, in numpy; gaussian_digit_loops.py has the same function `frequencies`
compiled.
"""

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from bitsback.ans.gaussian_tables import CENTRE, FRACTION_BITS, FRACTIONS, SCALES, TOTAL

DEVIATIONS = 32  # sd = 2^(d / 2 - 4), d = 0..31
DIGIT_BITS = 4
UNIFORM_SHIFT = 6  # of each digit's distribution 1/2^6 is uniform
# Table scales from here on, and 16 further each, are read at 1/2, 1/4, ... of the resolution.
WIDEST = 97
LEAST_MEAN, MOST_MEAN = -16 * FRACTIONS, 31 * FRACTIONS - 1  # all digits within the columns


def fastest() -> ModuleType:
    """The compiled implementation where numba is installed, else this one."""
    from bitsback.ans.compiled import compiled_or

    return compiled_or(sys.modules[__name__], "bitsback.ans.gaussian_digit_loops")


def digits(bits: int) -> Iterator[tuple[int, int]]:
    """(bits of a digit, bits below it) of values of so many bits, from the highest digit on."""
    while bits:
        own = min(DIGIT_BITS, bits)
        bits -= own
        yield own, bits


def frequencies(
    table: np.ndarray, mean32: np.ndarray, deviations: np.ndarray, bits: int, below: int
) -> np.ndarray:
    """(n, 2^bits + 1) int64 of sum 2^24: of each digit, and 0 for any other value.

    table: the Gaussian table (rows, 64) int32; mean32: (n,) int64, the mean in 1/32 above the
    smallest value that the digits before leave possible; deviations: (n,) int64.
    """
    count = 1 << bits
    scale = 8 * deviations - 16 * below
    coarser = np.clip(scale - WIDEST >> 4, 0, DIGIT_BITS)
    scale = np.clip(scale - 16 * coarser, 0, SCALES - 1)
    shift = below + coarser  # a column of the table has 2^shift values
    mean32 = np.clip(mean32 - 16 * ((1 << shift) - 1) >> shift, LEAST_MEAN, MOST_MEAN)
    row, first = scale * FRACTIONS + (mean32 & FRACTIONS - 1), CENTRE - (mean32 >> FRACTION_BITS)
    columns = first[:, None] + (np.arange(count) >> coarser[:, None])
    inside = table[row[:, None], columns].astype(np.int64)
    inside += (inside.sum(1) >> UNIFORM_SHIFT + bits)[:, None]
    found = np.zeros((len(inside), count + 1), np.int64)
    found[:, :count] = inside * (TOTAL - count) // inside.sum(1)[:, None] + 1
    found[:, 0] += TOTAL - found.sum(1)
    return found


def information_bits(
    table: np.ndarray, values: np.ndarray, mean32: np.ndarray, bits: int, deviation: int
) -> float:
    """What values (n,) int64 of so many bits cost under one deviation."""
    cost, above, loops = 0.0, np.zeros_like(values), fastest()
    deviations = np.full(len(values), deviation)
    for own, below in digits(bits):
        found = loops.frequencies(table, mean32 - 32 * above, deviations, own, below)
        digit = values - above >> below
        cost -= np.log2(found[np.arange(len(digit)), digit] / TOTAL).sum()
        above = above + (digit << below)
    return float(cost)
