"""The samples, palette and transparency of an image, from Pillow and to Pillow."""

from typing import Any

import numpy as np
from PIL import Image

from bitsback.codecs.formats import views
from bitsback.codecs.formats.looks import palette_fits
from bitsback.codecs.formats.output_formats import NOT_PILLOWS
from bitsback.codecs.image import MODES, ImageData
from bitsback.errors import DamagedFile, UnsupportedImage

INFO = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp", "dpi": "dpi"}  # key: Pillow's key


def look_of(pillow: Image.Image) -> dict:
    """Palette and transparency of a loaded Pillow image, as ImageData.look."""
    look: dict[str, Any] = {}
    transparency = pillow.info.get("transparency")
    if pillow.mode in ("P", "PA") and pillow.palette:
        kind = "RGB" if pillow.im.getpalettemode() == "RGB" else "RGBA"
        look["palette"] = bytes(pillow.im.getpalette(kind, "RGB"))
        if pillow.im.getpalettemode() == "RGBA" and transparency is None:
            look["palette_alpha"] = bytes(pillow.im.getpalette("RGBA", "A"))
    if transparency is not None and pillow.mode in ("1", "L", "P", "RGB", "I;16", "I"):
        look["transparency"] = (
            tuple(transparency) if isinstance(transparency, (list, tuple)) else transparency
        )
    return look


def samples_of(pillow: Image.Image) -> np.ndarray:
    """The samples of a loaded Pillow image, as ImageData.samples of its mode."""
    dtype, _ = MODES[pillow.mode]
    return np.ascontiguousarray(np.array(pillow)).astype(dtype, copy=False)


def to_image(image: ImageData) -> Image.Image:
    """A Pillow image with the same mode, samples, palette and transparency.

    Its `info` also has icc_profile, exif, xmp and dpi.  Errors: UnsupportedImage for 16-bit modes
    that Pillow does not have; DamagedFile for an invalid palette or transparency.
    """
    if image.mode in NOT_PILLOWS:
        raise UnsupportedImage(f"Pillow has no mode {image.mode}; use `samples`")
    if image.mode == "1":
        pillow = Image.fromarray(image.samples.astype(bool))
    else:
        samples = image.samples.astype(">u2") if image.mode == "I;16B" else image.samples
        pillow = Image.frombytes(
            image.mode, (image.width, image.height), np.ascontiguousarray(samples).tobytes()
        )
    if image.look.get("palette"):  # one without entries is that of a new image
        pillow.putpalette(*_palette(image.look["palette"], image.look.get("palette_alpha")))
    if "transparency" in image.look:
        if image.mode == "P" and isinstance(image.look["transparency"], tuple):
            raise DamagedFile("the transparency is invalid")
        pillow.info["transparency"] = image.look["transparency"]
    shown = views.views(image.metadata)
    pillow.info |= {INFO[key]: shown[key] for key in INFO if key in shown}
    return pillow


def _palette(palette, alpha):
    """(bytes, mode) for Pillow.  Errors: DamagedFile."""
    if not palette_fits(palette, alpha):
        raise DamagedFile("the palette is invalid")
    if alpha is None:
        return palette, "RGB"
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    return np.column_stack([colours, np.frombuffer(alpha, np.uint8)]).tobytes(), "RGBA"
