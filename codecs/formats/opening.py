"""Opening an image file: the checks before and after Pillow decodes it, in their order."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from bitsback.codecs.formats import chunks, deep, jxl, quirks, refusals, tiff_checks, tiffs, views
from bitsback.codecs.formats.pillow_images import look_of, samples_of
from bitsback.codecs.image import MODES, ImageData
from bitsback.errors import UnsupportedImage

SURPLUS = "IDAT (data after the last row)"
UNTURN = {  # Exif orientation: the inverse of the transposition that Pillow applies to TIFFs
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def open_image(stream: BinaryIO, name: str | Path, allow_lossy: bool) -> ImageData:
    """As image_files.read_image, but Pillow's errors are not converted."""
    head = stream.read(12)
    stream.seek(0)
    if jxl.is_jxl(head):
        return jxl.read(stream)
    pillow: Any  # attributes of several of Pillow's classes
    with _opened(stream, head, name) as pillow:
        refusals.refuse_unsuitable(pillow, stream, name, allow_lossy)
        if inner := quirks.inner_png(pillow, stream):
            return replace(open_image(io.BytesIO(inner), name, allow_lossy), source="")
        lossy = allow_lossy and refusals.lossy_reason(pillow, stream) is not None
        quirks.refuse_inexact(pillow, stream, lossy)
        mode = pillow.mode
        if pillow.format == "TIFF":
            mode = tiffs.prepare(pillow, name, lossy)
            tiff_checks.refuse_unsound(stream, name)
        samples = None
        if refusals.is_deep(pillow, stream):
            samples = _deep_samples(pillow, stream, name)
            mode = deep.MODES[samples.shape[2]]
        elif mode not in MODES:
            raise UnsupportedImage(f"{name}: mode {pillow.mode} is not known")
        surplus = False
        if pillow.format == "PNG":
            stream.seek(0)
            surplus = deep.has_more_than_rows(stream.read())
        source, before, orientation = pillow.format, dict(pillow.info), _orientation(pillow)
        if samples is None:
            samples = _load(pillow, orientation, name)
        else:
            _load_deep(pillow, orientation, samples, name)
        quirks.refuse_undeclared_alpha(pillow, stream, samples)
        look = look_of(pillow)
        if pillow.format == "PNG" and "transparency" in look:
            look["transparency"] = chunks.transparent_level(stream, look["transparency"])
        kept, lost = views.read_metadata(pillow, stream, look, before)
        lost = (*lost, SURPLUS) if surplus else lost
        return ImageData(mode, samples, look, kept, source or "", lost)


def _opened(stream, head, name):
    """Pillow's image; of a PNG that it does not know the chunk which may be why."""
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        wrong = chunks.first_wrong(stream) if head.startswith(chunks.SIGNATURE) else None
        if wrong is None:
            raise
        raise UnsupportedImage(f"{name}: damaged image ({wrong} is altered or cut short)") from None


def _deep_samples(pillow, stream, name):
    """(H, W, C) uint16 samples, of which Pillow decodes 8 bits."""
    stream.seek(0)
    if pillow.format == "PNG":
        return deep.read_png(stream.read())
    raw = {str(tile[3][0])[:-1] for tile in pillow.tile}
    if pillow.format == "TIFF" and raw <= {"RGB;16", "RGBA;16"}:
        return deep.read_tiff(stream.read(), name, pillow.tag_v2.get(tiffs.PLANAR, 1) == 2)
    raise UnsupportedImage(
        f"{name}: {pillow.format} of more than 8 bits a sample, which Pillow would read as 8"
    )


def _orientation(pillow):
    """A TIFF's orientation by Exif or XMP; 1 after Pillow loaded it and turned the pixels."""
    found = pillow.getexif().get(views.ORIENTATION, 1) if pillow.format == "TIFF" else 1
    return found if found in UNTURN else 1


def _turned_back(pillow, orientation):
    """A loaded image with its pixels where the file has them."""
    turned = orientation != 1 and _orientation(pillow) == 1
    return pillow.transpose(UNTURN[orientation]) if turned else pillow


def _load(pillow, orientation, name):
    """Loads an image; returns its samples."""
    mode = pillow.mode
    pillow.load()
    if pillow.mode != mode:
        raise UnsupportedImage(f"mode {mode} turned into {pillow.mode} when it was read")
    samples = samples_of(_turned_back(pillow, orientation))
    return tiffs.finished(pillow, samples, name) if pillow.format == "TIFF" else samples


def _load_deep(pillow, orientation, samples, name):
    """Loads an image whose samples are known already; Pillow's must be their upper 8 bits."""
    pillow.load()
    shown = np.array(_turned_back(pillow, orientation))
    shown = shown[..., [0, 3]] if samples.shape[2] == 2 else shown
    if shown.shape != samples.shape or not np.array_equal(shown, (samples >> 8).astype(np.uint8)):
        raise UnsupportedImage(f"{name}: 16-bit samples that Pillow reads in another way")
