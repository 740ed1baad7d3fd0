"""Lanes that push on a GPU: the mirror of lanes_triton.py, which says how lanes are kernels.

Lanes that push do not wait for one another: each program has LANES of them, and writes what each
value pushes to `given`, in the order of the stack, from where append_words (words_triton.py) takes
it.
"""

import triton
import triton.language as tl

from bitsback.ans.lanes_triton import CENTRE, LAST, ROWS

NOTHING = tl.constexpr(-1)  # in `given`: no word is pushed
IMPOSSIBLE = tl.constexpr(-2)  # in `given`: a value without frequency was to be pushed
ROW = tl.constexpr(72)  # numbers a row


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
def give_escapes(s, far, value):
    """The mirror of take_escapes, as give."""
    number = (value + 32768).to(tl.int64) & 0xFFFF
    return give(s, far, number << 8, 256, 0.00390625)


@triton.jit
def _row(rows, mean, value, scale, ok):
    """(start, frequency, 1 / frequency, 1 for an end column or 0) of values under rows."""
    column = value - (mean >> 5) + CENTRE
    column = tl.minimum(tl.maximum(column, 0), LAST)
    i = (scale * 32 + (mean & 31)) * ROW + 8 + column
    start = tl.load(rows + i - 1, mask=column > 0, other=0)
    frequency = tl.load(rows + i) - start
    far = ok & ((column == 0) | (column == LAST))
    used = tl.maximum(frequency, 1)
    return start, frequency, inverse(used), far.to(tl.int32)


@triton.jit
def push_opened(state, n, lanes, LANES: tl.constexpr):
    """(numbers of this program's lanes, which are there, their states, first value of the last
    step)."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    here = lane < lanes
    return lane, here, tl.load(state + lane, mask=here, other=0), (n - 1) // lanes * lanes


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
    lane, here, s, begin = push_opened(state, n, lanes, LANES)
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
