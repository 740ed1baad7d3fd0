"""Triton kernels of the distributions of a step for a decoder, colour by colour.

Arrays are those of distribution_triton.py.
"""

import triton
import triton.language as tl

from bitsback.coder.distribution_triton import (
    ALL,
    COEFFICIENT,
    COEFFICIENT_BITS,
    COEFFICIENT_HALF,
    INVERSE,
    KEY,
    MEAN,
    MEAN32,
    MEAN_0,
    ROW,
    begun,
    coefficient,
    difference,
    innovation,
    number,
    rounded,
    whole_row,
)
from bitsback.coder.sample_triton import byte, place_of


@triton.jit(do_not_specialize=ALL)
def prepare(
    y, trunk, head, scales, gains, shifts, inverses, mask, sums, prepared, coded,
    from_y, from_f, base, t_image, t_channel, t_row, t_column, h_image, h_channel, h_row, h_column,
    length, first_0, first_1, first_2, height, width, y_image, y_channel, y_row,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride,
    headed, keyed, masked, whole_begin, whole_first, whole_shift,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """For a decoder, what does not depend on values of the pass; mean32, rows and keys of G."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = place_of(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    t = trunk + image * t_image + row * t_row + column * t_column
    h = head + image * h_image + (row >> 1) * h_row + (column >> 1) * h_column
    ys = y + image * y_image + row * y_row + column
    s = (image * CHANNELS * height + row) * width + column
    for channel in tl.static_range(CHANNELS):
        above, mean_0, inverse, mean, v, scale = begun(
            ys + channel * y_channel, t, h, ok, from_y, from_f, base, scales, shifts, inverses,
            t_channel, h_channel, headed, channel if CHANNELS == 3 else 1,
        )  # fmt: skip
        to = prepared + channel * total + i
        tl.store(to + MEAN_0 * 3 * total, mean_0, mask=ok)
        tl.store(to + INVERSE * 3 * total, inverse, mask=ok)
        tl.store(to + MEAN * 3 * total, mean, mask=ok)
        rank, free = number(
            i, ok, s + channel * height * width, mask, sums + channel * total, masked
        )
        first = first_1 if channel == 1 else (first_0 if channel == 0 else first_2)
        there = coded + rank + first
        if channel == CHANNELS // 3:  # G, or gray
            scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
            tl.store(there + MEAN32 * length, rounded(mean, 1, 1), mask=free)
            if keyed != 0:
                tl.store(there + KEY * length, mean * 0, mask=free)
        tl.store(there + ROW * length, scale, mask=free)
        if CHANNELS == 3:
            factors = prepared + COEFFICIENT * 3 * total + i
            gain = tl.load(gains + v)  # of R for the third coefficient, of G for the others
            if channel == 0:
                factor = coefficient(t, h, ok, gain, t_channel, h_channel, headed, 2)
                tl.store(factors + 2 * total, factor, mask=ok)
            if channel == 1:
                factor = coefficient(t, h, ok, gain, t_channel, h_channel, headed, 0)
                tl.store(factors, factor, mask=ok)
                factor = coefficient(t, h, ok, gain, t_channel, h_channel, headed, 1)
                tl.store(factors + total, factor, mask=ok)


@triton.jit
def _taken(given, values, rank, free, ok):
    """A coded value from where it was popped to, a fixed one from the level's array."""
    fixed = tl.load(values, mask=ok & (free == 0), other=0)
    value = tl.where(free, tl.load(given + rank, mask=free, other=0), fixed)
    tl.store(values, value, mask=free)
    return value


@triton.jit(do_not_specialize=ALL)
def next_means(
    given, y, values, mask, sums, prepared, coded,
    length, before, first, height, width, y_image, y_channel, y_row, v_image, v_channel, v_row,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride,
    keyed, masked, whole_begin, whole_first, whole_shift,
    COLOUR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """mean32, rows and keys of R, given the values of G, or of B, given those of G and R.

    given: (m,) int32, the coded values of the colour before, which go into `values`; before: what
    sums count before them; first: as first_k, of COLOUR.
    """
    LATEST: tl.constexpr = 1 if COLOUR == 0 else 0
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = place_of(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    s = (image * 3 * height + row) * width + column
    plane = height * width
    vs = values + image * v_image + row * v_row + column
    rank, free = number(i, ok, s + LATEST * plane, mask, sums + LATEST * total, masked)
    value = _taken(given, vs + LATEST * v_channel, rank - before, free, ok)
    green = value
    if COLOUR == 2:
        green = tl.load(vs + v_channel, mask=ok, other=0)
    means = prepared + MEAN * 3 * total + i
    factors = prepared + COEFFICIENT * 3 * total + i
    d = difference(green, tl.load(means + total, mask=ok, other=0))
    moved = d * tl.load(factors + COLOUR // 2 * total, mask=ok, other=0)
    key = byte(green)
    if COLOUR == 2:
        d = difference(value, tl.load(means, mask=ok, other=0))
        moved += d * tl.load(factors + 2 * total, mask=ok, other=0)
        key = key << 8 | byte(value)
    mean = tl.load(means + COLOUR * total, mask=ok, other=0)
    mean += rounded(moved, COEFFICIENT_HALF, COEFFICIENT_BITS)
    tl.store(means + COLOUR * total, mean, mask=ok)
    rank, free = number(i, ok, s + COLOUR * plane, mask, sums + COLOUR * total, masked)
    there = coded + rank + first
    tl.store(there + MEAN32 * length, rounded(mean, 1, 1), mask=free)
    if whole_begin > 0:
        ys = y + image * y_image + COLOUR * y_channel + row * y_row + column
        scale = tl.load(there + ROW * length, mask=free, other=0)
        above = tl.load(ys, mask=free, other=0)
        scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
        tl.store(there + ROW * length, scale, mask=free)
    if keyed != 0:
        tl.store(there + KEY * length, key << 8, mask=free)


@triton.jit(do_not_specialize=ALL)
def finish(
    given, values, mask, sums, prepared, innovations,
    rows, columns, before, height, width, v_image, v_channel, v_row,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride,
    masked, later, CHANNELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes the last channel's values, and if a pass is coded later the innovations of all.

    innovations: (B, rows, columns, 16) int8.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = place_of(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    LAST_ONE: tl.constexpr = CHANNELS - 1
    s = ((image * CHANNELS + LAST_ONE) * height + row) * width + column
    vs = values + image * v_image + row * v_row + column
    rank, free = number(i, ok, s, mask, sums + LAST_ONE * total, masked)
    value = _taken(given, vs + LAST_ONE * v_channel, rank - before, free, ok)
    if later != 0:
        out = innovations + ((image * rows + (row >> 1)) * columns + (column >> 1)) * 16
        out += (row & 1) * 2 + (column & 1)
        for k in tl.static_range(3):
            channel = k * (CHANNELS // 3)
            here = value
            if k != 2 and CHANNELS == 3:
                here = tl.load(vs + channel * v_channel, mask=ok, other=0)
            mean_0 = tl.load(prepared + (MEAN_0 * 3 + channel) * total + i, mask=ok, other=0)
            inverse = tl.load(prepared + (INVERSE * 3 + channel) * total + i, mask=ok, other=0)
            tl.store(out + 4 * k, innovation(here, mean_0, inverse, REACH), mask=ok)
