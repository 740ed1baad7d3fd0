"""Triton kernels of the integer network: a convolution with all that follows it, and digits.

Implicit GEMM (Chetlur et al., cuDNN, arXiv 1410.0759): rows are output pixels, columns are output
channels, the sum runs over taps and input channels.  All is integers, exact modulo 2^32.
"""

import triton
import triton.language as tl

SIZES = (
    "row pixels height width in_height in_width in_pitch stride padding up added sums narrowed bits"
)


@triton.jit(do_not_specialize=SIZES.split())
def convolve_kernel(
    x: tl.tensor,  # (B, in_height, in_width, 16 * in_pitch) uint8, or int8 if SIGNED
    weight: tl.tensor,  # (PARTS, SIZE * SIZE * CHUNKS, columns, BLOCK_K) int8, digits of base 128
    bias: tl.tensor,  # (rows, columns) int32, with 128 x the sum of the weights for uint8 inputs
    rounding: tl.tensor,  # (4, columns) int32: right shift, half - 1, 1 or 0, left shift
    limits: tl.tensor,  # (2, columns) int32: lowest and largest value
    residual: tl.tensor,  # (B, up * height, up * width, channels) float32 or uint8
    wide: tl.tensor,  # the same shape: float32, or int32 if LIMITED
    narrow: tl.tensor,  # the same shape: uint8
    row: tl.tensor,  # of the bias
    pixels: tl.tensor,  # B * height * width
    height: tl.tensor,
    width: tl.tensor,
    in_height: tl.tensor,
    in_width: tl.tensor,
    in_pitch: tl.tensor,
    stride: tl.tensor,
    padding: tl.tensor,
    up: tl.tensor,  # 1, or 2 for pixel_shuffle: columns are ordered 4 places first, channels second
    added: tl.tensor,  # 1 to add residual, else 0
    sums: tl.tensor,  # 1 to write wide, else 0
    narrowed: tl.tensor,  # 1 to write narrow, else 0
    bits: tl.tensor,  # logarithm of the divisor of narrow
    outputs: tl.tensor,  # output channels before pixel_shuffle(up)
    columns: tl.tensor,  # output channels, rounded up to blocks
    channels: tl.tensor,  # output channels after it
    SIGNED: tl.constexpr,
    SIZE: tl.constexpr,  # of the kernel
    CHUNKS: tl.constexpr,  # of BLOCK_K input channels
    PARTS: tl.constexpr,
    LIMITED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """One block of pixels and output channels: sum, bias, shift, residual, clamp."""
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    lane = tl.arange(0, BLOCK_K)
    inside = pixel < pixels
    px = pixel % width
    line = pixel // width  # of all images
    image = line // height
    top = (line - image * height) * stride - padding
    left = px * stride - padding
    pitch = in_pitch * 16
    steps: tl.constexpr = SIZE * SIZE * CHUNKS
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for part in tl.static_range(PARTS):
        acc = acc * 128
        for step in range(0, steps):
            tap = step // CHUNKS
            channel = (step - tap * CHUNKS) * BLOCK_K + lane
            down = top + tap // SIZE
            across = left + tap % SIZE
            seen = inside & (down >= 0) & (down < in_height)
            seen = seen & (across >= 0) & (across < in_width)
            start = ((image * in_height + down) * in_width + across) * pitch
            a = tl.load(
                x + start[:, None] + channel[None, :],
                mask=seen[:, None] & (channel < pitch)[None, :],
                other=0,
            )
            if not SIGNED:
                a = (a ^ 128).to(tl.int8, bitcast=True)  # a - 128
            w = tl.load(
                weight
                + ((part * steps + step) * columns + column)[None, :] * BLOCK_K
                + lane[:, None]
            )
            acc = tl.dot(a, w, acc=acc, out_dtype=tl.int32)
    right = tl.load(rounding + column)[None, :]
    below = tl.load(rounding + columns + column)[None, :]
    odd = tl.load(rounding + 2 * columns + column)[None, :]
    larger = tl.load(rounding + 3 * columns + column)[None, :]
    acc = acc + tl.load(bias + row * columns + column)[None, :]
    out = ((acc + below + ((acc >> right) & odd)) >> right) << larger
    mask = inside[:, None] & (column < outputs)[None, :]
    place = column // channels  # of a 2x2 block
    first = line * (up * up * width) + px * up
    then = (place // up) * (up * width) + place % up
    there = (first[:, None] + then[None, :]) * channels + (column % channels)[None, :]
    if added != 0:
        out = out + tl.load(residual + there, mask=mask, other=0).to(tl.int32)
    if LIMITED:
        out = tl.maximum(out, tl.load(limits + column)[None, :])
        out = tl.minimum(out, tl.load(limits + columns + column)[None, :])
        tl.store(wide + there, out, mask=mask)
    else:
        if sums != 0:
            tl.store(wide + there, out.to(tl.float32), mask=mask)
        if narrowed != 0:
            half = (1 << bits) >> 1
            out = (out + tl.maximum(half - 1, 0) + ((out >> bits) & tl.minimum(bits, 1))) >> bits
            out = tl.minimum(tl.maximum(out, 0), 255)
            tl.store(narrow + there, out.to(tl.uint8), mask=mask)


@triton.jit(do_not_specialize=["count", "pitch", "channels"])
def digits_kernel(
    x: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    pitch: tl.tensor,
    channels: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Float32 integers (pixels, channels) -> int8 (pixels, pitch): low digits, high digits, zeros.

    A value is 128 high + low, low within -64..63.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pixel = at // pitch
    channel = at - pixel * pitch
    digit = channel // channels
    mask = at < count
    known = mask & (digit < 2)
    value = tl.load(x + pixel * channels + channel % channels, mask=known, other=0).to(tl.int32)
    low = ((value + 64) & 127) - 64
    value = tl.where(digit == 0, low, (value - low) >> 7)
    tl.store(out + at, value.to(tl.int8), mask=mask)


@triton.jit(
    do_not_specialize=["count", "height", "width", "half_height", "half_width", "colours", "scale"]
)
def input_kernel(
    y: tl.tensor,  # (B, colours, height, width) int32
    out: tl.tensor,  # (B, half_height, half_width, DIGITS) int8
    count: tl.tensor,  # of all values of out
    height: tl.tensor,
    width: tl.tensor,
    half_height: tl.tensor,
    half_width: tl.tensor,
    colours: tl.tensor,  # 1 or 3
    scale: tl.tensor,
    REACH: tl.constexpr,
    DIGITS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The network's input in digits, as digits_kernel writes them: ARITHMETIC.md, section 6."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pixel = at // DIGITS
    channel = at % DIGITS
    digit = channel // 12
    part = channel % 12  # colour, row, column
    line = pixel // half_width
    image = line // half_height
    down = (line - image * half_height) * 2 + part % 4 // 2
    across = (pixel - line * half_width) * 2 + part % 2
    colour = tl.minimum(part // 4, colours - 1)
    mask = at < count
    known = mask & (digit < 2) & (down < height) & (across < width)
    place = ((image * colours + colour) * height + down) * width + across
    value = (tl.load(y + place, mask=known, other=0) * scale + 128) >> 8
    value = tl.minimum(tl.maximum(value, -REACH), REACH)
    low = ((value + 64) & 127) - 64
    value = tl.where(digit == 0, low, (value - low) >> 7)
    tl.store(out + at, value.to(tl.int8), mask=mask)
