"""Pushes of symbols whose intervals are known or looked up, by one thread or by several.

Where a state gives a word does not depend on the words: so threads may push on lanes of their own,
each into an array of its own, and the words are put in order afterwards.  (A pop must wait for
the words that the lanes before it take.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bitsback.ans.compiled import compiled
from bitsback.ans.lane_steps import push_escape, push_update
from bitsback.ans.lanes_numpy import IMPOSSIBLE
from bitsback.team import LEAST, parts, shared_out

NO_ESCAPE, ESCAPED = 0, 1  # what look-ups return, or IMPOSSIBLE


@compiled
def _push(first, last, state, starts, frequencies, words, count, given):
    """Pushes the symbols of lanes first..last - 1; given (steps,): words of each; the new count.

    One loop gives words, another updates the states, which do not wait for one another: the
    processor does several at once.
    """
    lanes, n = state.size, starts.size
    for step in range((n - 1) // lanes, -1, -1):
        begin, before = step * lanes, count
        end = min(last, n - begin)
        for lane in range(end - 1, first - 1, -1):
            s = state[lane]
            words[count] = s & 0xFFFFFFFF  # counts only if it is given
            over = s >> 39 >= frequencies[begin + lane]
            count += over
            state[lane] = s >> 32 if over else s
        for lane in range(first, end):
            j = begin + lane
            state[lane] = push_update(state[lane], np.int64(starts[j]), np.int64(frequencies[j]))
        given[step] = count - before
    return count


@compiled
def _push_with_escapes(state, starts, frequencies, escaped, values, words, count):
    """In one thread: the escaped values of a step, then its symbols."""
    lanes, n, given = state.size, starts.size, np.empty(1, np.int64)
    for step in range((n - 1) // lanes, -1, -1):
        begin = step * lanes
        end = min(begin + lanes, n)
        for j in range(end - 1, begin - 1, -1):
            if escaped[j]:
                count = push_escape(state, j - begin, words, count, values[j])
        here = starts[begin:end], frequencies[begin:end]
        count = _push(0, lanes, state, *here, words, count, given)
    return count


@compiled
def _put_in_order(words, count, given, many):
    """Appends what threads gave, step by step, the last lanes first; many: (threads, steps)."""
    threads, steps = many.shape
    at = np.zeros(threads, np.int64)
    for step in range(steps - 1, -1, -1):
        for thread in range(threads - 1, -1, -1):
            for i in range(at[thread], at[thread] + many[thread, step]):
                words[count] = given[thread, i]
                count += 1
            at[thread] += many[thread, step]
    return count


def push_intervals(
    state: np.ndarray, words: np.ndarray, count: int, starts: np.ndarray, frequencies: np.ndarray
) -> int:
    """As lanes_numpy.push: starts, frequencies (n,) int32 or int64."""
    lanes, n = len(state), len(starts)
    if not n:
        return count
    steps = (n - 1) // lanes + 1
    shares = [(lanes * begin // n, lanes * end // n) for begin, end in parts(n)]
    many = np.empty((len(shares), steps), np.int64)
    if len(shares) == 1:
        return _push(0, lanes, state, starts, frequencies, words, count, many[0])
    # the first lanes have a symbol in each step, the last ones may have one less
    room = max(end - begin for begin, end in shares) * steps + 1
    given = np.empty((len(shares), room), np.uint32)
    symbols = state, starts, frequencies
    shared_out(_push, [(*share, *symbols, given[i], 0, many[i]) for i, share in enumerate(shares)])
    return _put_in_order(words, count, given, many)


def push_looked_up(
    look_up: Callable[..., int],
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    values: np.ndarray,
    *rows: Any,
    least: int = LEAST,
) -> int:
    """Pushes values (n,) whose intervals `look_up` writes; the new count of words, or IMPOSSIBLE.

    look_up(begin, end, values, *rows, starts, frequencies, escaped) is of values begin..end - 1, at
    least `least` of them: starts, frequencies (n,) int32; escaped (n,) bool, of which values follow
    as uniform numbers.  It returns ESCAPED if there are any, else NO_ESCAPE, or IMPOSSIBLE.
    """
    n = len(values)
    starts, frequencies = np.empty(n, np.int32), np.empty(n, np.int32)
    escaped = np.empty(n, np.bool_)
    arguments = values, *rows, starts, frequencies, escaped
    found = shared_out(look_up, [(*part, *arguments) for part in parts(n, least)])
    if IMPOSSIBLE in found:
        return IMPOSSIBLE
    if ESCAPED in found:
        return _push_with_escapes(state, starts, frequencies, escaped, values, words, count)
    return push_intervals(state, words, count, starts, frequencies)
