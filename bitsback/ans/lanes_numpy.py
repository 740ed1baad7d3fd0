"""Lanes in numpy: the reference of the arithmetic (ARITHMETIC.md, section 3).

All functions change `state` (L,) int64 and `words` (uint32, of which `count` are on the stack) in
place and return the new count; a pop that needs a word when there is none returns DRY, a push of a
value without frequency IMPOSSIBLE, and the caller restores the lanes.  A push needs room for two
words a value.  One step codes L values at once, value j under lane j mod L.
"""

import numpy as np

from bitsback.ans.row_table import CENTRE, COLUMNS
from bitsback.ans.row_table import PRECISION as SLOT_BITS

DRY, IMPOSSIBLE = -1, -2
SLOTS = 2**SLOT_BITS - 1
FLOOR = 2**31  # of a state
ESCAPE_BITS = 16  # an escaped value is -2^15 .. 2^15 - 1
EDGES = COLUMNS + 1  # cumulative frequencies of a row
LAST = COLUMNS - 1
SEARCH = (32, 16, 8, 4, 2, 1)  # binary search of a row's columns


def steps(n: int, lanes: int) -> range:
    """The first value of each step, in the order of decoding."""
    return range(0, n, lanes)


def _give(
    state: np.ndarray, words: np.ndarray, count: int, which: np.ndarray, starts, frequencies
) -> int:
    """Pushes one symbol on each of the lanes `which` (k,), ascending; the last one goes first."""
    s = state[which]
    over = s >> 39 >= frequencies
    given = (s[over] & 0xFFFFFFFF).astype(np.uint32)[::-1]
    words[count : count + len(given)] = given
    s = np.where(over, s >> 32, s)
    quotient, rest = np.divmod(s, frequencies)
    state[which] = (quotient << SLOT_BITS) + rest + starts
    return count + len(given)


def _take(
    state: np.ndarray, words: np.ndarray, count: int, which: np.ndarray, starts, frequencies
) -> int:
    """The mirror of _give: the symbols of the lanes are known, their states move on."""
    s = state[which]
    s = frequencies * (s >> SLOT_BITS) + (s & SLOTS) - starts
    need = np.flatnonzero(s < FLOOR)
    if len(need) > count:
        return DRY
    taken = words[count - len(need) : count][::-1].astype(np.int64)
    s[need] = s[need] << 32 | taken
    state[which] = s
    return count - len(need)


def _give_escapes(state: np.ndarray, words: np.ndarray, count: int, far: np.ndarray, values) -> int:
    """Pushes the values of the lanes `far` as uniform numbers."""
    shift = SLOT_BITS - ESCAPE_BITS
    starts = (values.astype(np.int64) + 2 ** (ESCAPE_BITS - 1) & 2**ESCAPE_BITS - 1) << shift
    return _give(state, words, count, far, starts, np.int64(1 << shift))


def _take_escapes(
    state: np.ndarray, words: np.ndarray, count: int, far: np.ndarray
) -> tuple[int, np.ndarray]:
    """The mirror of _give_escapes: (count, values)."""
    shift = SLOT_BITS - ESCAPE_BITS
    found = (state[far] & SLOTS) >> shift
    count = _take(state, words, count, far, found << shift, np.int64(1 << shift))
    return count, found - 2 ** (ESCAPE_BITS - 1)


def push(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    starts: np.ndarray,
    frequencies: np.ndarray,
) -> int:
    """Pushes n symbols: starts, frequencies (n,) integers, cumulative and own frequency."""
    for begin in reversed(steps(len(starts), len(state))):
        f = frequencies[begin : begin + len(state)].astype(np.int64)
        which = np.arange(len(f))
        count = _give(state, words, count, which, starts[begin : begin + len(state)], f)
    return count


def pop_uniform(
    state: np.ndarray, words: np.ndarray, count: int, bits: int, values: np.ndarray
) -> int:
    """Pops n uniform numbers of `bits` bits (up to 24) into values (n,) int32."""
    shift = SLOT_BITS - bits
    for begin in steps(len(values), len(state)):
        which = np.arange(min(len(state), len(values) - begin))
        found = (state[which] & SLOTS) >> shift
        count = _take(state, words, count, which, found << shift, np.int64(1 << shift))
        if count < 0:
            return count
        values[begin : begin + len(which)] = found
    return count


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
    """Pushes values (n,) int32 under rows of the Gaussian table.

    edges: (rows * 65,) int32, cumulative frequencies; guide: not used here; mean32: (n,) int32;
    scale: (n,) or (1,) int32.  Without escapes the end columns stand for themselves.
    """
    lanes = len(state)
    whole = values - (mean32 >> 5) + CENTRE
    columns = np.clip(whole, 0, LAST)
    index = (scale * 32 + (mean32 & 31)) * EDGES + columns
    starts = edges[index].astype(np.int64)
    frequencies = edges[index + 1] - starts
    if not frequencies.all():
        return IMPOSSIBLE
    far = (columns == 0) | (columns == LAST)
    for begin in reversed(steps(len(values), lanes)):
        step = slice(begin, begin + lanes)
        if escapes and far[step].any():
            which = np.flatnonzero(far[step])
            count = _give_escapes(state, words, count, which, values[step][which])
        which = np.arange(len(values[step]))
        count = _give(state, words, count, which, starts[step], frequencies[step])
    return count


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
    """The mirror of push_gaussian: writes values (n,) int32."""
    lanes = len(state)
    rows = (scale * 32 + (mean32 & 31)) * EDGES
    whole = (mean32 >> 5) - CENTRE
    for begin in steps(len(values), lanes):
        row = rows[begin : begin + lanes]
        which = np.arange(len(row))
        slot, index = state[which] & SLOTS, row.copy()
        for step in SEARCH:
            index += np.where(edges[index + step] <= slot, step, 0).astype(index.dtype)
        starts = edges[index].astype(np.int64)
        count = _take(state, words, count, which, starts, edges[index + 1] - starts)
        if count < 0:
            return count
        columns = index - row
        values[begin : begin + lanes] = columns + whole[begin : begin + lanes]
        far = np.flatnonzero((columns == 0) | (columns == LAST))
        if escapes and len(far):
            count, found = _take_escapes(state, words, count, far)
            if count < 0:
                return count
            values[begin + far] = found
    return count


def push_each(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    values: np.ndarray,
    first: np.ndarray,
    frequencies: np.ndarray,
) -> int:
    """Pushes values (n,) int32, each under its own row of frequencies (n, K), of sum 2^24.

    Column i is the value first + i (first: (n,) int32); the last one is the escape, any other.
    """
    lanes, escape = len(state), frequencies.shape[1] - 1
    symbols = values - first
    far = (symbols < 0) | (symbols >= escape)
    symbols = np.where(far, escape, symbols)
    each = np.arange(len(values))
    own = frequencies[each, symbols].astype(np.int64)
    if not own.all():
        return IMPOSSIBLE
    starts = np.cumsum(frequencies, 1, dtype=np.int64)[each, symbols] - own
    for begin in reversed(steps(len(values), lanes)):
        step = slice(begin, begin + lanes)
        if far[step].any():
            which = np.flatnonzero(far[step])
            count = _give_escapes(state, words, count, which, values[step][which])
        which = np.arange(len(values[step]))
        count = _give(state, words, count, which, starts[step], own[step])
    return count


def pop_each(
    state: np.ndarray,
    words: np.ndarray,
    count: int,
    first: np.ndarray,
    frequencies: np.ndarray,
    values: np.ndarray,
) -> int:
    """The mirror of push_each: writes values (n,) int32."""
    lanes, escape = len(state), frequencies.shape[1] - 1
    edges = np.cumsum(frequencies, 1, dtype=np.int64)
    for begin in steps(len(values), lanes):
        step = slice(begin, begin + lanes)
        which = np.arange(len(values[step]))
        symbols = (edges[step] <= (state[which] & SLOTS)[:, None]).sum(1)
        own = frequencies[step][which, symbols].astype(np.int64)
        count = _take(state, words, count, which, edges[step][which, symbols] - own, own)
        if count < 0:
            return count
        values[step] = symbols + first[step]
        far = np.flatnonzero(symbols == escape)
        if len(far):
            count, found = _take_escapes(state, words, count, far)
            if count < 0:
                return count
            values[begin + far] = found
    return count
