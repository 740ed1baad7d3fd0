"""PNG without its wrapping: the IDAT data alone (ISO/IEC 15948).  Pillow does the coding."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.differences import inflate


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _to_pillow(samples, bits):
    if bits < 8:
        image = Image.fromarray(samples, "P")
        image.putpalette(bytes(3 * 2**bits))
        return image
    if samples.dtype.itemsize == 2:
        return Image.frombytes("I;16", samples.shape[::-1], np.ascontiguousarray(samples).tobytes())
    return Image.fromarray(np.ascontiguousarray(samples))


def encode_png(samples: np.ndarray, bits: int) -> bytes:
    """Samples -> IDAT data.  (H, W) of 1, 2, 4, 8 or 16 bits a sample, (H, W, 2 to 4) of 8."""
    out, body, position = io.BytesIO(), b"", 8
    _to_pillow(samples, bits).save(
        out, format="PNG", optimize=True, **({"bits": bits} if bits < 8 else {})
    )
    data = out.getvalue()
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body += data[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
    return body


def decode_png(data: bytes, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """The mirror of encode_png.  Errors: DamagedFile, ValueError, OSError, SyntaxError."""
    channels = 1 if len(shape) == 2 else shape[2]
    colour_type = 3 if bits < 8 else (0, 4, 2, 6)[channels - 1]
    size = shape[0] * (1 + (shape[1] * channels * bits + 7) // 8)
    if len(inflate(data, size, False)) != size:  # Pillow fills missing rows with black, no error
        raise ValueError("cut short")
    head = struct.pack(">IIBBBBB", shape[1], shape[0], bits, colour_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 2**bits)) if bits < 8 else b""
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + palette
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return np.array(image)
