"""TIFFs that Pillow would convert silently: they are read raw, or refused with the reason.

Pillow divides colours by an associated alpha (and clips), drops channels without a declared
meaning, reads signed bytes as unsigned ones, swaps the bytes of compressed big-endian samples,
converts compressed YCbCr to RGB, and misreads planes of other than 8 bits.  Only kinds that are
known to be read exactly are accepted.

Exact means: WhiteIsZero becomes BlackIsZero; 1, 2 and 4 bits of gray become 1 and 8 bits, where
black and white stay the same and different values stay different; 12 bits become the same integers
in 16 bits.  FillOrder, tiles, strips, planes and predictors are only layout.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from bitsback.errors import UnsupportedImage

PHOTOMETRIC, FORMAT, BITS, EXTRA, PLANAR, COLOURS = 262, 339, 258, 338, 284, 320
OFFSETS, COUNTS = (273, 324), (279, 325)  # positions and sizes of strips and of tiles
SUBSAMPLING, COEFFICIENTS, REFERENCE = 530, 529, 532
USUAL_COEFFICIENTS, USUAL_REFERENCE = (0.299, 0.587, 0.114), (0, 255, 128, 255, 128, 255)
INKS, FOLDERS, LAYERS = 332, 330, 37724
WHITE, BLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSPECIFIED, ASSOCIATED = (0,), (1,)  # extra samples
STRAIGHT = {(), (2,), (999,)}  # no extra sample, unassociated alpha, Corel Draw's value for it
RAW = {  # (photometric, extra samples) with 8 bits: ImageData.mode
    (RGB, ASSOCIATED): "RGBa",
    (BLACK, ASSOCIATED): "La",
    (RGB, UNSPECIFIED): "RGBX",
}
# modes with associated alpha: the mode written by Pillow, whose alpha is then marked as associated
WRITTEN_AS = {"RGBa": "RGBA", "La": "LA"}
# raw modes of compressed files, which libtiff decodes to native byte order
NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}


def _tuple(image, tag, default):
    """A tag's values."""
    value = image.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _compressed(image):
    return image.tile[0][0] == "libtiff"


def _reason(image):
    """Why Pillow would not decode the samples exactly, or None."""
    tags, photometric = image.tag_v2, image.tag_v2.get(PHOTOMETRIC, WHITE)
    bits, extra = set(_tuple(image, BITS, 1)), _tuple(image, EXTRA, ())
    signs, planar = set(_tuple(image, FORMAT, 1)), tags.get(PLANAR, 1) == 2
    if FOLDERS in tags or LAYERS in tags:
        return "further images in it (SubIFDs, as in a camera's raw file, or layers)"
    if any(0 in _tuple(image, tag, ()) for tag in (*OFFSETS, *COUNTS)):
        return "strips or tiles missing"
    if extra not in STRAIGHT and ((photometric, extra) not in RAW or bits != {8}):
        kinds = ", ".join(map(str, extra))
        return f"channels that would be lost or divided (ExtraSamples {kinds}, {max(bits)} bits)"
    if signs == {2} and min(bits) <= 8:
        return "signed samples of 8 bits, which no format here can hold"
    if photometric == WHITE and signs == {3}:
        return "floating-point samples of which 0 is white, which would be restored as negative"
    if planar and (
        extra == ASSOCIATED
        or photometric == LAB
        or extra
        and photometric in (WHITE, BLACK)  # the plane of alpha would be zeros
        or not _compressed(image)
        and (bits != {8} or photometric not in (RGB, CMYK))
    ):
        return "planes that Pillow would read wrongly"
    if photometric == YCBCR:
        return _ycbcr_reason(image)
    if photometric == CMYK and tags.get(INKS, 1) != 1:
        return "inks other than cyan, magenta, yellow and black"
    if photometric == PALETTE and any(
        value % 256 not in (0, value // 256) for value in _tuple(image, COLOURS, ())
    ):
        return "a palette of 16 bits a colour, which Pillow would reduce to 8"
    return None


def _ycbcr_reason(image):
    """As _reason, of a YCbCr TIFF."""
    coefficients = _tuple(image, COEFFICIENTS, USUAL_COEFFICIENTS)
    reference = _tuple(image, REFERENCE, USUAL_REFERENCE)
    if _compressed(image):
        return "compressed YCbCr, which Pillow would convert to RGB with loss"
    if _tuple(image, SUBSAMPLING, (2, 2)) != (1, 1):
        return "YCbCr with subsampled colours"
    rounded = tuple(round(float(value), 3) for value in coefficients)
    if rounded != USUAL_COEFFICIENTS or tuple(map(float, reference)) != USUAL_REFERENCE:
        return "YCbCr with unusual coefficients"
    return None


def _with_rawmode(tile, rawmode):
    """A tile of Pillow's with another raw mode."""
    values = (*tile[:3], (rawmode, *tile[3][1:]))
    return tile._make(values) if hasattr(tile, "_make") else values


def prepare(image: TiffImageFile, name: str | Path, lossy: bool) -> str:
    """Makes Pillow decode an opened TIFF exactly; returns the ImageData.mode it will have.

    lossy: let Pillow convert YCbCr.  Errors: UnsupportedImage, with the reason.
    """
    arguments: Any = image.tile[0][3]
    photometric, rawmode = image.tag_v2.get(PHOTOMETRIC, WHITE), arguments[0]
    reason = None if lossy and photometric == YCBCR else _reason(image)
    if reason:
        raise UnsupportedImage(f"{name}: TIFF with {reason}")
    if rawmode in NATIVE and _compressed(image):
        image.tile = [_with_rawmode(tile, NATIVE[rawmode]) for tile in image.tile]
    mode = RAW.get((photometric, _tuple(image, EXTRA, ())))
    if mode in ("RGBa", "RGBX"):
        attribute = "_mode" if hasattr(image, "_mode") else "mode"  # by Pillow's version
        setattr(image, attribute, "RGBX" if mode == "RGBX" else "RGBA")
        # the raw mode RGBa would divide colours by alpha
        image.tile = [_with_rawmode(tile, image.mode) for tile in image.tile]
    return mode or image.mode


def finished(image: TiffImageFile, samples: np.ndarray, name: str | Path) -> np.ndarray:
    """The loaded samples, inverted if 0 is white.

    Errors: UnsupportedImage for unsigned 32-bit samples that int32 cannot hold.
    """
    if image.tag_v2.get(PHOTOMETRIC, WHITE) == WHITE and samples.dtype.itemsize == 2:
        return samples ^ np.uint16(0xFFFF)  # Pillow inverts up to 8 bits itself
    if image.mode == "I" and set(_tuple(image, FORMAT, 1)) == {1} and samples.min() < 0:
        raise UnsupportedImage(
            f"{name}: TIFF with unsigned samples of 32 bits, of which some are 2^31 or more"
        )
    return samples


def mark_associated(data: bytes) -> bytes:
    """An RGBA or LA TIFF by Pillow, with its alpha marked as associated (premultiplied colours)."""
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    entry = next(
        at
        for at in range(place + 2, place + 2 + 12 * count, 12)
        if struct.unpack_from("<H", data, at) == (EXTRA,)
    )
    return data[: entry + 8] + struct.pack("<H", *ASSOCIATED) + data[entry + 10 :]
