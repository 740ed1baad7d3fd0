"""Kernels of lanes whose values have frequencies of their own, as lanes_triton.py.

ends: (SYMBOLS, n) int32, the cumulative frequencies of each value, the last 2^24; first: (n,)
int32, the value of symbol 0; the last symbol is the escape.
"""

import triton
import triton.language as tl

from bitsback.ans.lanes_push_triton import inverse, push_opened, push_step
from bitsback.ans.lanes_triton import LANES_WORDS, closed, opened, take, take_escapes

SYMBOLS_OF = ["first", "ends", "values"]


@triton.jit(do_not_specialize=[*LANES_WORDS, *SYMBOLS_OF, "n", "lanes"])
def pop_each(
    state, words, count, first, ends, values, n, lanes,
    SYMBOLS: tl.constexpr, LANES: tl.constexpr, WARPS: tl.constexpr,
):  # fmt: skip
    """values (n,) int32, each under its own frequencies."""
    lane, here, s, p = opened(state, count, lanes, LANES, WARPS)
    begin = n * 0
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        value = tl.load(first + j, mask=ok, other=0)
        slot = s.to(tl.int32) & 0xFFFFFF
        symbol = j * 0
        start = j * 0
        end = j * 0 + 16777216
        for k in tl.static_range(SYMBOLS - 1):
            edge = tl.load(ends + k * n + j, mask=ok, other=16777216)
            below = edge <= slot
            symbol += below.to(tl.int32)
            start = tl.where(below, tl.maximum(start, edge), start)
            end = tl.where(below, end, tl.minimum(end, edge))
        value += symbol
        far = ok & (symbol == SYMBOLS - 1)
        s, p, escaped = take(s, ok, slot - start, end - start, words, p, far, True, WARPS)
        if escaped > 0:
            s, value, p = take_escapes(s, far, value, words, p, WARPS)
        tl.store(values + j, value, mask=ok)
        begin += lanes
    closed(state, count, lane, here, s, p, p < 0)


@triton.jit
def _symbols(first, ends, values, j, ok, n, SYMBOLS: tl.constexpr):
    """(value, start, frequency, 1 / frequency, 1 for the escape or 0) of values j.

    1 / frequency is 1 where there is no frequency.
    """
    value = tl.load(values + j, mask=ok, other=0)
    symbol = value - tl.load(first + j, mask=ok, other=0)
    far = ok & ((symbol < 0) | (symbol >= SYMBOLS - 1))
    symbol = tl.where(far, SYMBOLS - 1, symbol)
    end = tl.load(ends + symbol * n + j, mask=ok, other=1)
    start = tl.load(ends + (symbol - 1) * n + j, mask=ok & (symbol > 0), other=0)
    return value, start, end - start, inverse(tl.maximum(end - start, 1)), far.to(tl.int32)


@triton.jit(do_not_specialize=["state", "given", "at", *SYMBOLS_OF, "n", "lanes"])
def push_each(
    state, given, at, first, ends, values, n, lanes,
    SYMBOLS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The mirror of pop_each, given as in push_gaussian."""
    lane, here, s, begin = push_opened(state, n, lanes, LANES)
    j = begin + lane
    ok = here & (j < n)
    value, start, frequency, near, far = _symbols(first, ends, values, j, ok, n, SYMBOLS)
    while begin >= 0:
        j = begin + lane
        ok = here & (j < n)
        value_1, start_1, frequency_1, near_1, far_1 = _symbols(
            first, ends, values, j - lanes, here & (j >= lanes), n, SYMBOLS
        )
        place = given + at + begin * 2 + lane
        s = push_step(s, ok, here, far, value, start, frequency, near, place, lanes, True)
        value, start, frequency, near, far = value_1, start_1, frequency_1, near_1, far_1
        begin -= lanes
    tl.store(state + lane, s, mask=here)
