"""Lanes, compiled: the loops of lanes_numpy.py, value by value, with the same results.

numba compiles them (compiled.py).  Their speed does not depend on the number of lanes: the values
of a step are independent of one another, and the processor overlaps them.
"""

import numpy as np

from bitsback.ans.compiled import compiled
from bitsback.ans.lane_intervals import ESCAPED, NO_ESCAPE, push_intervals, push_looked_up
from bitsback.ans.lane_steps import give, pop_escape, pop_update, push_escape, push_update, take
from bitsback.ans.lanes_numpy import CENTRE, DRY, EDGES, IMPOSSIBLE, LAST, SLOTS
from bitsback.ans.row_table import GUIDE_BITS

push = push_intervals


@compiled
def pop_uniform(
    state: np.ndarray, words: np.ndarray, count: int, bits: int, values: np.ndarray
) -> int:
    """As lanes_numpy.pop_uniform."""
    lanes, n, shift = state.size, values.size, 24 - bits
    for j in range(n):
        lane = j % lanes
        s = state[lane]
        value = (s & SLOTS) >> shift
        s = pop_update(s, s & SLOTS, value << shift, np.int64(1) << shift)
        s, count = take(s, words, count)
        if count < 0:
            return DRY
        state[lane] = s
        values[j] = value
    return count


@compiled
def _look_up(begin, end, values, edges, mean32, scale, escapes, starts, frequencies, escaped):
    """The look-up of push_gaussian, as push_looked_up takes it."""
    many, found = scale.size > 1, NO_ESCAPE
    for j in range(begin, end):
        mean = mean32[j]
        row = (scale[j] if many else scale[0]) * 32 + (mean & 31)
        column = min(max(values[j] - (mean >> 5) + CENTRE, 0), LAST)
        escaped[j] = escapes and (column == 0 or column == LAST)
        if escaped[j]:
            found = ESCAPED
        i = row * EDGES + column
        starts[j], frequencies[j] = edges[i], edges[i + 1] - edges[i]
        if frequencies[j] == 0:
            return IMPOSSIBLE
    return found


def push_gaussian(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    edges: np.ndarray,
    guide: np.ndarray,
    values: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    escapes: bool,
) -> int:
    """As lanes_numpy.push_gaussian."""
    rows = edges, mean32, scale, escapes
    return push_looked_up(_look_up, state, words, count, values, *rows)


@compiled
def pop_gaussian(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    edges: np.ndarray,
    guide: np.ndarray,
    mean32: np.ndarray,
    scale: np.ndarray,
    escapes: bool,
    values: np.ndarray,
) -> int:
    """As lanes_numpy.pop_gaussian."""
    lanes, n, many = state.size, values.size, scale.size > 1
    for begin in range(0, n, lanes):
        end = min(begin + lanes, n)
        escaped = False
        for j in range(begin, end):
            s = state[j - begin]
            slot = s & SLOTS
            mean = mean32[j]
            row = (scale[j] if many else scale[0]) * 32 + (mean & 31)
            i = row * EDGES + guide[(row << GUIDE_BITS) + (slot >> 24 - GUIDE_BITS)]
            end_of_column = np.int64(edges[i + 1])
            while end_of_column <= slot:
                i += 1
                end_of_column = np.int64(edges[i + 1])
            start = np.int64(edges[i])
            s = pop_update(s, slot, start, end_of_column - start)
            s, count = take(s, words, count)
            if count < 0:
                return DRY
            state[j - begin] = s
            column = i - row * EDGES
            escaped |= column == 0 or column == LAST
            values[j] = column + (mean >> 5) - CENTRE
        if escaped and escapes:
            for j in range(begin, end):
                column = values[j] - (mean32[j] >> 5) + CENTRE
                if column == 0 or column == LAST:
                    count, values[j] = pop_escape(state, j - begin, words, count)
                    if count < 0:
                        return DRY
    return count


@compiled
def push_each(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    values: np.ndarray,
    first: np.ndarray,
    frequencies: np.ndarray,
) -> int:
    """As lanes_numpy.push_each."""
    lanes, n, escape = state.size, values.size, frequencies.shape[1] - 1
    end = n
    while end > 0:
        begin = (end - 1) // lanes * lanes
        for j in range(end - 1, begin - 1, -1):
            symbol = values[j] - first[j]
            if symbol < 0 or symbol >= escape:
                count = push_escape(state, j - begin, words, count, values[j])
        for j in range(end - 1, begin - 1, -1):
            symbol = values[j] - first[j]
            if symbol < 0 or symbol >= escape:
                symbol = escape
            start = np.int64(0)
            for i in range(symbol):
                start += frequencies[j, i]
            f = np.int64(frequencies[j, symbol])
            if f == 0:
                return IMPOSSIBLE
            s, count = give(state[j - begin], f, words, count)
            state[j - begin] = push_update(s, start, f)
        end = begin
    return count


@compiled
def pop_each(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    first: np.ndarray,
    frequencies: np.ndarray,
    values: np.ndarray,
) -> int:
    """As lanes_numpy.pop_each."""
    lanes, n, escape = state.size, values.size, frequencies.shape[1] - 1
    for begin in range(0, n, lanes):
        end = min(begin + lanes, n)
        escaped = False
        for j in range(begin, end):
            s = state[j - begin]
            slot = s & SLOTS
            start, symbol = np.int64(0), 0
            while symbol < escape and start + frequencies[j, symbol] <= slot:
                start += frequencies[j, symbol]
                symbol += 1
            s = pop_update(s, slot, start, np.int64(frequencies[j, symbol]))
            s, count = take(s, words, count)
            if count < 0:
                return DRY
            state[j - begin] = s
            escaped |= symbol == escape
            values[j] = symbol + first[j]
        if escaped:
            for j in range(begin, end):
                if values[j] - first[j] == escape:
                    count, values[j] = pop_escape(state, j - begin, words, count)
                    if count < 0:
                        return DRY
    return count
