"""16-bit RGB, RGBA and LA, which Pillow reduces to 8 bits without a warning.

PNGs are read and written here, TIFFs are read by imagecodecs.  A PNG contains a
deflate stream of rows, each with the number of its filter first; Adam7 has seven passes of rows.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.jxl import load_imagecodecs
from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats.chunks import SIGNATURE, chunks_of
from bitsback.errors import DamagedFile, UnsupportedImage

CHANNELS = {2: 3, 4: 2, 6: 4}  # by PNG's colour type
PIECE = 2**16  # compressed bytes decompressed at once
MODES = {  # by number of channels
    2: "LA;16",
    3: "RGB;16",
    4: "RGBA;16",
}
ADAM7 = (  # first row and column, steps between rows and columns, of each pass
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def _unfilter_slow(kind, row, above, step):
    """The filters Average (3) and Paeth (4), in which a byte depends on the one decoded before.

    row, above: lists of integers, preceded by `step` zeros.
    """
    for i in range(step, len(row)):
        a, b, c = row[i - step], above[i], above[i - step]
        if kind == 3:
            guess = (a + b) // 2
        else:
            to_a, to_b, to_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            guess = a if to_a <= to_b and to_a <= to_c else b if to_b <= to_c else c
        row[i] = row[i] + guess & 255
    return row


def _unfilter(data, height, width, channels):
    """Filtered rows to (height, width, channels) uint16.  Errors: DamagedFile."""
    step = 2 * channels
    rows = np.frombuffer(data, np.uint8).reshape(height, 1 + step * width)
    out, above = np.empty((height, step * width), np.uint8), np.zeros(step * width, np.uint8)
    for i, (kind, row) in enumerate(zip(rows[:, 0].tolist(), rows[:, 1:])):
        if kind == 1:
            row = np.cumsum(row.reshape(width, step), 0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            row = row + above
        elif kind in (3, 4):
            zeros = [0] * step
            row = np.array(
                _unfilter_slow(kind, zeros + row.tolist(), zeros + above.tolist(), step)[step:],
                np.uint8,
            )
        elif kind:
            raise DamagedFile("an unknown filter")
        out[i] = above = row
    return out.view(">u2").astype("<u2").reshape(height, width, channels)


def _head(data):
    """((height, width), depth, colour type, interlaced) of a PNG."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return (height, width), depth, kind, interlaced


def _passes(shape, interlaced):
    """The shapes (height, width) of the passes."""
    if not interlaced:
        return [shape]
    height, width = shape
    return [
        (-(-(height - top) // down), -(-(width - left) // right))
        for top, left, down, right in ADAM7
    ]


def _inflated(data, bits, passes):
    """Yields the rows of a PNG in pieces, and returns whether more follows them.

    Errors: DamagedFile, at the end if rows are missing.
    """
    size = sum(h * (1 + (w * bits + 7) // 8) for h, w in passes if h > 0 and w > 0)
    unpacker, more = zlib.decompressobj(), False
    packed = b"".join(body for name, body in chunks_of(data) if name == b"IDAT")
    for position in range(0, len(packed), PIECE):
        try:
            found = unpacker.decompress(packed[position : position + PIECE])
        except zlib.error:
            raise DamagedFile("broken data stream") from None
        piece, more = found[:size], more or len(found) > size
        size -= len(piece)
        if piece:
            yield piece
        if unpacker.eof:  # the checksum after the last row may be in another piece
            behind = unpacker.unused_data + packed[position + PIECE :]
            more = more or bool(behind.strip(b"\0"))  # zeros say nothing
            break
    if size:
        raise DamagedFile("rows are missing")
    return more


def has_more_than_rows(data: bytes) -> bool:
    """Whether a PNG's data go on after its last row.

    Errors: DamagedFile for one with missing rows, which Pillow fills with black.
    """
    shape, depth, kind, interlaced = _head(data)
    rows = _inflated(data, depth * CHANNELS.get(kind, 1), _passes(shape, interlaced))
    while True:
        try:
            next(rows)
        except StopIteration as end:
            return end.value


def read_png(data: bytes) -> np.ndarray:
    """Reads a 16-bit RGB, RGBA or LA PNG: (H, W, C) uint16.  Errors: DamagedFile."""
    shape, depth, kind, interlaced = _head(data)
    if depth != 16 or kind not in CHANNELS:
        raise DamagedFile("not a PNG of 16-bit colours")
    channels, out, position = CHANNELS[kind], np.empty((*shape, CHANNELS[kind]), "<u2"), 0
    passes = _passes(shape, interlaced)
    rows = b"".join(_inflated(data, 16 * channels, passes))
    for (height, width), (top, left, down, right) in zip(
        passes, ADAM7 if interlaced else [(0, 0, 1, 1)]
    ):
        if height > 0 and width > 0:
            size = height * (1 + 2 * channels * width)
            out[top::down, left::right] = _unfilter(
                rows[position : position + size], height, width, channels
            )
            position += size
    return out


def write_png(samples: np.ndarray, stream: BinaryIO, **options: Any) -> None:
    """Writes (H, W, C) uint16 as a 16-bit PNG.

    options: of Image.save; Pillow writes an 8-bit PNG, whose chunks other than IDAT are used.
    """
    out, rows = io.BytesIO(), samples.astype(">u2").view(np.uint8).reshape(samples.shape[0], -1)
    Image.fromarray((samples[:1, :1] >> 8).astype(np.uint8)).save(out, format="PNG", **options)
    up = rows.copy()
    up[1:] -= rows[:-1]
    step = 2 * samples.shape[2]
    left = rows.copy()
    left[:, step:] -= rows[:, :-step]
    packed = min(
        (
            zlib.compress(np.insert(filtered, 0, kind, 1).tobytes(), 9)
            for kind, filtered in ((0, rows), (1, left), (2, up))
        ),
        key=len,
    )
    stream.write(SIGNATURE)
    for kind, body in chunks_of(out.getvalue()):
        if kind == b"IHDR":
            body = struct.pack(">IIB", samples.shape[1], samples.shape[0], 16) + body[9:]
        stream.write(chunk(kind, packed if kind == b"IDAT" else body))


def read_tiff(data: bytes, name: str | Path, planar: bool = False) -> np.ndarray:
    """Reads a 16-bit RGB or RGBA TIFF: (H, W, C) uint16; planar: its channels are stored apart.

    Errors: UnsupportedImage; MissingPackage.
    """
    tiff_decode = load_imagecodecs().tiff_decode
    try:
        samples = np.asarray(tiff_decode(data))
        samples = np.moveaxis(samples, 0, -1) if planar and samples.ndim == 3 else samples
    except Exception as error:  # imagecodecs raises many kinds
        raise UnsupportedImage(f"{name}: damaged image ({error})") from None
    if samples.ndim != 3 or samples.shape[2] not in (3, 4) or samples.dtype != np.uint16:
        raise UnsupportedImage(
            f"{name}: 16-bit samples in an unknown order ({samples.dtype} {samples.shape})"
        )
    return np.ascontiguousarray(samples, "<u2")
