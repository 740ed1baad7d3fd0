"""Lanes on a GPU: one kernel codes an array, with the results of lanes_numpy.py.

state: (L,) int64 with L at most LANES, a power of two; words: int64; count: (1,) int64, about -2^40
once a pop found no word: it stays negative whatever follows.  A step is L values.  Lanes that pop
are one Triton program: in each step a prefix sum gives each lane that needs a word its own.  Lanes
that push do not wait for one another: each program has LANES of them, and writes what each value
pushes to `given`, from where append_words (words_triton.py) puts it on the stack.
TRITON_INTERPRET=1 runs the kernels on CPU tensors.

A step takes as long as its loads that wait for one another, so that it loads what later steps need
before it waits.  rows: (R, 9, 8) int32, the cumulative frequencies of a row at every eighth column,
then at columns 1 .. 64 (`search_rows`): a symbol is found by two loads, one after the other, of 32
bytes each.  Lanes that are not there have the state 0 and code under row 0.
"""

import numpy as np
import triton
import triton.language as tl

from bitsback.ans.row_table import COLUMNS

PAIRS = tl.constexpr(36)  # of cumulative frequencies a row
LAST = tl.constexpr(63)
CENTRE = tl.constexpr(31)
FLOOR = tl.constexpr(2**31)
DRY = tl.constexpr(-(2**40))
NOTHING = tl.constexpr(-1)  # in `given`: no word is pushed
IMPOSSIBLE = tl.constexpr(-2)  # in `given`: a value without frequency was to be pushed
# Parameters, by name: no kernel is compiled anew for other sizes, or for arrays at odd addresses.
LANES_WORDS = ["state", "words", "count"]
ROWS = ["rows", "mean32", "scale", "values"]


def search_rows(edges: np.ndarray) -> np.ndarray:
    """RowTable.edges as `rows`, flat."""
    edges = edges.reshape(-1, COLUMNS + 1)
    return np.concatenate([edges[:, 8::8], edges[:, 1:]], 1).ravel()


@triton.jit
def opened(state, count, lanes, LANES: tl.constexpr):
    """(numbers of lanes, which are there, their states, words on the stack)."""
    lane = tl.arange(0, LANES)
    here = lane < lanes
    return lane, here, tl.load(state + lane, mask=here, other=0), tl.load(count)


@triton.jit
def closed(state, count, lane, here, s, p, dry):
    """The mirror of opened; the count is DRY where `dry` is true."""
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(dry, DRY, p))


@triton.jit
def take(s, ok, slot, start, frequency, words, p, far):
    """(states, words left, number of `far`): lanes where `ok` is true pop a known symbol."""
    t = frequency * (s >> 24) + slot - start
    need = ok & (t < FLOOR)
    place = p - tl.cumsum(need.to(tl.int32), 0)
    word = tl.load(words + place, mask=need & (place >= 0), other=0)
    sums = tl.sum(need.to(tl.int32) + (far.to(tl.int32) << 16), 0)  # both in one
    t = tl.where(need, (t << 32) | word, t)
    return tl.where(ok, t, s), p - (sums & 0xFFFF), sums >> 16


@triton.jit
def inverse(frequency):
    """1 / frequency in float64, to about 40 bits: no slow division of float64."""
    f = frequency.to(tl.float64)
    near = (1.0 / frequency.to(tl.float32)).to(tl.float64)
    return near * (2.0 - f * near)


@triton.jit
def give(s, ok, start, frequency, inverse):
    """The mirror of take: the lanes where `ok` is true push a symbol.

    Returns (states, words that are pushed or NOTHING).  inverse: near 1 / frequency; the quotient
    that it gives, below 2^39, is off by 1 at most.
    """
    over = ok & ((s >> 39) >= frequency)
    word = tl.where(over, s & 0xFFFFFFFF, NOTHING)
    t = tl.where(over, s >> 32, s)
    quotient = (t.to(tl.float64) * inverse).to(tl.int64)
    rest = t - quotient * frequency
    quotient = tl.where(rest < 0, quotient - 1, quotient)
    rest = tl.where(rest < 0, rest + frequency, rest)
    more = rest >= frequency
    quotient = tl.where(more, quotient + 1, quotient)
    rest = tl.where(more, rest - frequency, rest)
    return tl.where(ok, (quotient << 24) + rest + start, s), word


@triton.jit
def take_escapes(s, far, value, words, p):
    """(states, values, words left): lanes where `far` is true pop the 16 bits of their value."""
    number = (s >> 8) & 0xFFFF
    value = tl.where(far, (number - 32768).to(tl.int32), value)
    s, p, none = take(s, far, s & 0xFFFFFF, number << 8, 256, words, p, far)
    return s, value, p


@triton.jit
def give_escapes(s, far, value):
    """The mirror of take_escapes, as give."""
    number = (value + 32768).to(tl.int64) & 0xFFFF
    return give(s, far, number << 8, 256, 0.00390625)


@triton.jit
def _passed(pair, slot, passed, start, end):
    """Goes on past two cumulative frequencies: those <= slot are counted and the last is start.

    The first of the others is end.
    """
    low, high = pair.to(tl.int32), (pair >> 32).to(tl.int32)
    passed += (low <= slot).to(tl.int32) + (high <= slot).to(tl.int32)
    start = tl.where(low <= slot, low, start)
    start = tl.where(high <= slot, high, start)
    end = tl.minimum(end, tl.where(high <= slot, end, high))
    end = tl.minimum(end, tl.where(low <= slot, end, low))
    return passed, start, end


@triton.jit
def _find(rows, first, slot, a, b, c, d):
    """(column, start, end) of slots; first: of a row's pairs; a .. d: its first four."""
    zero = slot * 0
    passed, start, end = _passed(a, slot, zero, zero, zero + 16777216)
    passed, start, end = _passed(b, slot, passed, start, end)
    passed, start, end = _passed(c, slot, passed, start, end)
    passed, start, end = _passed(d, slot, passed, start, end)
    fine = rows + first + 4 + passed * 4
    a, b, c, d = tl.load(fine), tl.load(fine + 1), tl.load(fine + 2), tl.load(fine + 3)
    passed *= 8
    passed, start, end = _passed(a, slot, passed, start, end)
    passed, start, end = _passed(b, slot, passed, start, end)
    passed, start, end = _passed(c, slot, passed, start, end)
    return _passed(d, slot, passed, start, end)


@triton.jit(do_not_specialize=[*LANES_WORDS, *ROWS, "n", "lanes", "many"])
def pop_gaussian(
    state, words, count, rows, mean32, scale, values, n, lanes, many,
    ESCAPES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """values (n,) int32 under rows of the table, as int64; many: whether scale has n elements."""
    lane, here, s, p = opened(state, count, lanes, LANES)
    begin = n * 0
    # Of the next step: its rows' first pairs.  Of the one after it: its rows.
    mean = tl.load(mean32 + lane, mask=here & (lane < n), other=0)
    row = tl.load(scale + lane * many, mask=here & (lane < n), other=0)
    first = (row * 32 + (mean & 31)) * PAIRS
    floor = mean >> 5
    pairs = rows + first
    a, b, c, d = tl.load(pairs), tl.load(pairs + 1), tl.load(pairs + 2), tl.load(pairs + 3)
    j = lane + lanes
    mean = tl.load(mean32 + j, mask=here & (j < n), other=0)
    row = tl.load(scale + j * many, mask=here & (j < n), other=0)
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        first_1 = (row * 32 + (mean & 31)) * PAIRS
        floor_1 = mean >> 5
        pairs = rows + first_1
        a_1, b_1 = tl.load(pairs), tl.load(pairs + 1)
        c_1, d_1 = tl.load(pairs + 2), tl.load(pairs + 3)
        after = j + 2 * lanes
        mean = tl.load(mean32 + after, mask=here & (after < n), other=0)
        row = tl.load(scale + after * many, mask=here & (after < n), other=0)
        slot = s & 0xFFFFFF
        column, start, end = _find(rows, first, slot.to(tl.int32), a, b, c, d)
        frequency = (end - start).to(tl.int64)
        value = column + floor - CENTRE
        far = ok & ((column == 0) | (column == LAST))
        if not ESCAPES:
            far = far & (column < 0)  # none
        s, p, escaped = take(s, ok, slot, start.to(tl.int64), frequency, words, p, far)
        if ESCAPES:
            if escaped > 0:
                s, value, p = take_escapes(s, far, value, words, p)
        tl.store(values + j, value, mask=ok)
        first, floor, a, b, c, d = first_1, floor_1, a_1, b_1, c_1, d_1
        begin += lanes
    closed(state, count, lane, here, s, p, p < 0)


@triton.jit
def _row(rows, mean, value, scale, ok):
    """(start, frequency, 1 / frequency, 1 for an end column or 0) of values under rows."""
    column = value - (mean >> 5) + CENTRE
    column = tl.minimum(tl.maximum(column, 0), LAST)
    i = (scale * 32 + (mean & 31)) * (2 * PAIRS) + 8 + column
    start = tl.load(rows + i - 1, mask=column > 0, other=0)
    frequency = tl.load(rows + i) - start
    far = ok & ((column == 0) | (column == LAST))
    used = tl.maximum(frequency, 1)
    return start, frequency, inverse(used), far.to(tl.int32)


@triton.jit
def push_step(s, ok, here, far, value, start, frequency, near, given, lanes, FAR: tl.constexpr):
    """The states after a step that pushes; given: where the words of its lanes go.

    FAR: whether `far` values can be, whose words go `lanes` places after those of all lanes: the
    stack has the last first.
    """
    if FAR:
        word = s * 0 + NOTHING
        if tl.sum(far, 0) > 0:
            s, word = give_escapes(s, far > 0, value)
        tl.store(given + lanes, word, mask=here)
    used = tl.maximum(frequency, 1).to(tl.int64)
    s, word = give(s, ok, start.to(tl.int64), used, near)
    tl.store(given, tl.where(ok & (frequency == 0), IMPOSSIBLE, word), mask=here)
    return s


@triton.jit(do_not_specialize=["state", "given", "at", *ROWS, "n", "lanes", "many"])
def push_gaussian(
    state, given, at, rows, mean32, scale, values, n, lanes, many,
    ESCAPES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The mirror of pop_gaussian, rows as int32.

    given: int64; from place `at` on (steps, 1 + ESCAPES, lanes) words or NOTHING or IMPOSSIBLE.
    """
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    begin = (n - 1) // lanes * lanes
    # Of the next step: its frequencies.  Of the one after it: its values and rows.
    j = begin + lane
    ok = here & (j < n)
    mean = tl.load(mean32 + j, mask=ok, other=0)
    value = tl.load(values + j, mask=ok, other=0)
    row = tl.load(scale + j * many, mask=ok, other=0)
    start, frequency, near, far = _row(rows, mean, value, row, ok)
    ok_1 = here & (j >= lanes)
    mean = tl.load(mean32 + j - lanes, mask=ok_1, other=0)
    value_1 = tl.load(values + j - lanes, mask=ok_1, other=0)
    row = tl.load(scale + (j - lanes) * many, mask=ok_1, other=0)
    while begin >= 0:
        ok = here & (begin + lane < n)
        ok_1 = here & (begin + lane >= lanes)
        start_1, frequency_1, near_1, far_1 = _row(rows, mean, value_1, row, ok_1)
        j = begin + lane - 2 * lanes
        ok_2 = here & (j >= 0)
        mean = tl.load(mean32 + j, mask=ok_2, other=0)
        value_2 = tl.load(values + j, mask=ok_2, other=0)
        row = tl.load(scale + j * many, mask=ok_2, other=0)
        place = given + at + begin * (1 + ESCAPES) + lane
        s = push_step(s, ok, here, far, value, start, frequency, near, place, lanes, ESCAPES)
        start, frequency, near, far, value = start_1, frequency_1, near_1, far_1, value_1
        value_1 = value_2
        begin -= lanes
    tl.store(state + lane, s, mask=here)
