"""The conventional lossless coder: for what the prior does not suit, and for the first strip.

The smallest of WebP lossless and PNG, both by Pillow and without their wrapping, and `deltas`.  The
first byte says which.  Only samples go in: channels have no meaning here, so CMYK may travel as RGBA.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image

from ..errors import DamagedFile
from .deltas import decode_deltas, encode_deltas, inflate

WEBP_SIDE = 16383
WEBP, PNG, PNG1, PNG2, PNG4, DELTAS = range(6)
PNG_BITS = {PNG1: 1, PNG2: 2, PNG4: 4}          # indices and bilevel pictures, several in a byte
EFFORTS = ({"quality": 100, "method": 6}, {"quality": 75, "method": 4})     # more effort is not always smaller


# --- WebP: a VP8L chunk without the RIFF around it -------------------------------------------


def _webp_image(samples):
    """uint8 samples -> an RGB or RGBA image; grey is repeated, which WebP's own transform makes free."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if channels == 1:
        samples = np.repeat(samples.reshape(*samples.shape[:2], 1), 3, 2)
    if channels == 2:
        samples = samples[..., [0, 0, 0, 1]]
    return Image.fromarray(np.ascontiguousarray(samples), "RGBA" if channels in (2, 4) else "RGB")


def _encode_webp(image, **effort):
    out = io.BytesIO()
    image.save(out, format="WEBP", lossless=True, exact=True, **effort)
    data = out.getvalue()
    if data[12:16] != b"VP8L":
        raise ValueError("not a bare VP8L stream")
    return data[20:20 + int.from_bytes(data[16:20], "little")]


def _decode_webp(data, shape):
    bits = int.from_bytes(data[1:5], "little")
    if len(data) < 5 or data[0] != 0x2F or (bits & 0x3FFF) + 1 != shape[1] or (bits >> 14 & 0x3FFF) + 1 != shape[0]:
        raise ValueError("another size")
    chunk = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    with Image.open(io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk)) + chunk), formats=("WEBP",)) as image:
        channels = 1 if len(shape) == 2 else shape[2]
        samples = np.array(image.convert("RGBA" if channels in (2, 4) else "RGB"))
    return samples[..., 0] if channels == 1 else samples[..., [0, 3]] if channels == 2 else samples


# --- PNG: its IDAT alone ---------------------------------------------------------------------


def _png_image(samples, bits):
    if bits < 8:
        image = Image.fromarray(samples, "P")
        image.putpalette(bytes(3 * 2**bits))
        return image
    if samples.dtype.itemsize == 2:
        return Image.frombytes("I;16", samples.shape[::-1], np.ascontiguousarray(samples).tobytes())
    return Image.fromarray(np.ascontiguousarray(samples))


def _encode_png(samples, bits):
    out, body, position = io.BytesIO(), b"", 8
    _png_image(samples, bits).save(out, format="PNG", optimize=True, **({"bits": bits} if bits < 8 else {}))
    data = out.getvalue()
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        body += data[position + 8:position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
    return body


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _decode_png(data, shape, bits):
    channels = 1 if len(shape) == 2 else shape[2]
    colour_type = 3 if bits < 8 else (0, 4, 2, 6)[channels - 1]
    size = shape[0] * (1 + (shape[1] * channels * bits + 7) // 8)
    if len(inflate(data, size, False)) != size:                 # Pillow leaves missing rows black without a word
        raise ValueError("cut short")
    head = struct.pack(">IIBBBBB", shape[1], shape[0], bits, colour_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 2**bits)) if bits < 8 else b""
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return np.array(image)


# --- the choice ------------------------------------------------------------------------------


def quick_plain_size(samples: np.ndarray) -> int | None:
    """Bytes of a WebP made in a twentieth of the time; the best one is at most some 3 % smaller.  samples: uint8."""
    if max(samples.shape[:2]) > WEBP_SIDE:
        return None
    return 1 + len(_encode_webp(_webp_image(samples), **EFFORTS[1]))


def encode_plain(samples: np.ndarray) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> bytes, by the coder that makes the fewest."""
    results = [bytes([DELTAS]) + encode_deltas(samples)]
    if samples.dtype == np.uint8 and max(samples.shape[:2]) <= WEBP_SIDE:
        image = _webp_image(samples)
        results += [bytes([WEBP]) + _encode_webp(image, **effort) for effort in EFFORTS]
    if samples.dtype == np.uint8 or samples.dtype == np.uint16 and samples.ndim == 2:
        results.append(bytes([PNG]) + _encode_png(samples, 8 * samples.dtype.itemsize))
    if samples.dtype == np.uint8 and samples.ndim == 2 and (most := int(samples.max())) < 16:
        method = PNG1 if most < 2 else PNG2 if most < 4 else PNG4
        results.append(bytes([method]) + _encode_png(samples, PNG_BITS[method]))
    return min(results, key=len)


def decode_plain(data: bytes, shape: tuple, dtype=np.uint8) -> np.ndarray:
    """The mirror of encode_plain.  Sizes are checked before samples are unpacked.  Errors: DamagedFile."""
    method, body, dtype = data[0] if data else 255, data[1:], np.dtype(dtype)
    if method == DELTAS:
        return decode_deltas(body, shape, dtype)
    try:
        if method == WEBP and dtype == np.uint8:
            samples = _decode_webp(body, shape)
        elif method == PNG and (dtype == np.uint8 or dtype == np.uint16 and len(shape) == 2):
            samples = _decode_png(body, shape, 8 * dtype.itemsize)
        elif method in PNG_BITS and dtype == np.uint8 and len(shape) == 2:
            samples = _decode_png(body, shape, PNG_BITS[method])
        else:
            raise ValueError("an unknown coder")
        if samples.shape != tuple(shape):
            raise ValueError("another size")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError):
        raise DamagedFile("a conventionally coded part does not decode") from None
    return np.ascontiguousarray(samples.astype(dtype, copy=False))
