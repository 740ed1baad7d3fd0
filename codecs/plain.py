"""A conventional lossless coder for what the prior does not suit: tiny pictures, the first strip.

WebP lossless or PNG, whichever is smaller, both by Pillow.  The bytes say themselves which.
"""
import io

import numpy as np
from PIL import Image

from ..errors import DamagedFile

WEBP_SIDE = 16383


def encode_plain(pixels):
    """(H, W, 3) uint8 -> bytes of the smaller of WebP lossless and PNG."""
    image, candidates = Image.fromarray(pixels), []
    if max(image.size) <= WEBP_SIDE:
        candidates.append({"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True})
    if not candidates or pixels.size < 3 * 64 * 64:
        candidates.append({"format": "PNG", "optimize": True})
    results = []
    for options in candidates:
        out = io.BytesIO()
        image.save(out, **options)
        results.append(out.getvalue())
    return min(results, key=len)


def decode_plain(data, width, height):
    """The mirror of encode_plain.  The size is checked before pixels are unpacked.  Errors: DamagedFile."""
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "PNG")) as image:
            if image.size != (width, height) or image.mode != "RGB":
                raise DamagedFile("the plain part has another size than the header says")
            return np.array(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DamagedFile("the plain part does not decode") from None
