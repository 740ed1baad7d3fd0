"""The conventional lossless coder: for what the prior does not suit, and for the first strip.

The smallest of WebP lossless and PNG, both by Pillow and without their wrapping, and `deltas`.  The
first byte says which.  Only samples go in: channels have no meaning here, so CMYK may travel as RGBA.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.differences import decode_differences, encode_differences, inflate
from bitsback.errors import DamagedFile

WEBP_SIDE = 16383
WEBP, PNG, PNG1, PNG2, PNG4, DIFFERENCES = range(6)
PNG_BITS = {PNG1: 1, PNG2: 2, PNG4: 4}  # indices and bilevel images, several in a byte
QUICK, GOOD, BEST = (
    {"quality": 75, "method": 4},
    {"quality": 100, "method": 5},
    {"quality": 100, "method": 6},
)
STRIP = 2**22  # pixels of which webp_size makes a WebP at once
SAMPLE = (
    2**15
)  # pixels that show whether an image is a photograph, and if so whether PNG and differences are worth trying:
LOSES = 1.04  # ... not above this share of the quick WebP there
REMEMBERED = 2**16  # pixels of an array that is remembered
DRAWN, COLOURS = (
    1.4,
    1 / 16,
)  # bits a dimension of a quick WebP, colours a pixel: below, an image may be a drawing


# --- WebP: a VP8L chunk without the RIFF around it -------------------------------------------


def _webp_image(samples):
    """uint8 samples -> an RGB or RGBA image; gray is repeated, which WebP's own transform makes free."""
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
    return data[20 : 20 + int.from_bytes(data[16:20], "little")]


def _sheared(samples):
    """Green added to red and blue, mod 256: what VP8L's transform SUBTRACT_GREEN undoes."""
    samples = samples.copy()
    samples[..., 0] += samples[..., 1]
    samples[..., 2] += samples[..., 1]
    return samples


def _webp_without_green(samples, effort):
    """A VP8L stream without SUBTRACT_GREEN, of (H, W, 3 or 4) uint8; None where the encoder made none.

    The encoder guesses by a histogram whether green helps; only its BEST effort tries.  Of sheared samples it takes the transform: it
    is the first in the stream then, a bit 1 and 2 in two bits behind 40 bits of header, and the stream without it is that of `samples`.
    """
    data = _encode_webp(_webp_image(_sheared(samples)), **effort)
    bits = int.from_bytes(data, "little")
    if bits >> 40 & 7 != 5:
        return None
    data = (bits & 2**40 - 1 | bits >> 43 << 40).to_bytes(len(data), "little")
    try:
        return data if np.array_equal(_decode_webp(data, samples.shape), samples) else None
    except (OSError, ValueError, SyntaxError):
        return None


def _decode_webp(data, shape):
    bits = int.from_bytes(data[1:5], "little")
    if (
        len(data) < 5
        or data[0] != 0x2F
        or (bits & 0x3FFF) + 1 != shape[1]
        or (bits >> 14 & 0x3FFF) + 1 != shape[0]
    ):
        raise ValueError("another size")
    chunk = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    with Image.open(
        io.BytesIO(b"RIFF" + struct.pack("<I", len(chunk)) + chunk), formats=("WEBP",)
    ) as image:
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
    _png_image(samples, bits).save(
        out, format="PNG", optimize=True, **({"bits": bits} if bits < 8 else {})
    )
    data = out.getvalue()
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body += data[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        position += 12 + length
    return body


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _decode_png(data, shape, bits):
    channels = 1 if len(shape) == 2 else shape[2]
    colour_type = 3 if bits < 8 else (0, 4, 2, 6)[channels - 1]
    size = shape[0] * (1 + (shape[1] * channels * bits + 7) // 8)
    if len(inflate(data, size, False)) != size:  # Pillow leaves missing rows black without a word
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


# --- the choice ------------------------------------------------------------------------------


def _webps(samples, *efforts):
    """Streams of all efforts; of GOOD, with the green transform and without."""
    image, found = _webp_image(samples), []
    for effort in efforts:
        found.append(_encode_webp(image, **effort))
        if effort is GOOD and samples.ndim == 3 and samples.shape[2] >= 3:
            found.append(_webp_without_green(samples, effort))
    return [bytes([WEBP]) + data for data in found if data is not None]


def webp_size(samples: np.ndarray, effort: dict = QUICK) -> int | None:
    """Bytes of (H, W) or (H, W, C) uint8 as WebP: of large images the sum over strips, since the encoder takes over 30 bytes a pixel.

    None for sides that WebP cannot hold.
    """
    if max(samples.shape[:2]) > WEBP_SIDE:
        return None
    rows = max(1, STRIP // samples.shape[1])
    return sum(
        min(map(len, _webps(samples[top : top + rows], effort)))
        for top in range(0, len(samples), rows)
    )


def _bands(samples):
    """A quarter of SAMPLE pixels at four heights, as one image."""
    rows = max(1, SAMPLE // 4 // samples.shape[1])
    return np.concatenate(
        [samples[top : top + rows] for top in np.arange(1, 8, 2) * (len(samples) - rows) // 8]
    )


def photographic(samples: np.ndarray, size: int) -> bool:
    """Whether (H, W) or (H, W, C) uint8 that a quick WebP holds in `size` bytes look like a photograph: bits and colours enough.

    On photographs the GOOD WebP is as small as the BEST one, to a byte on the 52 images of Kodak and valid tried, in 4 to 9 s a megapixel for 16 to 24.
    """
    bands = _bands(samples)
    colours = (
        len(np.unique(bands.reshape(len(bands) * bands.shape[1], -1), axis=0))
        if bands.ndim == 3
        else bands.size
    )
    return 8 * size >= DRAWN * samples.size and colours >= COLOURS * bands.shape[0] * bands.shape[1]


def _worth_trying(samples):
    """(differences, PNG, best WebP): what may win.  On photographs PNG is 22 % larger than WebP at least, differences 5 %."""
    if (
        samples.dtype != np.uint8
        or max(samples.shape[:2]) > WEBP_SIDE
        or samples.shape[0] * samples.shape[1] < 4 * SAMPLE
    ):
        return True, True, True
    bands = _bands(samples)
    quick = webp_size(bands)
    if not photographic(bands, quick):
        return True, True, True
    return (
        len(encode_differences(bands)) < LOSES * quick,
        len(_encode_png(bands, 8)) < LOSES * quick,
        False,
    )


def encode_fallback(samples: np.ndarray, patient: bool = True) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> bytes, by the coder that makes the fewest; (H, W, 1) counts as (H, W).

    patient: whether the BEST effort of WebP is tried where it may win: a hundredth of the time of an image under the prior, for 1 % of what is told beside it.
    """
    if samples.shape[2:] == (1,):
        samples = samples[..., 0]
    deltas, png, best = _worth_trying(samples)
    results = [bytes([DIFFERENCES]) + encode_differences(samples)] if deltas else []
    if samples.dtype == np.uint8 and max(samples.shape[:2]) <= WEBP_SIDE:
        results += _webps(
            samples, QUICK, GOOD, *[BEST] * (best and patient)
        )  # more effort is not always smaller
    if png and (samples.dtype == np.uint8 or samples.dtype == np.uint16 and samples.ndim == 2):
        results.append(bytes([PNG]) + _encode_png(samples, 8 * samples.dtype.itemsize))
    if samples.dtype == np.uint8 and samples.ndim == 2 and (most := int(samples.max())) < 16:
        method = PNG1 if most < 2 else PNG2 if most < 4 else PNG4
        results.append(bytes([method]) + _encode_png(samples, PNG_BITS[method]))
    return min(results, key=len)


class Remembered:
    """encode_plain that remembers what it made of small arrays: of an archive's images it is asked several times, and some are the same."""

    def __init__(self):
        self._made = {}

    def __call__(self, samples: np.ndarray, patient: bool = True) -> bytes:
        """As encode_plain."""
        if samples.shape[0] * samples.shape[1] > REMEMBERED:
            return encode_fallback(samples, patient)
        samples = samples[..., 0] if samples.shape[2:] == (1,) else samples
        key = samples.shape, samples.dtype.str, patient, samples.tobytes()
        if key not in self._made:
            self._made[key] = encode_fallback(samples, patient)
        return self._made[key]


def decode_fallback(data: bytes, shape: tuple, dtype=np.uint8) -> np.ndarray:
    """The mirror of encode_plain.  Sizes are checked before samples are unpacked.  Errors: DamagedFile."""
    if tuple(shape[2:]) == (1,):
        return decode_fallback(data, shape[:2], dtype)[..., None]
    method, body, dtype = data[0] if data else 255, data[1:], np.dtype(dtype)
    if method == DIFFERENCES:
        return decode_differences(body, shape, dtype)
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
