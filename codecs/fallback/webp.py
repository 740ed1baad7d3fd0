"""Lossless WebP without its container: the bare VP8L stream.

Format: RFC 9649, section 3 (WebP Lossless Bitstream Specification).  Pillow (libwebp) does the
coding; only samples go in, so that four channels of any meaning travel as RGBA.
"""

import io
import struct

import numpy as np
from PIL import Image

MAX_SIDE = 16383  # VP8L stores sides - 1 in 14 bits each
STRIP = 2**22  # pixels that webp_size codes at once: libwebp takes over 30 bytes a pixel
HEADER_BITS = (
    40  # signature 0x2F, 14 bits width - 1, 14 bits height - 1, alpha flag, 3 bits version
)
SUBTRACT_GREEN = 0b101  # bit 1: a transform follows; then its type in 2 bits, low first: 2
# Pillow's words for VP8_ENC_ERROR_OUT_OF_MEMORY and VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY
NO_MEMORY = "encoding error 1", "encoding error 2"
QUICK, GOOD, BEST = (
    {"quality": 75, "method": 4},
    {"quality": 100, "method": 5},
    {"quality": 100, "method": 6},
)


def to_pillow(samples: np.ndarray) -> Image.Image:
    """(H, W) or (H, W, 1 to 4) uint8 -> an RGB or RGBA image; gray is repeated, which VP8L's
    subtract-green transform makes free."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if channels == 1:
        samples = np.repeat(samples.reshape(*samples.shape[:2], 1), 3, 2)
    if channels == 2:
        samples = samples[..., [0, 0, 0, 1]]
    return Image.fromarray(np.ascontiguousarray(samples), "RGBA" if channels in (2, 4) else "RGB")


def encode_webp(image: Image.Image, **effort: int) -> bytes:
    """An RGB or RGBA image -> its VP8L stream.  Errors: MemoryError."""
    out = io.BytesIO()
    try:
        image.save(out, format="WEBP", lossless=True, exact=True, **effort)
    except ValueError as error:
        if str(error) in NO_MEMORY:
            raise MemoryError("too little memory for libwebp") from None
        raise
    data = out.getvalue()
    if data[12:16] != b"VP8L":
        raise ValueError("not a bare VP8L stream")
    return data[20 : 20 + int.from_bytes(data[16:20], "little")]


def decode_webp(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The mirror of encode_webp: samples of this shape, uint8.  Errors: ValueError, OSError,
    SyntaxError."""
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


def _add_green(samples):
    """Green added to red and blue mod 256: the inverse of the transform SUBTRACT_GREEN."""
    samples = samples.copy()
    samples[..., 0] += samples[..., 1]
    samples[..., 2] += samples[..., 1]
    return samples


def encode_without_subtract_green(samples: np.ndarray, effort: dict[str, int]) -> bytes | None:
    """(H, W, 3 or 4) uint8 -> a VP8L stream without SUBTRACT_GREEN, or None if there is none.

    libwebp guesses by a histogram whether that transform helps; only its BEST effort tries both.
    So the samples are coded with green added: libwebp then begins the stream with SUBTRACT_GREEN,
    whose output is `samples`.  Cutting these 3 bits out leaves a valid stream of `samples`.
    """
    data = encode_webp(to_pillow(_add_green(samples)), **effort)
    bits = int.from_bytes(data, "little")
    if bits >> HEADER_BITS & 0b111 != SUBTRACT_GREEN:
        return None
    header = bits & 2**HEADER_BITS - 1
    data = (header | bits >> HEADER_BITS + 3 << HEADER_BITS).to_bytes(len(data), "little")
    try:
        return data if np.array_equal(decode_webp(data, samples.shape), samples) else None
    except (OSError, ValueError, SyntaxError):
        return None


def webp_streams(samples: np.ndarray, *efforts: dict[str, int]) -> list[bytes]:
    """VP8L streams of uint8 samples, one an effort; of GOOD a second one without SUBTRACT_GREEN."""
    image, found = to_pillow(samples), []
    for effort in efforts:
        found.append(encode_webp(image, **effort))
        if effort is GOOD and samples.ndim == 3 and samples.shape[2] >= 3:
            without = encode_without_subtract_green(samples, effort)
            found += [without] if without is not None else []
    return found


def webp_size(samples: np.ndarray, effort: dict[str, int] = QUICK) -> int | None:
    """Bytes of (H, W) or (H, W, C) uint8 as WebP, the byte that names the coder included.

    An image of more than STRIP pixels is coded in strips, whose sizes are added.  None for sides
    that WebP cannot store.
    """
    if max(samples.shape[:2]) > MAX_SIDE:
        return None
    rows = max(1, STRIP // samples.shape[1])
    return sum(
        1 + min(map(len, webp_streams(samples[top : top + rows], effort)))
        for top in range(0, len(samples), rows)
    )
