"""Triton kernels of the distributions of a step, over the places of a pass in coding order.

The integers of distribution_arrays.py.  y, values: (B, C, height, width) int32, of rows as long as
they like; trunk, head: (B, 9, ..) int32 of any strides; prepared: (4, 3, total) int32, rows MEAN_0
.. COEFFICIENT; coded: (4, length) int32, rows MEAN32 .. KEY: of the coded values alone, those of
channel k from first_k on, less what sums (sample_triton.py) count before them.
TRITON_INTERPRET=1 runs the kernels on CPU tensors.
"""

import triton
import triton.language as tl

from bitsback.coder import distribution_arrays as reference
from bitsback.coder.sample_triton import PASS, byte, place_of
from bitsback.diffusion import steps, whole_pixels

MEAN_0, INVERSE, MEAN, COEFFICIENT = (tl.constexpr(row) for row in range(4))
MEAN32, ROW, VALUE, KEY = (tl.constexpr(row) for row in range(4))
SHIFTS = reference.MEAN_SHIFT, reference.COEFFICIENT_BITS, reference.INNOVATION_SHIFT
MEAN_SHIFT, COEFFICIENT_BITS, INNOVATION_BITS = (tl.constexpr(bits) for bits in SHIFTS)
MEAN_HALF, COEFFICIENT_HALF, INNOVATION_HALF = (tl.constexpr(2 ** (b - 1)) for b in SHIFTS)
FINE_BITS = tl.constexpr(steps.FINE_BITS)
FAR = tl.constexpr(reference.FAR)
LAST = tl.constexpr(steps.V_INDICES - 1)  # scale of v
LOW, FLOORS, SETS = (
    tl.constexpr(n) for n in (whole_pixels.LOW, whole_pixels.FLOORS, whole_pixels.SETS)
)

# Parameters, by name: no kernel is compiled anew for other sizes, or for arrays at odd addresses.
ARRAYS = "y trunk head scales gains shifts inverses prepared coded values innovations mask sums"
NETWORK = "from_y from_f base t_image t_channel t_row t_column h_image h_channel h_row h_column"
SIZES = "height width y_image y_channel y_row v_image v_channel v_row rows columns"
CODED = "given length before first first_0 first_1 first_2 headed keyed masked later"
WHOLE = "whole_begin whole_first whole_shift"
ALL = [*ARRAYS.split(), *NETWORK.split(), *SIZES.split(), *CODED.split(), *WHOLE.split(), *PASS]


@triton.jit
def rounded(value, half: tl.constexpr, bits: tl.constexpr):
    """floor(value / 2^bits + 1/2); half: 2^(bits - 1)."""
    return (value + half) >> bits


@triton.jit
def within(value, low: tl.constexpr, high: tl.constexpr):
    return tl.minimum(tl.maximum(value, low), high)


@triton.jit
def number(i, ok, s, mask, sums, masked):
    """(number, whether coded) of the i-th place; sums: of its colour; s: its place in the mask."""
    rank = i
    free = ok
    if masked != 0:
        free = ok & (tl.load(mask + s, mask=ok, other=0) != 0)
        rank = tl.load(sums + i, mask=ok, other=0) - 1
    return rank, free


@triton.jit
def begun(
    y, t, h, ok, from_y, from_f, base, scales, shifts, inverses, t_channel, h_channel,
    headed, COLOUR: tl.constexpr,
):  # fmt: skip
    """(y, mean before the head, inverse, mean, v, row of the table) of one colour."""
    value = tl.load(y, mask=ok, other=0)
    mean_0 = from_y * value + from_f * tl.load(t + COLOUR * t_channel, mask=ok, other=0)
    mean_0 = rounded(mean_0, MEAN_HALF, MEAN_SHIFT)
    v = within(base + tl.load(t + (3 + COLOUR) * t_channel, mask=ok, other=0), 0, LAST)
    inverse = tl.load(inverses + v)
    mean = mean_0
    if headed != 0:
        added = tl.load(shifts + v) * tl.load(h + COLOUR * h_channel, mask=ok, other=0)
        mean += rounded(added, MEAN_HALF, MEAN_SHIFT)
        v = within(v + tl.load(h + (3 + COLOUR) * h_channel, mask=ok, other=0), 0, LAST)
    return value, mean_0, inverse, mean, v, tl.load(scales + v)


@triton.jit
def whole_row(mean, scale, above, whole_begin, whole_first, whole_shift):
    """As WholeRows.scale; `scale` where there are no such rows, whole_begin 0."""
    floor = (rounded(mean, 1, 1) >> 5) - (above << whole_shift) - LOW
    more = scale - whole_first
    inside = (floor >= 0) & (floor < FLOORS) & (more >= 0) & (more < SETS) & (whole_begin > 0)
    return tl.where(inside, whole_begin + more * FLOORS + floor, scale)


@triton.jit
def coefficient(t, h, ok, gain, t_channel, h_channel, headed, K: tl.constexpr):
    rho = tl.load(t + (6 + K) * t_channel, mask=ok, other=0)
    if headed != 0:
        rho += tl.load(h + (6 + K) * h_channel, mask=ok, other=0)
    return rho * gain


@triton.jit
def difference(value, mean):
    return within((value << FINE_BITS) - mean, -FAR, FAR)


@triton.jit
def innovation(value, mean_0, inverse, REACH: tl.constexpr):
    far = within((value << FINE_BITS) - mean_0, -8 * FAR, 8 * FAR)
    raw = rounded(far * inverse, INNOVATION_HALF, INNOVATION_BITS)
    return within(raw, -REACH, REACH).to(tl.int8)


@triton.jit
def _write(there, length, mean, scale, value, key, free, keyed):
    tl.store(there + MEAN32 * length, rounded(mean, 1, 1), mask=free)
    tl.store(there + ROW * length, scale, mask=free)
    tl.store(there + VALUE * length, value, mask=free)
    if keyed != 0:
        tl.store(there + KEY * length, key, mask=free)


@triton.jit(do_not_specialize=ALL)
def known_values(
    y, trunk, head, scales, gains, shifts, inverses, values, mask, sums, coded, innovations,
    from_y, from_f, base, t_image, t_channel, t_row, t_column, h_image, h_channel, h_row, h_column,
    rows, columns, length, first_0, first_1, first_2,
    height, width, y_image, y_channel, y_row, v_image, v_channel, v_row,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride,
    headed, keyed, masked, later, whole_begin, whole_first, whole_shift,
    CHANNELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All of a pass for an encoder, who has the values: means, rows, values, keys if `keyed`.

    Innovations (B, rows, columns, 16) int8 if a pass is coded later.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = place_of(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    t = trunk + image * t_image + row * t_row + column * t_column
    h = head + image * h_image + (row >> 1) * h_row + (column >> 1) * h_column
    ys = y + image * y_image + row * y_row + column
    vs = values + image * v_image + row * v_row + column
    out = innovations + ((image * rows + (row >> 1)) * columns + (column >> 1)) * 16
    out += (row & 1) * 2 + (column & 1)
    s = (image * CHANNELS * height + row) * width + column
    # G, then R, then B; gray by the network's outputs for G
    green = tl.load(vs + CHANNELS // 3 * v_channel, mask=ok, other=0)
    above, mean_0, inverse, mean, v, scale = begun(
        ys + CHANNELS // 3 * y_channel, t, h, ok, from_y, from_f, base, scales, shifts, inverses,
        t_channel, h_channel, headed, 1,
    )  # fmt: skip
    key = green * 0
    if CHANNELS == 1:
        rank, free = number(i, ok, s, mask, sums, masked)
        scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
        _write(coded + rank + first_0, length, mean, scale, green, key, free, keyed)
        if later != 0:
            raw = innovation(green, mean_0, inverse, REACH)
            for k in tl.static_range(3):
                tl.store(out + 4 * k, raw, mask=ok)
    else:
        plane = height * width
        rank, free = number(i, ok, s + plane, mask, sums + total, masked)
        scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
        _write(coded + rank + first_1, length, mean, scale, green, key, free, keyed)
        if later != 0:
            tl.store(out + 4, innovation(green, mean_0, inverse, REACH), mask=ok)
        gain = tl.load(gains + v)
        d = difference(green, mean)
        to_red = d * coefficient(t, h, ok, gain, t_channel, h_channel, headed, 0)
        to_blue = d * coefficient(t, h, ok, gain, t_channel, h_channel, headed, 1)
        key = byte(green)

        red = tl.load(vs, mask=ok, other=0)
        above, mean_0, inverse, mean, v, scale = begun(
            ys, t, h, ok, from_y, from_f, base, scales, shifts, inverses,
            t_channel, h_channel, headed, 0,
        )  # fmt: skip
        mean += rounded(to_red, COEFFICIENT_HALF, COEFFICIENT_BITS)
        rank, free = number(i, ok, s, mask, sums, masked)
        scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
        _write(coded + rank + first_0, length, mean, scale, red, key << 8, free, keyed)
        if later != 0:
            tl.store(out, innovation(red, mean_0, inverse, REACH), mask=ok)
        gain = tl.load(gains + v)
        d = difference(red, mean)
        to_blue += d * coefficient(t, h, ok, gain, t_channel, h_channel, headed, 2)
        key = key << 8 | byte(red)

        blue = tl.load(vs + 2 * v_channel, mask=ok, other=0)
        above, mean_0, inverse, mean, v, scale = begun(
            ys + 2 * y_channel, t, h, ok, from_y, from_f, base, scales, shifts, inverses,
            t_channel, h_channel, headed, 2,
        )  # fmt: skip
        mean += rounded(to_blue, COEFFICIENT_HALF, COEFFICIENT_BITS)
        rank, free = number(i, ok, s + 2 * plane, mask, sums + 2 * total, masked)
        scale = whole_row(mean, scale, above, whole_begin, whole_first, whole_shift)
        _write(coded + rank + first_2, length, mean, scale, blue, key << 8, free, keyed)
        if later != 0:
            tl.store(out + 8, innovation(blue, mean_0, inverse, REACH), mask=ok)
