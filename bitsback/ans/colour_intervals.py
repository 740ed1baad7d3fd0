"""The interval of one symbol under colour counts, compiled: `reweighted` for a single value.

Of the quotients only those are computed that the interval needs: from the left below symbol BEHIND,
which has the rest of rounding down, from the right above it.
"""

import numpy as np

from bitsback.ans.colour_frequencies import BEHIND, MAX_COUNT, WIDTH
from bitsback.ans.compiled import compiled, inlined
from bitsback.ans.gaussian_tables import CENTRE, COLUMNS, TOTAL

FIRST = CENTRE - BEHIND  # column of the Gaussian table where the window begins
SHARED = TOTAL - WIDTH - 1  # what symbols get by their weight; each has 1 more


@inlined
def quotient(weight: float, total: float, ratio: float) -> int:
    """weight * SHARED // total, exactly; ratio: SHARED / total in float64.

    weight and total are integers below 2^37, so exact in float64.  One division and one product
    round by at most 2^-53 each of a result below 2^24: their error is below 2^-27, so the quotient
    rounded down is at most 1 off, which the remainder shows.  Both its products are below 2^62.
    """
    found = np.int64(weight * ratio)
    whole = np.int64(total)
    rest = np.int64(weight) * SHARED - found * whole
    return found + (rest >= whole) - (rest < 0)


@compiled
def weigh(
    frequencies: np.ndarray,
    row: int,
    table: np.ndarray,
    key: int,
    first: int,
    share: int,
    base: int,
    weights: np.ndarray,
) -> float:
    """Fills weights (WIDTH + 1,) float64, all integers, of one value; returns their sum.

    frequencies: those of the Gaussian table, one row after the other; row: the value's; first: the
    window's first value + 128; the key is the index of value -128 in the table.
    """
    begin, at = np.uint64(row * COLUMNS + FIRST), np.uint64(key + first)
    whole = first >= 0 and first + WIDTH <= 256  # all values of the window are pixels
    # four sums, because one would wait for each addition
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    if whole:
        for i in range(0, WIDTH, 4):
            a += min(np.float64(table[at + np.uint64(i)]), MAX_COUNT)
            b += min(np.float64(table[at + np.uint64(i + 1)]), MAX_COUNT)
            c += min(np.float64(table[at + np.uint64(i + 2)]), MAX_COUNT)
            d += min(np.float64(table[at + np.uint64(i + 3)]), MAX_COUNT)
    else:
        for i in range(max(0, -first), min(WIDTH, 256 - first)):
            a += min(np.float64(table[key + first + i]), MAX_COUNT)
    counted = a + b + c + d
    even = np.float64((np.int64(counted) * share >> 4) + base)
    inside = 0
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    if whole:
        for i in range(0, WIDTH, 4):
            for k in range(i, i + 4):
                frequency = frequencies[begin + np.uint64(k)]
                inside += frequency
                n = min(np.float64(table[at + np.uint64(k)]), MAX_COUNT)
                weights[k] = np.float64((frequency >> 4) + 1) * (16.0 * n + even)
            a += weights[i]
            b += weights[i + 1]
            c += weights[i + 2]
            d += weights[i + 3]
    else:
        for i in range(WIDTH):
            frequency = frequencies[begin + np.uint64(i)]
            inside += frequency
            weights[i] = 0.0
            if first + i >= 0 and first + i < 256:
                n = min(np.float64(table[key + first + i]), MAX_COUNT)
                weights[i] = np.float64((frequency >> 4) + 1) * (16.0 * n + even)
            a += weights[i]
    weights[WIDTH] = np.float64((TOTAL - inside >> 4) + 1) * (counted + even)
    return a + b + c + d + weights[WIDTH]


@compiled
def interval(weights: np.ndarray, total: float, symbol: int) -> tuple[int, int]:
    """(start, frequency) of a symbol."""
    ratio = SHARED / total
    start, end = 0, TOTAL
    if symbol < BEHIND:
        for i in range(symbol):
            start += quotient(weights[i], total, ratio) + 1
        return start, quotient(weights[symbol], total, ratio) + 1
    for i in range(WIDTH, symbol, -1):
        end -= quotient(weights[i], total, ratio) + 1
    if symbol > BEHIND:
        frequency = quotient(weights[symbol], total, ratio) + 1
        return end - frequency, frequency
    for i in range(BEHIND):
        start += quotient(weights[i], total, ratio) + 1
    return start, end - start


@compiled
def search(weights: np.ndarray, total: float, slot: int) -> tuple[int, int, int]:
    """(symbol, start, frequency) of the symbol whose interval holds the slot."""
    symbol, before, goal = 0, 0.0, slot * total / SHARED
    while symbol < WIDTH and before + weights[symbol] <= goal:
        before += weights[symbol]
        symbol += 1
    # Without rounding down the ends would be those of the sums; the exact ones are close by.
    start, frequency = interval(weights, total, symbol)
    while slot < start:
        symbol -= 1
        start, frequency = interval(weights, total, symbol)
    while slot >= start + frequency:
        symbol += 1
        start, frequency = interval(weights, total, symbol)
    return symbol, start, frequency
