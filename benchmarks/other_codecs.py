"""The lossless codecs that benchmarks compare with, at their best settings."""

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

# (write, read)
Codec = tuple[Callable[[np.ndarray], bytes | bytearray], Callable[[bytes], np.ndarray]]


def _pillow(**options: Any) -> Codec:
    def write(pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, **options)
        return out.getvalue()

    return write, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def _jxl(effort: int) -> Codec:
    return (
        lambda pixels: imagecodecs.jpegxl_encode(
            pixels, lossless=True, effort=effort, numthreads=1
        ),
        lambda data: imagecodecs.jpegxl_decode(data, numthreads=1),
    )


OTHER_CODECS: dict[str, Codec] = {
    "PNG": _pillow(format="PNG", optimize=True),
    "WebP": _pillow(format="WEBP", lossless=True, quality=100, method=6, exact=True),
    "JPEG 2000": (
        lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, numthreads=1),
        imagecodecs.jpeg2k_decode,
    ),
    "JPEG XL e7": _jxl(7),
    "JPEG XL e9": _jxl(9),
}
