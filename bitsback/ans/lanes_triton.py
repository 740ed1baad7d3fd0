"""Lanes that pop on a GPU: one kernel codes an array, with the results of lanes_numpy.py.

state: (L,) int64 with L at most LANES, a power of two; words: int64; count: (1,) int64, about -2^40
once a pop found no word: it stays negative whatever follows.  A step is L values.  All lanes are
one Triton program, as (PARTS, WARPS, 32): a warp has PARTS * 32 lanes that follow one another.  In
each step a prefix sum gives each lane that needs a word its own.  TRITON_INTERPRET=1 runs the
kernels on CPU tensors.

A step takes as long as its loads that wait for one another, so that it loads what later steps need
before it waits; with many lanes, as long as its instructions.  rows: (R, 9, 8) int32, the
cumulative frequencies of a row at every eighth column, then at columns 1 .. 64 (`search_rows`): a
symbol is found by two loads, one after the other, of 32 bytes each.  Lanes that are not there have
the state 0 and code under rows of others.
"""

import numpy as np
import triton
import triton.language as tl

from bitsback.ans import row_table

QUARTERS = tl.constexpr(18)  # of a row: 4 cumulative frequencies each
LAST = tl.constexpr(row_table.COLUMNS - 1)
CENTRE = tl.constexpr(row_table.CENTRE)
FLOOR = tl.constexpr(2**31)
DRY = tl.constexpr(-(2**40))
# Parameters, by name: no kernel is compiled anew for other sizes, or for arrays at odd addresses.
LANES_WORDS = ["state", "words", "count"]
ROWS = ["rows", "mean32", "scale", "values"]
WARPS = 32  # of a program at most


def warps(width: int) -> int:
    """Warps of a program that pops, which has room for `width` lanes."""
    return min(WARPS, width // 32)


def search_rows(edges: np.ndarray) -> np.ndarray:
    """RowTable.edges as `rows`, flat."""
    edges = edges.reshape(-1, row_table.COLUMNS + 1)
    return np.concatenate([edges[:, 8::8], edges[:, 1:]], 1).ravel()


@triton.jit
def opened(state, count, lanes, LANES: tl.constexpr, WARPS: tl.constexpr):
    """(numbers of lanes, which are there, their states, words on the stack)."""
    PARTS: tl.constexpr = LANES // (32 * WARPS)
    i = tl.arange(0, LANES)
    lane = (i // 32 % WARPS * PARTS + i // (32 * WARPS)) * 32 + i % 32
    here = lane < lanes
    return lane, here, tl.load(state + lane, mask=here, other=0), tl.load(count)


@triton.jit
def closed(state, count, lane, here, s, p, dry):
    """The mirror of opened; the count is DRY where `dry` is true."""
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(dry, DRY, p))


@triton.jit
def _ones(bits):
    """How many bits of uint32 are 1: the compiler knows these steps as one instruction."""
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    return ((((bits + (bits >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def _counted(need, far, FAR: tl.constexpr, WARPS: tl.constexpr):
    """(for each lane those up to it where `need` is true, all of those, number of `far` if FAR).

    A sum of powers of two has the lanes of a warp as the bits of one number.  All then wait for one
    exchange among the warps.
    """
    PARTS: tl.constexpr = need.shape[0] // (32 * WARPS)
    COPIES: tl.constexpr = 32 // WARPS
    thread = tl.arange(0, 32)[None, None, :].to(tl.uint32)
    need = tl.reshape(need.to(tl.uint32), (PARTS, WARPS, 32))
    bits = tl.sum(need << thread, 2)[:, :, None]
    found = _ones(bits & (0xFFFFFFFF >> (31 - thread)))
    number = _ones(bits)
    own = tl.max(tl.sum(number, 0), 1)  # of a warp
    if PARTS > 1:
        number += found * 0  # for each thread: none waits for another
        found += tl.cumsum(number, 0) - number
    if FAR:
        far = tl.reshape(far.to(tl.int32), (PARTS, WARPS, 32))
        own += tl.sum(tl.sum(far, 0), 1) << 16  # both in one
    each = tl.reshape(tl.broadcast_to(own[None, :], (COPIES, WARPS)), (1, 32))
    k = tl.arange(0, 32)[None, :]
    earlier = tl.sum(tl.where(k < tl.arange(0, WARPS)[:, None], each, 0), 1) & 0xFFFF
    sums = tl.sum(tl.sum(tl.where(k < WARPS, each, 0), 1), 0)
    found = tl.reshape(found + earlier[None, :, None], (PARTS * WARPS * 32,))
    return found, sums & 0xFFFF, sums >> 16


@triton.jit
def take(s, ok, below, frequency, words, p, far, FAR: tl.constexpr, WARPS: tl.constexpr):
    """(states, words left, number of `far` if FAR): lanes where `ok` is true pop a known symbol.

    below: how many slots of the symbol are below that of the lane.
    """
    # Neither is negative, which makes the product cheaper.
    below, frequency = below.to(tl.uint32).to(tl.int64), frequency.to(tl.uint32).to(tl.int64)
    t = frequency * (s >> 24) + below
    need = ok & (t < FLOOR)
    found, taken, fars = _counted(need, far, FAR, WARPS)
    place = p - found
    word = tl.load(words + place, mask=need & (place >= 0), other=0)
    t = tl.where(need, (t << 32) | word, t)
    return tl.where(ok, t, s), p - taken, fars


@triton.jit
def take_escapes(s, far, value, words, p, WARPS: tl.constexpr):
    """(states, values, words left): lanes where `far` is true pop the 16 bits of their value."""
    low = s.to(tl.int32)
    value = tl.where(far, ((low >> 8) & 0xFFFF) - 32768, value)
    s, p, none = take(s, far, low & 0xFF, low * 0 + 256, words, p, far, False, WARPS)
    return s, value, p


@triton.jit
def _eight(slot, low, high, e1, e2, e3, e4, e5, e6, e7):
    """(how many of e1 .. e7 are <= slot, the last of them or `low`, the next one or `high`)."""
    upper = e4 <= slot
    low, high = tl.where(upper, e4, low), tl.where(upper, high, e4)
    e1, e2, e3 = tl.where(upper, e5, e1), tl.where(upper, e6, e2), tl.where(upper, e7, e3)
    right = e2 <= slot
    low, high = tl.where(right, e2, low), tl.where(right, high, e2)
    e1 = tl.where(right, e3, e1)
    last = e1 <= slot
    low, high = tl.where(last, e1, low), tl.where(last, high, e1)
    number = tl.where(upper, 4, 0) + tl.where(right, 2, 0) + tl.where(last, 1, 0)
    return number, low, high


@triton.jit
def _quarter(rows, i):
    """Four cumulative frequencies in a load of 16 bytes, as two int64."""
    two = tl.multiple_of(rows + (i * 2)[:, None] + tl.arange(0, 2)[None, :], (8, 16))
    return tl.split(tl.load(two))


@triton.jit
def _find(rows, first, slot, a, b, c, d):
    """(column, start, end) of slots; first: of a row's quarters; a .. d: its first two."""
    zero = slot * 0
    coarse, start, end = _eight(
        slot, zero, zero,
        a.to(tl.int32), (a >> 32).to(tl.int32), b.to(tl.int32), (b >> 32).to(tl.int32),
        c.to(tl.int32), (c >> 32).to(tl.int32), d.to(tl.int32),
    )  # fmt: skip
    fine = first + 2 + coarse * 2
    a, b = _quarter(rows, fine)
    c, d = _quarter(rows, fine + 1)
    number, start, end = _eight(
        slot, start, (d >> 32).to(tl.int32),
        a.to(tl.int32), (a >> 32).to(tl.int32), b.to(tl.int32), (b >> 32).to(tl.int32),
        c.to(tl.int32), (c >> 32).to(tl.int32), d.to(tl.int32),
    )  # fmt: skip
    return coarse * 8 + number, start, end


@triton.jit
def _ahead(words, p, LANES: tl.constexpr, WARPS: tl.constexpr):
    """Has half a word a lane brought near, a sector of 32 bytes for each thread; returns zeros."""
    i = tl.arange(0, 32 * WARPS)
    back = 4 * i + 1
    word = tl.load(words + p - back, mask=(i < LANES // 8) & (back <= p), other=0)
    return (word >> 32).to(tl.int32)


@triton.jit
def _row(mean32, scale, j, n, many):
    """(mean, row) of values j, or of the last one."""
    j = tl.minimum(j, n - 1)
    return tl.load(mean32 + j), tl.load(scale + j * many)


@triton.jit
def _coarse(rows, mean, row):
    """(first of a row's quarters, its first two)."""
    first = (row * 32 + (mean & 31)) * QUARTERS
    a, b = _quarter(rows, first)
    c, d = _quarter(rows, first + 1)
    return first, a, b, c, d


@triton.jit(do_not_specialize=[*LANES_WORDS, *ROWS, "n", "lanes", "many"])
def pop_gaussian(
    state, words, count, rows, mean32, scale, values, n, lanes, many,
    ESCAPES: tl.constexpr, LANES: tl.constexpr, WARPS: tl.constexpr,
):  # fmt: skip
    """values (n,) int32 under rows of the table, as int64; many: whether scale has n elements."""
    HOLD: tl.constexpr = LANES < 2048  # else registers are few, and other lanes hide the wait
    lane, here, s, p = opened(state, count, lanes, LANES, WARPS)
    begin = n * 0
    mean, row = _row(mean32, scale, lane, n, many)
    if HOLD:
        # Of the next step: where its rows begin.  Of the one after it: its rows.
        first, a, b, c, d = _coarse(rows, mean, row)
        floor = mean >> 5
        mean, row = _row(mean32, scale, lane + lanes, n, many)
    near = _ahead(words, p, LANES, WARPS)
    unused = near
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        first_1, a_1, b_1, c_1, d_1 = _coarse(rows, mean, row)
        floor_1 = mean >> 5
        mean, row = _row(mean32, scale, j + (1 + HOLD) * lanes, n, many)
        if HOLD:
            # Else the compiler has the loads above wait for those below.  It is no barrier more:
            # without it the exchange among warps would need one before the next exchange.
            tl.debug_barrier()
        else:
            first, floor, a, b, c, d = first_1, floor_1, a_1, b_1, c_1, d_1
        slot = s.to(tl.int32) & 0xFFFFFF
        column, start, end = _find(rows, first, slot, a, b, c, d)
        value = column + floor - CENTRE
        far = ok & ((column == 0) | (column == LAST))
        below, frequency = slot - start, end - start
        s, p, escaped = take(s, ok, below, frequency, words, p, far, ESCAPES, WARPS)
        if ESCAPES:
            if escaped > 0:
                s, value, p = take_escapes(s, far, value, words, p, WARPS)
        unused |= near
        near = _ahead(words, p, LANES, WARPS)
        tl.store(values + j, value, mask=ok)
        if HOLD:
            first, floor, a, b, c, d = first_1, floor_1, a_1, b_1, c_1, d_1
        begin += lanes
    # `unused` is 0: the words that were brought near are for something
    closed(state, count, lane, here, s, p, (p < 0) | (tl.max(unused, 0) != 0))
