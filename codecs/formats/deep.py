"""16-bit RGB, RGBA and LA, which Pillow reads as 8-bit without a word: PNG by hand, TIFF by imagecodecs (extra [deep]).

PNG: chunks; a deflate stream of rows, each begun by its filter's number; Adam7 has seven passes of rows.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.png import chunk
from bitsback.errors import DamagedFile, UnsupportedImage

CHANNELS = {2: 3, 4: 2, 6: 4}  # of colour types
PIECE = 2**16  # packed bytes inflated at once
MODES = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # first row, column, steps


def _chunks(data):
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _unfilter_slow(kind, row, above, step):
    """Average and Paeth: every byte needs the one decoded before it.  Lists of ints, with `step` zeros before them."""
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
    """Rows with their filters -> (height, width, channels) uint16.  Errors: DamagedFile."""
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
    height, width = shape
    return (
        [
            (-(-(height - top) // down), -(-(width - left) // right))
            for top, left, down, right in ADAM7
        ]
        if interlaced
        else [shape]
    )


def _inflated(data, bits, passes):
    """Yields the rows of a PNG in pieces that memory can hold; DamagedFile at the end if some are missing."""
    size = sum(h * (1 + (w * bits + 7) // 8) for h, w in passes if h > 0 and w > 0)
    unpacker, packed = (
        zlib.decompressobj(),
        b"".join(body for name, body in _chunks(data) if name == b"IDAT"),
    )
    for position in range(0, len(packed), PIECE):
        try:
            piece = unpacker.decompress(packed[position : position + PIECE])[:size]
        except zlib.error:
            raise DamagedFile("broken data stream") from None
        size -= len(piece)
        yield piece
        if not size:
            return
    raise DamagedFile("rows are missing")


def refuse_missing_rows(data: bytes) -> None:
    """A PNG that Pillow has opened: DamagedFile if its stream ends before its rows do, which Pillow fills with black without a word."""
    shape, depth, kind, interlaced = _head(data)
    for _ in _inflated(data, depth * CHANNELS.get(kind, 1), _passes(shape, interlaced)):
        pass


def read_png(data: bytes) -> np.ndarray:
    """Bytes of a 16-bit RGB, RGBA or LA PNG -> (H, W, C) uint16.  Errors: DamagedFile."""
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


def write_png(samples: np.ndarray, stream, **options) -> None:
    """(H, W, C) uint16 -> a 16-bit PNG.  options: as Pillow's for the same image in 8 bits, whose other chunks are taken over."""
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
    stream.write(b"\x89PNG\r\n\x1a\n")
    for kind, body in _chunks(out.getvalue()):
        if kind == b"IHDR":
            body = struct.pack(">IIB", samples.shape[1], samples.shape[0], 16) + body[9:]
        stream.write(chunk(kind, packed if kind == b"IDAT" else body))


def read_tiff(data: bytes, name, planar: bool = False) -> np.ndarray:
    """Bytes of a 16-bit RGB or RGBA TIFF -> (H, W, C) uint16; planar: it keeps each channel apart.

    Errors: UnsupportedImage, also where imagecodecs is not installed.
    """
    try:
        from imagecodecs import tiff_decode
    except ImportError:
        raise UnsupportedImage(
            f"{name}: 16 bits a sample, which Pillow would read as 8; pip install 'bitsback[deep]' for such TIFFs"
        ) from None
    try:
        samples = np.asarray(tiff_decode(data))
        samples = np.moveaxis(samples, 0, -1) if planar and samples.ndim == 3 else samples
    except Exception as error:  # imagecodecs raises what its libraries do
        raise UnsupportedImage(f"{name}: damaged image ({error})") from None
    if samples.ndim != 3 or samples.shape[2] not in (3, 4) or samples.dtype != np.uint16:
        raise UnsupportedImage(
            f"{name}: 16-bit samples in an order that is not known ({samples.dtype} {samples.shape})"
        )
    return np.ascontiguousarray(samples, "<u2")
