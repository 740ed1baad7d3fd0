"""Lanes on a GPU: one Triton program codes an array, with the results of lanes_numpy.py.

state: (L,) int64 with L at most LANES, a power of two; words: int64; count: (1,) int64, about -2^40
once a pop found no word: it stays negative whatever follows.  A step is L values; in it a prefix
sum gives each lane that needs a word its own.  TRITON_INTERPRET=1 runs the kernels on CPU tensors.
"""

import triton
import triton.language as tl

EDGES = tl.constexpr(65)
LAST = tl.constexpr(63)
CENTRE = tl.constexpr(31)
FLOOR = tl.constexpr(2**31)


@triton.jit
def _take(s, ok, slot, start, frequency, words, p):
    """(states, words left): the lanes where `ok` is true pop a symbol that is known."""
    t = frequency * (s >> 24) + slot - start
    need = ok & (t < FLOOR)
    rank = tl.cumsum(need.to(tl.int64), 0)
    place = p - rank
    word = tl.load(words + place, mask=need & (place >= 0), other=0)
    t = tl.where(need, (t << 32) | word, t)
    return tl.where(ok, t, s), p - tl.sum(need.to(tl.int64), 0)


@triton.jit
def _give(s, ok, start, frequency, words, p):
    """The mirror of _take: the lanes where `ok` is true push a symbol."""
    over = ok & ((s >> 39) >= frequency)
    rank = tl.cumsum(over.to(tl.int64), 0)
    given = tl.sum(over.to(tl.int64), 0)
    place = p + given - rank
    tl.store(words + place, s & 0xFFFFFFFF, mask=over & (place >= 0))
    t = tl.where(over, s >> 32, s)
    f = tl.where(ok, frequency, 1)
    quotient = t // f
    t = (quotient << 24) + (t - quotient * f) + start
    return tl.where(ok, t, s), p + given


@triton.jit
def _ahead(i, edges, slot, ok, step: tl.constexpr):
    """A step of the binary search for the last column whose cumulative frequency is <= slot."""
    edge = tl.load(edges + i + step, mask=ok, other=0)
    return tl.where(edge <= slot.to(tl.int32), i + step, i)


@triton.jit
def pop_gaussian(
    state, words, count, edges, mean32, scale, values, n, lanes, many,
    ESCAPES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """values (n,) int32 under rows of the table; many: whether scale has n elements, not one."""
    lane = tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    p = tl.load(count)
    begin = n * 0
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        mean = tl.load(mean32 + j, mask=ok, other=0)
        row = tl.load(scale + j * many, mask=ok, other=0) * 32 + (mean & 31)
        slot = s & 0xFFFFFF
        first = row * EDGES
        i = _ahead(first, edges, slot, ok, 32)
        i = _ahead(i, edges, slot, ok, 16)
        i = _ahead(i, edges, slot, ok, 8)
        i = _ahead(i, edges, slot, ok, 4)
        i = _ahead(i, edges, slot, ok, 2)
        i = _ahead(i, edges, slot, ok, 1)
        start = tl.load(edges + i, mask=ok, other=0).to(tl.int64)
        frequency = tl.load(edges + i + 1, mask=ok, other=1).to(tl.int64) - start
        s, p = _take(s, ok, slot, start, frequency, words, p)
        column = i - first
        value = column + (mean >> 5) - CENTRE
        if ESCAPES:
            far = ok & ((column == 0) | (column == LAST))
            if tl.sum(far.to(tl.int32), 0) > 0:
                number = (s >> 8) & 0xFFFF
                value = tl.where(far, (number - 32768).to(tl.int32), value)
                s, p = _take(s, far, s & 0xFFFFFF, number << 8, 256, words, p)
        tl.store(values + j, value, mask=ok)
        begin += lanes
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(p < 0, p * 0 - 1099511627776, p))


@triton.jit
def push_gaussian(
    state, words, count, edges, mean32, scale, values, n, lanes, many,
    ESCAPES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The mirror of pop_gaussian; a value without frequency makes the count -2^40."""
    lane = tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    p = tl.load(count)
    begin = (n - 1) // lanes * lanes
    impossible = n * 0
    while begin >= 0:
        j = begin + lane
        ok = here & (j < n)
        mean = tl.load(mean32 + j, mask=ok, other=0)
        value = tl.load(values + j, mask=ok, other=0)
        row = tl.load(scale + j * many, mask=ok, other=0) * 32 + (mean & 31)
        column = value - (mean >> 5) + CENTRE
        column = tl.minimum(tl.maximum(column, 0), LAST)
        if ESCAPES:
            far = ok & ((column == 0) | (column == LAST))
            if tl.sum(far.to(tl.int32), 0) > 0:
                number = (value + 32768).to(tl.int64) & 0xFFFF
                s, p = _give(s, far, number << 8, tl.full((LANES,), 256, tl.int64), words, p)
        i = row * EDGES + column
        start = tl.load(edges + i, mask=ok, other=0).to(tl.int64)
        frequency = tl.load(edges + i + 1, mask=ok, other=1).to(tl.int64) - start
        impossible += tl.sum((ok & (frequency == 0)).to(tl.int32), 0)
        s, p = _give(s, ok, start, tl.where(frequency == 0, 1, frequency), words, p)
        begin -= lanes
    p = tl.where(impossible > 0, p * 0 - 1099511627776, p)
    tl.store(state + lane, s, mask=here)
    tl.store(count, p)
