"""A conventional lossless coder for what the prior does not suit: tiny pictures, the first strip.

WebP lossless or PNG, whichever is smaller, both by Pillow.  The bytes say themselves which.
"""
import io

import numpy as np
from PIL import Image

from ..errors import DamagedFile

WEBP_SIDE = 16383


def _webp(image, **options):
    out = io.BytesIO()
    image.save(out, format="WEBP", lossless=True, exact=True, **options)
    return out.getvalue()


def quick_plain_size(pixels):
    """Bytes of a WebP made in a twentieth of the time; the best one is at most some 3 % smaller."""
    if max(pixels.shape[:2]) > WEBP_SIDE:
        return None
    return len(_webp(Image.fromarray(pixels), quality=75, method=4))


def encode_plain(pixels):
    """(H, W, 3) uint8 -> bytes of the smaller of WebP lossless and PNG (PNG for what WebP cannot hold, and small)."""
    image, results = Image.fromarray(pixels), []
    if max(image.size) <= WEBP_SIDE:
        results += [_webp(image, quality=100, method=6), _webp(image, quality=75, method=4)]     # effort is not always smaller
    if not results or pixels.size < 3 * 64 * 64:
        out = io.BytesIO()
        image.save(out, format="PNG", optimize=True)
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
