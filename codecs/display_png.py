"""Pixels as a PNG that is quickly made, to be displayed; outputs are written elsewhere."""

import io

import numpy as np


def display_png(pixels: np.ndarray, longest: int = 0) -> bytes:
    """A PNG of (H, W) or (H, W, 1, 3 or 4) uint8.

    longest: pixels of a side, 0 for any; of a larger image, means of equal squares.
    """
    from PIL import Image  # not needed to decode files

    pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    picture, out = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    if longest and max(picture.size) > longest:
        picture = picture.reduce(-(-max(picture.size) // longest))
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()
