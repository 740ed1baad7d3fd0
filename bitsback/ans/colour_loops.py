"""Colour counts, compiled: the loops of colour_frequencies.py, value by value, with its integers.

numba compiles them (compiled.py).  A chunk has the words of `Lanes.push_each` and `pop_each` under
the rows of `reweighted`: value j belongs to lane j mod L.
"""

import functools
from collections.abc import Sequence

import numpy as np

from bitsback.ans.colour_frequencies import BEHIND, SHARPNESS, WIDTH
from bitsback.ans.colour_intervals import interval, search, weigh
from bitsback.ans.compiled import compiled, inlined
from bitsback.ans.gaussian_tables import FRACTION_BITS, FRACTIONS, TOTAL, Gaussians
from bitsback.ans.lane_intervals import ESCAPED, NO_ESCAPE, push_looked_up
from bitsback.ans.lane_steps import pop_escape, pop_update, take
from bitsback.ans.lanes import Lanes
from bitsback.ans.lanes_numpy import DRY, ESCAPE_BITS, SLOTS

LEAST_SHARE = 2**11  # values that a thread looks up


@inlined
def byte(value: int) -> int:
    """A pixel - 128 -> 0..255; a value that is no pixel counts as the nearest."""
    return np.int64(min(max(value, -128), 127)) + 128  # type: ignore[return-value]


@compiled
def _look_up(
    begin,
    end,
    values,
    frequencies,
    table,
    keys,
    mean32,
    scale,
    share,
    base,
    starts,
    widths,
    escaped,
):
    """The look-up of a chunk, as push_looked_up takes it."""
    weights, found = np.empty(WIDTH + 1, np.float64), NO_ESCAPE
    for j in range(begin, end):
        floor = np.int64(mean32[j] >> FRACTION_BITS)
        row = scale[j] * FRACTIONS + (mean32[j] & (FRACTIONS - 1))
        first = floor + 128 - BEHIND
        total = weigh(frequencies, row, table, keys[j], first, share, base, weights)
        symbol = values[j] - floor + BEHIND
        escaped[j] = symbol < 0 or symbol >= WIDTH
        if escaped[j]:
            symbol, found = WIDTH, ESCAPED
        starts[j], widths[j] = interval(weights, total, symbol)
    return found


@compiled
def _pop(state, words, count, frequencies, table, keys, mean32, scale, share, base, values):
    """The mirror of push: writes values (n,) int32; as lanes_numpy.pop_each."""
    lanes, n, weights = state.size, values.size, np.empty(WIDTH + 1, np.float64)
    for begin in range(0, n, lanes):
        end, escaped = min(begin + lanes, n), False
        for j in range(begin, end):
            floor = np.int64(mean32[j] >> FRACTION_BITS)
            row = scale[j] * FRACTIONS + (mean32[j] & (FRACTIONS - 1))
            first = floor + 128 - BEHIND
            total = weigh(frequencies, row, table, keys[j], first, share, base, weights)
            s = state[j - begin]
            slot = s & SLOTS
            symbol, start, frequency = search(weights, total, slot)
            s, count = take(pop_update(s, slot, start, frequency), words, count)
            if count < 0:
                return DRY
            state[j - begin] = s
            escaped |= symbol == WIDTH
            values[j] = floor - BEHIND + symbol
        if escaped:
            for j in range(begin, end):
                if values[j] - (mean32[j] >> FRACTION_BITS) + BEHIND == WIDTH:
                    count, values[j] = pop_escape(state, j - begin, words, count)
                    if count < 0:
                        return DRY
    return count


@compiled
def _bits(frequencies, table, keys, values, mean32, scale, sharpness, bits):
    """Adds to bits (len(sharpness),) float64 what the values cost under each (share, base)."""
    weights = np.empty(WIDTH + 1, np.float64)
    for j in range(values.size):
        floor = np.int64(mean32[j] >> FRACTION_BITS)
        row = scale[j] * FRACTIONS + (mean32[j] & (FRACTIONS - 1))
        first = floor + 128 - BEHIND
        symbol = values[j] - floor + BEHIND
        escaped = symbol < 0 or symbol >= WIDTH
        if escaped:
            symbol = WIDTH
        for k in range(len(sharpness)):
            share, base = sharpness[k]
            total = weigh(frequencies, row, table, keys[j], first, share, base, weights)
            bits[k] -= np.log2(interval(weights, total, symbol)[1] / TOTAL)
            if escaped:
                bits[k] += ESCAPE_BITS


@compiled
def add(counts: np.ndarray, indices: np.ndarray, times: int) -> None:
    """As colour_frequencies.add."""
    for j in range(indices.size):
        counts[indices[j]] += times


@compiled
def _count(counts, keys, values, times, indices):
    for j in range(values.size):
        index = keys[j] + byte(values[j])
        counts[index] += times
        indices[j] = index


def count(counts: np.ndarray, keys: np.ndarray, values: np.ndarray, times: int) -> np.ndarray:
    """As colour_frequencies.count."""
    indices = np.empty(len(keys), np.int32)
    _count(counts, keys, values, times, indices)
    return indices


@compiled
def _count_gray(gray, pixels, times):
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            gray[pixels[y, x, 0]] += times


@compiled
def _count_colours(greens, reds, blues, pixels, times):
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            green = np.int64(pixels[y, x, 1])
            both = green << 8 | np.int64(pixels[y, x, 0])
            greens[green] += times
            reds[both] += times
            blues[both << 8 | np.int64(pixels[y, x, 2])] += times


def count_pixels(tables: Sequence[np.ndarray], pixels: np.ndarray, times: int) -> None:
    """As colour_frequencies.count_pixels."""
    if len(tables) == 1:
        _count_gray(tables[0], pixels, times)
    else:
        _count_colours(*tables, pixels, times)


def push(
    lanes: Lanes,
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    share: int,
    base: int,
) -> None:
    """As colour_frequencies.push."""
    rows = gaussians.frequencies.ravel(), counts, keys, mean32, scale, share, base
    loop = functools.partial(push_looked_up, _look_up, least=LEAST_SHARE)
    lanes.run(loop, values, *rows, room=2 * len(values))


def pop(
    lanes: Lanes,
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    share: int,
    base: int,
) -> np.ndarray:
    """As colour_frequencies.pop."""
    values, rows = np.empty(len(keys), np.int32), (keys, mean32, scale)
    table = gaussians.frequencies.ravel()
    lanes.run(_pop, table, counts, *rows, share, base, values)
    return values


def information_bits(
    gaussians: Gaussians,
    counts: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """As colour_frequencies.information_bits, but for the order of the sum."""
    bits = np.zeros(len(SHARPNESS))
    rows = (np.ascontiguousarray(row) for row in (keys, values, mean32, scale))  # compiled once
    _bits(gaussians.frequencies.ravel(), counts, *rows, SHARPNESS, bits)
    return bits
