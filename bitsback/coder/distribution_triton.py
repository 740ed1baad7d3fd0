"""Triton kernels of the distributions of a step, over the places of a pass in coding order.

The integers of distribution_arrays.py.  y, values: (B, C, height, width) int32, contiguous; trunk,
head: (B, 9, ..) int32 of any strides; prepared: (5, 3, total) int32, rows MEAN_0 .. SCALE.  A place
is found from its number by the grids of a pass: of n places of an image the first `part` lie on
grid 0.  TRITON_INTERPRET=1 runs the kernels on CPU tensors.
"""

import triton
import triton.language as tl

MEAN_0, INVERSE, MEAN, COEFFICIENT, SCALE = (tl.constexpr(row) for row in range(5))
MEAN_SHIFT, COEFFICIENT_BITS, INNOVATION_BITS = (tl.constexpr(bits) for bits in (10, 14, 14))
MEAN_HALF, COEFFICIENT_HALF, INNOVATION_HALF = (tl.constexpr(2**bits) for bits in (9, 13, 13))
FINE_BITS = tl.constexpr(6)
FAR = tl.constexpr(2**12)
LAST = tl.constexpr(255)  # scale of v

# Parameters, by name: no kernel is compiled anew for other sizes, or for arrays at odd addresses.
ARRAYS = "y trunk head scales gains shifts inverses prepared mean32 values innovations".split()
GRID = "total n part columns_0 columns_1 row_0 column_0 row_1 column_1 stride height width".split()
TRUNK = "t_image t_channel t_row t_column".split()
HEAD = "h_image h_channel h_row h_column".split()


@triton.jit
def _place(i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride):
    """(image, row, column) of the i-th place."""
    image = i // n
    rest = i - image * n
    second = rest >= part
    rest = tl.where(second, rest - part, rest)
    columns = tl.where(second, columns_1, columns_0)
    line = rest // columns
    row = tl.where(second, row_1, row_0) + line * stride
    column = tl.where(second, column_1, column_0) + (rest - line * columns) * stride
    return image, row, column


@triton.jit
def _rounded(value, half: tl.constexpr, bits: tl.constexpr):
    """floor(value / 2^bits + 1/2); half: 2^(bits - 1)."""
    return (value + half) >> bits


@triton.jit
def _within(value, low: tl.constexpr, high: tl.constexpr):
    return tl.minimum(tl.maximum(value, low), high)


@triton.jit(do_not_specialize=[*ARRAYS, "from_y", "from_f", "base", *GRID, *TRUNK, *HEAD])
def prepare(
    y, trunk, head, scales, gains, shifts, inverses, prepared, mean32, from_y, from_f, base,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride, height, width,
    t_image, t_channel, t_row, t_column, h_image, h_channel, h_row, h_column,
    FIRST: tl.constexpr, END: tl.constexpr, HEADED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What does not depend on values of the pass, for colours FIRST..END - 1; mean32 of G.

    head: what is added for each 2x2 block, if HEADED.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = _place(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    t = trunk + image * t_image + row * t_row + column * t_column
    h = head + image * h_image + (row >> 1) * h_row + (column >> 1) * h_column
    for colour in tl.static_range(FIRST, END):
        here = ((image * (END - FIRST) + colour - FIRST) * height + row) * width + column
        value = tl.load(y + here, mask=ok, other=0)
        mean = from_y * value + from_f * tl.load(t + colour * t_channel, mask=ok, other=0)
        mean = _rounded(mean, MEAN_HALF, MEAN_SHIFT)
        v = _within(base + tl.load(t + (3 + colour) * t_channel, mask=ok, other=0), 0, LAST)
        out = prepared + colour * total + i
        tl.store(out + MEAN_0 * 3 * total, mean, mask=ok)
        tl.store(out + INVERSE * 3 * total, tl.load(inverses + v), mask=ok)
        if HEADED:
            added = tl.load(shifts + v) * tl.load(h + colour * h_channel, mask=ok, other=0)
            mean += _rounded(added, MEAN_HALF, MEAN_SHIFT)
            v = _within(v + tl.load(h + (3 + colour) * h_channel, mask=ok, other=0), 0, LAST)
        tl.store(out + MEAN * 3 * total, mean, mask=ok)
        tl.store(out + SCALE * 3 * total, tl.load(scales + v), mask=ok)
        if colour == 1:
            tl.store(mean32 + total + i, _rounded(mean, 1, 1), mask=ok)
        if END - FIRST == 3:
            gain = tl.load(gains + v)  # of R for the third coefficient, of G for the others
            if colour == 0:
                rho = tl.load(t + 8 * t_channel, mask=ok, other=0)
                if HEADED:
                    rho += tl.load(h + 8 * h_channel, mask=ok, other=0)
                tl.store(prepared + (COEFFICIENT * 3 + 2) * total + i, rho * gain, mask=ok)
            if colour == 1:
                for k in tl.static_range(2):
                    rho = tl.load(t + (6 + k) * t_channel, mask=ok, other=0)
                    if HEADED:
                        rho += tl.load(h + (6 + k) * h_channel, mask=ok, other=0)
                    tl.store(prepared + (COEFFICIENT * 3 + k) * total + i, rho * gain, mask=ok)


@triton.jit
def _moved(values, prepared, here, i, ok, total, coefficient, colour: tl.constexpr):
    """A coefficient times the clipped difference of a colour's value to its mean."""
    fine = tl.load(values + here, mask=ok, other=0) << FINE_BITS
    mean = tl.load(prepared + (MEAN * 3 + colour) * total + i, mask=ok, other=0)
    factor = tl.load(prepared + (COEFFICIENT * 3 + coefficient) * total + i, mask=ok, other=0)
    return factor * _within(fine - mean, -FAR, FAR)


@triton.jit(do_not_specialize=[*ARRAYS, *GRID])
def write_means(
    values, prepared, mean32,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride, height, width,
    COLOUR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """mean32 of R, given the values of G, or of B, given those of G and R."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = _place(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    red = (image * 3 * height + row) * width + column
    moved = _moved(values, prepared, red + height * width, i, ok, total, COLOUR // 2, 1)
    if COLOUR == 2:
        moved += _moved(values, prepared, red, i, ok, total, 2, 0)
    there = prepared + (MEAN * 3 + COLOUR) * total + i
    mean = tl.load(there, mask=ok, other=0) + _rounded(moved, COEFFICIENT_HALF, COEFFICIENT_BITS)
    tl.store(there, mean, mask=ok)
    tl.store(mean32 + COLOUR * total + i, _rounded(mean, 1, 1), mask=ok)


@triton.jit(do_not_specialize=[*ARRAYS, *GRID, "h", "w"])
def write_innovations(
    values, prepared, innovations, h, w,
    total, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride, height, width,
    CHANNELS: tl.constexpr, REACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Innovations of a pass; innovations: (B, h, w, 12) int8."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = i < total
    image, row, column = _place(
        i, n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
    )
    out = ((image * h + (row >> 1)) * w + (column >> 1)) * 12 + (row & 1) * 2 + (column & 1)
    for k in tl.static_range(3):
        if CHANNELS == 3:
            here = ((image * 3 + k) * height + row) * width + column
            means = prepared + (MEAN_0 * 3 + k) * total + i
            inverses = prepared + (INVERSE * 3 + k) * total + i
        else:
            here = (image * height + row) * width + column
            means = prepared + (MEAN_0 * 3 + 1) * total + i
            inverses = prepared + (INVERSE * 3 + 1) * total + i
        fine = tl.load(values + here, mask=ok, other=0) << FINE_BITS
        far = _within(fine - tl.load(means, mask=ok, other=0), -8 * FAR, 8 * FAR)
        raw = _rounded(far * tl.load(inverses, mask=ok, other=0), INNOVATION_HALF, INNOVATION_BITS)
        raw = _within(raw, -REACH, REACH)
        tl.store(innovations + out + 4 * k, raw.to(tl.int8), mask=ok)
