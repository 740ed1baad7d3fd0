"""TIFFs as they are stored: what Pillow would convert without a word is read raw, or refused with
the reason.

Pillow divides colours by an associated alpha (and clips), drops channels that a file does not
explain, takes signed bytes for unsigned ones, swaps the bytes of compressed big-endian numbers,
converts compressed YCbCr to RGB, and reads planes of other than 8 bits wrongly.  A table of what is
read exactly, so that a new kind is refused until it is looked at.

Kept means here: WhiteIsZero is turned into BlackIsZero, 1, 2 and 4 bits of gray into 1 and 8 (black
stays black and white white, each value its own), 12 bits into the same numbers in 16; FillOrder,
tiles, strips, planes and predictors are ways of storing.
"""

import struct

import numpy as np
from PIL import Image

from bitsback.errors import UnsupportedImage

PHOTOMETRIC, FORMAT, BITS, EXTRA, PLANAR, COLOURS = 262, 339, 258, 338, 284, 320
OFFSETS = (273, 324)  # of strips, of tiles
COUNTS = (279, 325)  # their bytes
SUBSAMPLING, COEFFICIENTS, REFERENCE = 530, 529, 532
INKS, FOLDERS, LAYERS = 332, 330, 37724
WHITE, BLACK, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSPECIFIED, ASSOCIATED = (0,), (1,)  # extra samples
STRAIGHT = {(), (2,), (999,)}  # none; unassociated alpha; Corel Draw's number for it
RAW = {  # (photometric, extra samples) of 8 bits: mode of an ImageData
    (RGB, ASSOCIATED): "RGBa",
    (BLACK, ASSOCIATED): "La",
    (RGB, UNSPECIFIED): "RGBX",
}
WRITTEN_AS = {
    "RGBa": "RGBA",
    "La": "LA",
}  # what Pillow writes and extra samples then mark as associated alpha
NATIVE = {
    "I;16BS": "I;16NS",
    "I;32BS": "I;32NS",
    "F;32BF": "F;32NF",
}  # libtiff hands over native numbers, whatever the file's order


def _tuple(image, tag, default):
    value = image.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _compressed(image):
    return image.tile[0][0] == "libtiff"


def _reason(image):
    """Why Pillow would not hand over the samples as they are, or None."""
    tags, photometric = image.tag_v2, image.tag_v2.get(PHOTOMETRIC, WHITE)
    bits, extra = set(_tuple(image, BITS, 1)), _tuple(image, EXTRA, ())
    signs, planar = set(_tuple(image, FORMAT, 1)), tags.get(PLANAR, 1) == 2
    if FOLDERS in tags or LAYERS in tags:
        return "further images within (SubIFDs, as in a camera's raw file, or layers)"
    if 0 in (
        *_tuple(image, OFFSETS[0], ()),
        *_tuple(image, OFFSETS[1], ()),
        *_tuple(image, COUNTS[0], ()),
        *_tuple(image, COUNTS[1], ()),
    ):
        return "strips or tiles are missing"
    if extra not in STRAIGHT and ((photometric, extra) not in RAW or bits != {8}):
        told = ", ".join(map(str, extra))
        return f"channels that would be lost or divided (ExtraSamples {told}, {max(bits)} bits)"
    if signs == {2} and min(bits) <= 8:
        return "signed samples of 8 bits, which no format here can hold"
    if photometric == WHITE and signs == {3}:
        return "numbers of which 0 is white, which would come back as negative"
    if planar and (
        extra == ASSOCIATED
        or photometric == LAB
        or extra
        and photometric in (WHITE, BLACK)  # the plane of alpha comes out as zeros
        or not _compressed(image)
        and (bits != {8} or photometric not in (RGB, CMYK))
    ):
        return "planes that Pillow would read wrongly"
    if photometric == YCBCR:
        return _ycbcr_reason(image)
    if photometric == CMYK and tags.get(INKS, 1) != 1:
        return "other inks than cyan, magenta, yellow and black"
    if photometric == PALETTE and any(
        value % 256 not in (0, value // 256) for value in _tuple(image, COLOURS, ())
    ):
        return "a palette of 16 bits a colour, of which Pillow would keep 8"
    return None


def _ycbcr_reason(image):
    coefficients, reference = (
        _tuple(image, COEFFICIENTS, (0.299, 0.587, 0.114)),
        _tuple(image, REFERENCE, (0, 255, 128, 255, 128, 255)),
    )
    if _compressed(image):
        return "compressed YCbCr, which Pillow would convert to RGB with loss"
    if _tuple(image, SUBSAMPLING, (2, 2)) != (1, 1):
        return "YCbCr of fewer colour samples than pixels"
    if [round(float(c), 3) for c in coefficients] != [0.299, 0.587, 0.114] or tuple(
        map(float, reference)
    ) != (0, 255, 128, 255, 128, 255):
        return "YCbCr of other coefficients than the usual ones"
    return None


def _with_rawmode(tile, rawmode):
    values = (*tile[:3], (rawmode, *tile[3][1:]))
    return tile._make(values) if hasattr(tile, "_make") else values


def prepare(image: Image.Image, name, lossy: bool) -> str:
    """Has an opened TIFF read as it is stored; returns the mode of the ImageData it will be.

    lossy: leave YCbCr to Pillow, as a JPEG's.  Errors: UnsupportedImage, with the reason.
    """
    photometric, rawmode = image.tag_v2.get(PHOTOMETRIC, WHITE), image.tile[0][3][0]
    reason = None if lossy and photometric == YCBCR else _reason(image)
    if reason:
        raise UnsupportedImage(f"{name}: TIFF with {reason}")
    if rawmode in NATIVE and _compressed(image):
        image.tile = [_with_rawmode(tile, NATIVE[rawmode]) for tile in image.tile]
    mode = RAW.get((photometric, _tuple(image, EXTRA, ())))
    if mode in ("RGBa", "RGBX"):
        setattr(
            image,
            "_mode" if hasattr(image, "_mode") else "mode",
            "RGBX" if mode == "RGBX" else "RGBA",
        )
        image.tile = [
            _with_rawmode(tile, image.mode) for tile in image.tile
        ]  # instead of RGBa, which would be divided
    return mode or image.mode


def finished(image: Image.Image, samples: np.ndarray, name) -> np.ndarray:
    """The loaded samples with black as 0.

    Errors: UnsupportedImage for what their type cannot hold.
    """
    if image.tag_v2.get(PHOTOMETRIC, WHITE) == WHITE and samples.dtype.itemsize == 2:
        return samples ^ np.uint16(0xFFFF)  # Pillow turns those of up to 8 bits itself
    if image.mode == "I" and set(_tuple(image, FORMAT, 1)) == {1} and samples.min() < 0:
        raise UnsupportedImage(
            f"{name}: TIFF with unsigned samples of 32 bits, of which some are 2^31 or more"
        )
    return samples


def mark_associated(data: bytes) -> bytes:
    """Bytes of an RGBA or LA TIFF of Pillow's -> the same with its alpha marked as associated:
    premultiplied colours.
    """
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    entry = next(
        at
        for at in range(place + 2, place + 2 + 12 * count, 12)
        if struct.unpack_from("<H", data, at) == (EXTRA,)
    )
    return data[: entry + 8] + struct.pack("<H", *ASSOCIATED) + data[entry + 10 :]
