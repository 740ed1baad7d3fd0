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
# Parameters, by name: no kernel is compiled anew for other sizes, or for arrays at odd addresses.
LANES_WORDS = ["state", "words", "count"]
ROWS = ["edges", "mean32", "scale", "values"]
SYMBOLS_OF = ["first", "ends", "values"]


@triton.jit
def _take(s, ok, slot, start, frequency, words, p, far):
    """(states, words left, number of `far`): lanes where `ok` is true pop a known symbol."""
    t = frequency * (s >> 24) + slot - start
    need = ok & (t < FLOOR)
    place = p - tl.cumsum(need.to(tl.int32), 0)
    word = tl.load(words + place, mask=need & (place >= 0), other=0)
    t = tl.where(need, (t << 32) | word, t)
    sums = tl.sum(need.to(tl.int32) + (far.to(tl.int32) << 16), 0)  # both in one
    return tl.where(ok, t, s), p - (sums & 0xFFFF), sums >> 16


@triton.jit
def _give(s, ok, start, frequency, words, p, room):
    """The mirror of _take: the lanes where `ok` is true push a symbol."""
    over = ok & ((s >> 39) >= frequency)
    given = tl.sum(over.to(tl.int32), 0)
    place = p + given - tl.cumsum(over.to(tl.int32), 0)
    tl.store(words + place, s & 0xFFFFFFFF, mask=over & (place >= 0) & (place < room))
    t = tl.where(over, s >> 32, s)
    f = tl.where(ok, frequency, 1)
    quotient = t // f
    t = (quotient << 24) + (t - quotient * f) + start
    return tl.where(ok, t, s), p + given


@triton.jit
def _ahead(i, edges, slot, ok, step: tl.constexpr):
    """i + the number of those of the 7 cumulative frequencies after i, `step` apart, <= slot."""
    passed = i * 0
    for k in tl.static_range(1, 8):
        edge = tl.load(edges + i + k * step, mask=ok, other=0)
        passed += (edge <= slot).to(tl.int32)
    return i + passed * step


@triton.jit(do_not_specialize=[*LANES_WORDS, *ROWS, "n", "lanes", "many"])
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
    mean = tl.load(mean32 + lane, mask=here & (lane < n), other=0)
    rows = tl.load(scale + lane * many, mask=here & (lane < n), other=0)
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        row = rows * 32 + (mean & 31)
        floor = mean >> 5
        ahead = j + lanes  # loads of the next step do not wait for this one
        mean = tl.load(mean32 + ahead, mask=here & (ahead < n), other=0)
        rows = tl.load(scale + ahead * many, mask=here & (ahead < n), other=0)
        slot = s & 0xFFFFFF
        first = row * EDGES
        # loads of one line do not wait for one another, as those of a binary search would
        i = _ahead(first, edges, slot.to(tl.int32), ok, 8)
        i = _ahead(i, edges, slot.to(tl.int32), ok, 1)
        start = tl.load(edges + i, mask=ok, other=0).to(tl.int64)
        frequency = tl.load(edges + i + 1, mask=ok, other=1).to(tl.int64) - start
        column = i - first
        value = column + floor - CENTRE
        far = ok & ((column == 0) | (column == LAST))
        if not ESCAPES:
            far = far & (column < 0)  # none
        s, p, escaped = _take(s, ok, slot, start, frequency, words, p, far)
        if escaped > 0:
            number = (s >> 8) & 0xFFFF
            value = tl.where(far, (number - 32768).to(tl.int32), value)
            s, p, escaped = _take(s, far, s & 0xFFFFFF, number << 8, 256, words, p, far)
        tl.store(values + j, value, mask=ok)
        begin += lanes
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(p < 0, p * 0 - 1099511627776, p))


@triton.jit
def _row(edges, mean, value, scale, ok):
    """(start, frequency, 1 for an end column or 0) of values under rows of the table."""
    column = value - (mean >> 5) + CENTRE
    column = tl.minimum(tl.maximum(column, 0), LAST)
    i = (scale * 32 + (mean & 31)) * EDGES + column
    start = tl.load(edges + i, mask=ok, other=0).to(tl.int64)
    frequency = tl.load(edges + i + 1, mask=ok, other=1).to(tl.int64) - start
    far = ok & ((column == 0) | (column == LAST))
    return start, frequency, far.to(tl.int32)


@triton.jit(do_not_specialize=[*LANES_WORDS, *ROWS, "n", "lanes", "many", "room"])
def push_gaussian(
    state, words, count, edges, mean32, scale, values, n, lanes, many, room,
    ESCAPES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The mirror of pop_gaussian; a value without frequency makes the count -2^40.

    So does a word more than the `room` of words.
    """
    lane = tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    p = tl.load(count)
    begin = (n - 1) // lanes * lanes
    impossible = lane * 0
    # The row of the next step, and the values of the one after it, are loaded ahead: no step
    # waits for memory.
    j = begin + lane
    ok = here & (j < n)
    mean = tl.load(mean32 + j, mask=ok, other=0)
    value = tl.load(values + j, mask=ok, other=0)
    rows = tl.load(scale + j * many, mask=ok, other=0)
    start, frequency, far = _row(edges, mean, value, rows, ok)
    ok_1 = here & (j >= lanes)
    mean = tl.load(mean32 + j - lanes, mask=ok_1, other=0)
    value_1 = tl.load(values + j - lanes, mask=ok_1, other=0)
    rows = tl.load(scale + (j - lanes) * many, mask=ok_1, other=0)
    while begin >= 0:
        ok = here & (begin + lane < n)
        start_1, frequency_1, far_1 = _row(
            edges, mean, value_1, rows, here & (begin + lane >= lanes)
        )
        j = begin + lane - 2 * lanes
        ok_2 = here & (j >= 0)
        mean = tl.load(mean32 + j, mask=ok_2, other=0)
        value_2 = tl.load(values + j, mask=ok_2, other=0)
        rows = tl.load(scale + j * many, mask=ok_2, other=0)
        if ESCAPES:
            if tl.sum(far, 0) > 0:
                number = (value + 32768).to(tl.int64) & 0xFFFF
                which = far > 0
                s, p = _give(
                    s, which, number << 8, tl.full((LANES,), 256, tl.int64), words, p, room
                )
        impossible += (ok & (frequency == 0)).to(tl.int32)
        s, p = _give(s, ok, start, tl.where(frequency == 0, 1, frequency), words, p, room)
        start, frequency, far, value = start_1, frequency_1, far_1, value_1
        value_1 = value_2
        begin -= lanes
    p = tl.where((tl.sum(impossible, 0) > 0) | (p >= room), p * 0 - 1099511627776, p)
    tl.store(state + lane, s, mask=here)
    tl.store(count, p)


@triton.jit(do_not_specialize=[*LANES_WORDS, *SYMBOLS_OF, "n", "lanes"])
def pop_each(
    state, words, count, first, ends, values, n, lanes,
    SYMBOLS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """values (n,) int32, each under ends (SYMBOLS, n) int32, see lanes_torch.

    first: (n,) int32, the value of symbol 0; the last symbol is the escape.
    """
    lane = tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    p = tl.load(count)
    begin = n * 0
    while begin < n:
        j = begin + lane
        ok = here & (j < n)
        value = tl.load(first + j, mask=ok, other=0)
        slot = s & 0xFFFFFF
        symbol = j * 0
        start = j * 0
        end = j * 0 + 16777216
        for k in tl.static_range(SYMBOLS - 1):
            edge = tl.load(ends + k * n + j, mask=ok, other=16777216)
            below = edge <= slot.to(tl.int32)
            symbol += below.to(tl.int32)
            start = tl.where(below, tl.maximum(start, edge), start)
            end = tl.where(below, end, tl.minimum(end, edge))
        start = start.to(tl.int64)
        value += symbol
        far = ok & (symbol == SYMBOLS - 1)
        s, p, escaped = _take(s, ok, slot, start, end.to(tl.int64) - start, words, p, far)
        if escaped > 0:
            number = (s >> 8) & 0xFFFF
            value = tl.where(far, (number - 32768).to(tl.int32), value)
            s, p, escaped = _take(s, far, s & 0xFFFFFF, number << 8, 256, words, p, far)
        tl.store(values + j, value, mask=ok)
        begin += lanes
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(p < 0, p * 0 - 1099511627776, p))


@triton.jit(do_not_specialize=[*LANES_WORDS, *SYMBOLS_OF, "n", "lanes", "room"])
def push_each(
    state, words, count, first, ends, values, n, lanes, room,
    SYMBOLS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The mirror of pop_each."""
    lane = tl.arange(0, LANES)
    here = lane < lanes
    s = tl.load(state + lane, mask=here, other=0)
    p = tl.load(count)
    begin = (n - 1) // lanes * lanes
    while begin >= 0:
        j = begin + lane
        ok = here & (j < n)
        value = tl.load(values + j, mask=ok, other=0)
        symbol = value - tl.load(first + j, mask=ok, other=0)
        far = ok & ((symbol < 0) | (symbol >= SYMBOLS - 1))
        symbol = tl.where(far, SYMBOLS - 1, symbol)
        end = tl.load(ends + symbol * n + j, mask=ok, other=1).to(tl.int64)
        start = tl.load(ends + (symbol - 1) * n + j, mask=ok & (symbol > 0), other=0)
        start = start.to(tl.int64)
        if tl.sum(far.to(tl.int32), 0) > 0:
            number = (value + 32768).to(tl.int64) & 0xFFFF
            s, p = _give(s, far, number << 8, tl.full((LANES,), 256, tl.int64), words, p, room)
        s, p = _give(s, ok, start, end - start, words, p, room)
        begin -= lanes
    tl.store(state + lane, s, mask=here)
    tl.store(count, tl.where(p >= room, p * 0 - 1099511627776, p))
