"""Triton kernels of samples in C order: a level's array and its context, coded values alone.

whole: (B, C, full_height, full_width) int32, contiguous: a segment (B, C, height, width) with its
context below and to the right.  mask: (B C H W) uint8, 1 where a sample is coded; sums: int32, its
cumulative sum; neither is read unless MASKED.  TRITON_INTERPRET=1 runs the kernels on CPU tensors.
"""

import triton
import triton.language as tl

SIZES = "height width full_height full_width".split()
FREE = ["mask", "sums"]


@triton.jit
def _inside(s, height, width, full_height, full_width):
    """(plane, place in whole) of the s-th sample of a segment."""
    line = s // width
    plane = line // height
    row = line - plane * height
    return plane, (plane * full_height + row) * full_width + s - line * width


@triton.jit
def _rank(s, ok, mask, sums, MASKED: tl.constexpr):
    """(number of a sample among those that are coded, whether it is)."""
    if MASKED:
        rank = tl.load(sums + s, mask=ok, other=0) - 1
        return rank, ok & (tl.load(mask + s, mask=ok, other=0) != 0)
    return s, ok


@triton.jit(do_not_specialize=["whole", "coded", "known", "right", "fixed", "n", *SIZES, *FREE])
def settle(
    whole, coded, known, mask, sums, n, height, width, full_height, full_width, right, fixed,
    CODED: tl.constexpr, MASKED: tl.constexpr, CONTEXT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes samples of whole, of n: coded ones if CODED, fixed ones if MASKED, and the CONTEXT.

    known: those below (B, C, h, full_width), from `right` on to the right (B, C, height, w), from
    `fixed` on the fixed ones in C order.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < n
    line = i // full_width
    column = i - line * full_width
    plane = line // full_height
    row = line - plane * full_height
    inside = ok & (row < height) & (column < width)
    s = (plane * height + row) * width + column
    rank, free = _rank(s, inside, mask, sums, MASKED)
    value = i * 0
    written = i < 0
    if CODED:
        value = tl.load(coded + rank, mask=free, other=0)
        written = free
    if MASKED:
        here = inside & (free == 0)
        value = tl.where(here, tl.load(known + fixed + s - rank - 1, mask=here, other=0), value)
        written = written | here
    if CONTEXT:
        across = full_width - width
        below = (plane * (full_height - height) + row - height) * full_width + column
        beside = right + (plane * height + row) * across + column - width
        outside = ok & (inside == 0)
        there = tl.where(row < height, beside, below)
        value = tl.where(outside, tl.load(known + there, mask=outside, other=0), value)
        written = written | outside
    tl.store(whole + i, value, mask=written)


@triton.jit(do_not_specialize=["whole", "out", "n", *SIZES, *FREE])
def compact(
    whole, out, mask, sums, n, height, width, full_height, full_width,
    MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The coded ones of the n samples of a segment, in C order."""
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = s < n
    _, place = _inside(s, height, width, full_height, full_width)
    rank, free = _rank(s, ok, mask, sums, MASKED)
    tl.store(out + rank, tl.load(whole + place, mask=free, other=0), mask=free)


TOP = "means mean32 scale n plane channels mean_0 mean_1 mean_2 scale_0 scale_1 scale_2".split()


@triton.jit(do_not_specialize=[*TOP, *FREE])
def top_rows(
    means, mean32, scale, mask, sums, n, plane, channels,
    mean_0, mean_1, mean_2, scale_0, scale_1, scale_2,
    EACH: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """mean32 and scale of the coded samples: of their channel; mean32 from means (n,) if EACH."""
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = s < n
    channel = s // plane % channels
    rank, free = _rank(s, ok, mask, sums, MASKED)
    if EACH:
        mean = tl.load(means + s, mask=free, other=0)
    else:
        mean = tl.where(channel == 0, mean_0, tl.where(channel == 1, mean_1, mean_2))
    tl.store(mean32 + rank, mean, mask=free)
    row = tl.where(channel == 0, scale_0, tl.where(channel == 1, scale_1, scale_2))
    tl.store(scale + rank, row, mask=free)


@triton.jit
def byte(value):
    """Pixels - 128 -> 0..255; a value that is no pixel (a damaged file) counts as the nearest."""
    return tl.minimum(tl.maximum(value, -128), 127) + 128


@triton.jit(do_not_specialize=["whole", "out", "n", "fixed", *SIZES, *FREE])
def fixed_pixels(
    whole, out, mask, sums, n, height, width, full_height, full_width, fixed,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keys of colour counts, and values, of the samples that are not coded, in C order.

    out: (2, fixed) int32; n: samples of the segment, `fixed` of them are not coded.
    """
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = s < n
    plane, place = _inside(s, height, width, full_height, full_width)
    rank, free = _rank(s, ok, mask, sums, True)
    here = ok & (free == 0)
    key = s * 0
    if CHANNELS == 3:
        channel = plane % 3
        red = place - channel * full_height * full_width
        green = red + full_height * full_width
        first = byte(tl.load(whole + green, mask=here & (channel != 1), other=0))
        second = byte(tl.load(whole + red, mask=here & (channel == 2), other=0))
        key = tl.where(channel == 2, first << 8 | second, first) << 8
        key = tl.where(channel == 1, 0, key)
    there = out + s - rank - 1
    tl.store(there, key, mask=here)
    tl.store(there + fixed, tl.load(whole + place, mask=here, other=0), mask=here)


PASS = "total n part columns_0 columns_1 row_0 column_0 row_1 column_1 stride".split()


@triton.jit
def place_of(i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride):
    """(image, row, column) of the i-th place of a pass: of n of an image `part` lie on grid 0."""
    image = i // n
    rest = i - image * n
    second = rest >= part
    rest = tl.where(second, rest - part, rest)
    columns = tl.where(second, columns_1, columns_0)
    line = rest // columns
    row = tl.where(second, row_1, row_0) + line * stride
    column = tl.where(second, column_1, column_0) + (rest - line * columns) * stride
    return image, row, column


@triton.jit(do_not_specialize=["mask", "out", "height", "width", *PASS])
def ordered_mask(
    mask, out, height, width,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The mask in the coding order of a pass: (CHANNELS, total) uint8."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = place_of(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    for channel in tl.static_range(CHANNELS):
        here = ((image * CHANNELS + channel) * height + row) * width + column
        tl.store(out + channel * total + i, tl.load(mask + here, mask=ok, other=0), mask=ok)
