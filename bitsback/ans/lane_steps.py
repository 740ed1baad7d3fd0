"""What one lane does for one symbol, compiled into the loops of lanes_numba.py and others."""

import numpy as np

from bitsback.ans.compiled import inlined
from bitsback.ans.lanes_numpy import FLOOR, SLOTS


@inlined
def pop_update(s: int, slot: int, start: int, frequency: int) -> int:
    """The state after a symbol is popped, before it takes a word."""
    return frequency * (s >> 24) + slot - start


@inlined
def push_update(s: int, start: int, frequency: int) -> int:
    """The state after a symbol is pushed, once it has given its word."""
    quotient = np.int64(np.uint64(s) // np.uint64(frequency))
    return (quotient << 24) + (s - quotient * frequency) + start  # type: ignore[return-value]


@inlined
def give(s: int, frequency: int, words: np.ndarray, count: int) -> tuple[int, int]:
    """(the state with room for a symbol of this frequency, count of words)."""
    if s >> 39 >= frequency:
        words[count] = s & 0xFFFFFFFF
        count += 1
        s >>= 32
    return s, count


@inlined
def take(s: int, words: np.ndarray, count: int) -> tuple[int, int]:
    """The mirror of give; the count is negative where there is no word."""
    if s < FLOOR:
        count -= 1
        if count >= 0:
            s = s << 32 | np.int64(words[count])  # type: ignore[assignment]
    return s, count


@inlined
def push_escape(state: np.ndarray, lane: int, words: np.ndarray, count: int, value: int) -> int:
    """Pushes a value as a uniform number of 16 bits; returns the count of words."""
    s, count = give(state[lane], 256, words, count)
    state[lane] = push_update(s, np.int64((value + 2**15) & 0xFFFF) << 8, np.int64(256))
    return count


@inlined
def pop_escape(state: np.ndarray, lane: int, words: np.ndarray, count: int) -> tuple[int, int]:
    """The mirror of push_escape: (count of words, value)."""
    s = state[lane]
    value = s >> 8 & 0xFFFF
    s = pop_update(s, s & SLOTS, value << 8, np.int64(256))
    state[lane], count = take(s, words, count)
    return count, value - 2**15
