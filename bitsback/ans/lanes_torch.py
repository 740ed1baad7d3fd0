"""Lanes in torch operations, on any device: the loops of lanes_numpy.py on tensors.

No function waits for the device.  state: (L,) int64; words: (n,) int64, of which the last is spare;
count: () int64, words on the stack, DRY_COUNT or less once a pop found none: it stays so whatever
follows, and the caller looks at it where it waits anyway.  state and words change in place, the new
count is returned.  A push of a value without frequency leaves the lanes dry, too, and so does one
of more words than there is room for.
"""

import torch
from torch import Tensor

from bitsback.ans.lanes_numpy import (
    CENTRE,
    EDGES,
    ESCAPE_BITS,
    FLOOR,
    LAST,
    SEARCH,
    SLOT_BITS,
    SLOTS,
    steps,
)

DRY_COUNT = -(2**40)  # far below 0: no pushes make up for it
HALF = 2 ** (ESCAPE_BITS - 1)
ESCAPE_SHIFT = SLOT_BITS - ESCAPE_BITS


def _give(
    state: Tensor, words: Tensor, count: Tensor, which: Tensor, starts: Tensor, frequencies: Tensor
) -> Tensor:
    """Pushes a symbol on each lane where `which` (m,) bool is true, of the first m lanes."""
    s = state[: len(which)]
    over = which & (s >> 39 >= frequencies)
    rank = torch.cumsum(over, 0)
    given = rank[-1]
    place = torch.where(over, count + given - rank, len(words) - 1)
    words.scatter_(0, place.clamp_(0, len(words) - 1), s & 0xFFFFFFFF)
    low = torch.where(over, s >> 32, s)
    quotient = torch.div(low, frequencies, rounding_mode="floor")
    pushed = (quotient << SLOT_BITS) + (low - quotient * frequencies) + starts
    state[: len(which)] = torch.where(which, pushed, s)
    return count + given


def _take(
    state: Tensor, words: Tensor, count: Tensor, which: Tensor, starts: Tensor, frequencies: Tensor
) -> Tensor:
    """The mirror of _give: the symbols are known, the states move on."""
    s = state[: len(which)]
    popped = frequencies * (s >> SLOT_BITS) + (s & SLOTS) - starts
    need = which & (popped < FLOOR)
    rank = torch.cumsum(need, 0)
    word = words[(count - rank).clamp_(0, len(words) - 1)]
    popped = torch.where(need, popped << 32 | word, popped)
    state[: len(which)] = torch.where(which, popped, s)
    count = count - rank[-1]
    return torch.where(count < 0, DRY_COUNT, count)


def push_gaussian(
    state: Tensor,
    words: Tensor,
    count: Tensor,
    edges: Tensor,
    values: Tensor,
    mean32: Tensor,
    scale: Tensor,
    escapes: bool,
) -> Tensor:
    """As lanes_numpy.push_gaussian; edges, values, mean32, scale: int32."""
    whole = values - (mean32 >> 5) + CENTRE
    columns = whole.clamp(0, LAST)
    index = (scale * 32 + (mean32 & 31)) * EDGES + columns
    starts = edges[index].long()
    frequencies = edges[index + 1].long() - starts
    impossible = (frequencies == 0).any()
    frequencies = frequencies.clamp_min_(1)
    far = ((columns == 0) | (columns == LAST)) & escapes
    escaped = (values.long() + HALF & 2**ESCAPE_BITS - 1) << ESCAPE_SHIFT
    wide = torch.full_like(frequencies, 1 << ESCAPE_SHIFT)
    for begin in reversed(steps(len(values), len(state))):
        step = slice(begin, begin + len(state))
        if escapes:
            count = _give(state, words, count, far[step], escaped[step], wide[step])
        which = torch.ones_like(far[step])
        count = _give(state, words, count, which, starts[step], frequencies[step])
    return torch.where(impossible | (count >= len(words)), DRY_COUNT, count)


def pop_gaussian(
    state: Tensor,
    words: Tensor,
    count: Tensor,
    edges: Tensor,
    mean32: Tensor,
    scale: Tensor,
    escapes: bool,
    values: Tensor,
) -> Tensor:
    """The mirror of push_gaussian: writes values (n,) int32."""
    rows = ((scale * 32 + (mean32 & 31)) * EDGES).long()
    whole = (mean32 >> 5) - CENTRE
    for begin in steps(len(values), len(state)):
        step = slice(begin, begin + len(state))
        row = rows[step]
        slot, index = state[: len(row)] & SLOTS, row.clone()
        for width in SEARCH:
            index += (edges[index + width] <= slot) * width
        starts = edges[index].long()
        which = torch.ones(len(row), dtype=torch.bool, device=row.device)
        count = _take(state, words, count, which, starts, edges[index + 1].long() - starts)
        columns = index - row
        found = columns + whole[step]
        if escapes:
            far = (columns == 0) | (columns == LAST)
            number = (state[: len(row)] & SLOTS) >> ESCAPE_SHIFT
            wide = torch.full_like(number, 1 << ESCAPE_SHIFT)
            count = _take(state, words, count, far, number << ESCAPE_SHIFT, wide)
            found = torch.where(far, number - HALF, found)
        values[step] = found.to(torch.int32)
    return count


def push_each(
    state: Tensor, words: Tensor, count: Tensor, values: Tensor, first: Tensor, ends: Tensor
) -> Tensor:
    """As lanes_numpy.push_each; values, first: (n,) int32; ends: (K, n) int32.

    ends: cumulative frequencies of each value's symbols, the last 2^24.
    """
    escape = len(ends) - 1
    symbols = (values - first).long()
    far = (symbols < 0) | (symbols >= escape)
    symbols = torch.where(far, escape, symbols)[None]
    end = ends.gather(0, symbols)[0].long()
    starts = ends.gather(0, (symbols - 1).clamp_(min=0))[0].long().mul_(symbols[0] > 0)
    frequencies = end - starts
    impossible = (frequencies == 0).any()
    frequencies = frequencies.clamp_min_(1)
    escaped = (values.long() + HALF & 2**ESCAPE_BITS - 1) << ESCAPE_SHIFT
    wide = torch.full_like(frequencies, 1 << ESCAPE_SHIFT)
    for begin in reversed(steps(len(values), len(state))):
        step = slice(begin, begin + len(state))
        count = _give(state, words, count, far[step], escaped[step], wide[step])
        which = torch.ones_like(far[step])
        count = _give(state, words, count, which, starts[step], frequencies[step])
    return torch.where(impossible | (count >= len(words)), DRY_COUNT, count)


def pop_each(
    state: Tensor, words: Tensor, count: Tensor, first: Tensor, ends: Tensor, values: Tensor
) -> Tensor:
    """The mirror of push_each: writes values (n,) int32."""
    escape = len(ends) - 1
    for begin in steps(len(values), len(state)):
        step = slice(begin, begin + len(state))
        here = ends[:, step].long()
        slot = state[: here.shape[1]] & SLOTS
        symbols = (here <= slot).sum(0)
        starts = torch.where(here <= slot, here, 0).amax(0)
        which = torch.ones_like(symbols, dtype=torch.bool)
        frequencies = here.gather(0, symbols[None])[0] - starts
        count = _take(state, words, count, which, starts, frequencies)
        number = (state[: len(symbols)] & SLOTS) >> ESCAPE_SHIFT
        far = symbols == escape
        wide = torch.full_like(number, 1 << ESCAPE_SHIFT)
        count = _take(state, words, count, far, number << ESCAPE_SHIFT, wide)
        values[step] = torch.where(far, number - HALF, symbols + first[step]).to(torch.int32)
    return count
