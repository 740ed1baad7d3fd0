"""Parts by the fallback codec: samples by the coders 0 to 7 (FORMAT.md, fallback codec)."""

import io
import struct

import numpy as np
from PIL import Image

from tests.second_decoder import jxl
from tests.second_decoder.errors import check
from tests.second_decoder.packing import unpack
from tests.second_decoder.reader import Reader


def decode_part(data, shape, dtype="u1"):
    """The samples, of shape (H, W, C), of a part."""
    check(len(data) > 1, "an empty part")
    coder, data, dtype = data[0], data[1:], np.dtype(dtype)
    check(coder < 8, "an unknown coder")
    if coder == 7:
        check(dtype == "<i4" and data[0] != 7, "coder 7 of another image")
        return decode_part(data, shape, "<u2").astype("<i4")
    check(dtype.itemsize == 1 or coder not in (0, 2, 3, 4), "a coder of 1-byte samples")
    if coder == 0:
        return webp(data, shape)
    if coder == 5:
        return differences(data, shape, dtype)
    if coder == 6:
        check(dtype in ("u1", "<u2", "<f4"), "JPEG XL does not hold such samples")
        return jxl.decode(data, shape, dtype)
    return png(data, shape, dtype, {1: 8 * dtype.itemsize, 2: 1, 3: 2, 4: 4}[coder])


def webp(data, shape):
    """A VP8L chunk's contents, with the heads of a WebP put before them."""
    height, width, channels = shape
    chunk = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    try:
        with Image.open(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk)) + chunk)) as image:
            check(image.size == (width, height), "a WebP of another size")
            colours = np.array(image.convert("RGBA" if channels in (2, 4) else "RGB"))
    except (OSError, ValueError, SyntaxError):
        check(False, "a WebP")
    if channels < 3:
        colours = colours[..., [0, 3] if channels == 2 else [0]]
    return colours


def png(data, shape, dtype, depth):
    """The contents of a PNG's IDAT.  Rows are unfiltered as the PNG specification says, 9.2."""
    height, width, channels = shape
    holds = dtype == "u1" and (channels == 1 or depth == 8) or dtype == "<u2" and channels == 1
    check(holds, "a PNG does not hold such samples")
    row, step = (width * channels * depth + 7) // 8, max(1, channels * depth // 8)
    packed = unpack(data, False, height * (row + 1))
    check(len(packed) == height * (row + 1), "rows of a PNG are missing")
    rows = np.zeros((height, row), np.uint8)
    above = bytes(row)
    for i in range(height):
        begin = i * (row + 1)
        above = unfiltered(packed[begin], packed[begin + 1 : begin + 1 + row], above, step)
        rows[i] = np.frombuffer(above, np.uint8)
    if depth == 16:
        return rows.view(">u2").astype("<u2").reshape(shape)
    if depth < 8:
        bits = np.unpackbits(rows, axis=1).reshape(height, -1, depth)
        rows = (bits << np.arange(depth)[::-1]).sum(2, dtype=np.uint8)[:, :width]
    return rows.reshape(shape)


def unfiltered(kind, line, above, step):
    check(kind < 5, "an unknown filter of a PNG")
    if kind == 0:
        return line
    if kind == 2:
        return bytes((x + b) & 255 for x, b in zip(line, above))
    out = bytearray(line)
    for i, x in enumerate(line):
        left, corner = (out[i - step], above[i - step]) if i >= step else (0, 0)
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[i]) // 2
        else:
            guess = paeth(left, above[i], corner)
        out[i] = (x + guess) & 255
    return bytes(out)


def paeth(a, b, c):
    """Of left, above and the corner the one nearest to a + b - c, the first of equal ones."""
    return min((a, b, c), key=lambda one: abs(a + b - c - one))


def differences(data, shape, dtype):
    reader = Reader(data)
    (flags,) = reader.take(1)
    check(flags < 16, "unknown flags of differences")
    height, width, channels = shape
    size = height * width * channels * dtype.itemsize
    packed = unpack(reader.rest(), bool(flags & 8), size)
    check(len(packed) == size, "samples are missing")
    planes = np.frombuffer(packed, np.uint8).reshape(channels, dtype.itemsize, height, width)
    whole = np.ascontiguousarray(planes.transpose(2, 3, 0, 1)).view(f"<u{dtype.itemsize}")[..., 0]
    if flags & 2:
        whole = np.cumsum(whole, axis=0, dtype=whole.dtype)
    if flags & 1:
        whole = np.cumsum(whole, axis=1, dtype=whole.dtype)
    if flags & 4:
        check(channels > 2, "differences of the channels of fewer than three")
        second = whole[..., 1:2].copy()
        whole = whole + second
        whole[..., 1:2] = second
    return whole.view(dtype)
