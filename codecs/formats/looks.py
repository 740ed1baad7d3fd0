"""Palette and transparency that an image can have: checked before a file is made of them."""

from numbers import Integral

from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage

MOST_PALETTE = 768  # bytes of RGB
MOST_LEVEL = 2**16 - 1  # of a transparent colour


def palette_fits(palette: bytes, alpha: bytes | None) -> bool:
    """Whether a palette is RGB of at most 256 indices, and alpha one byte of each of them."""
    whole = len(palette) % 3 == 0 and len(palette) <= MOST_PALETTE
    return whole and (alpha is None or len(alpha) == len(palette) // 3)


def check_look(image: ImageData) -> None:
    """Errors: UnsupportedImage where a decoder could not show what ImageData.look holds."""
    palette, alpha = (image.look.get(key) for key in ("palette", "palette_alpha"))
    if palette is None:
        fits = alpha is None
    else:
        known = [part for part in (palette, alpha) if part is not None]
        fits = all(isinstance(part, bytes) for part in known) and palette_fits(palette, alpha)
    if not fits:
        raise UnsupportedImage("the palette is invalid")
    if "transparency" in image.look and not _transparency_fits(image):
        raise UnsupportedImage("the transparency is invalid")


def _transparency_fits(image):
    """Whether it is a colour of the mode, or of indices one byte each."""
    value = image.look["transparency"]
    if isinstance(value, bytes):
        return image.mode == "P"
    several = image.mode in ("RGB", "RGB;16")
    if not isinstance(value, tuple if several else Integral):
        return False
    levels = value if several else (value,)
    return len(levels) == (3 if several else 1) and all(
        isinstance(level, Integral) and 0 <= level <= MOST_LEVEL for level in levels
    )
