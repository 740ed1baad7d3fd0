"""Image files, read to ImageData and written from it, mostly by Pillow.

Pixels are never rotated or converted: an image that could not be restored exactly is refused.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from bitsback.codecs.formats import chunks, deep, exif_tags, metadata, tags, tiffs, views
from bitsback.codecs.formats.opening import open_image
from bitsback.codecs.formats.output_formats import (
    HOLDS,
    LOSSLESS_SUFFIXES,
    NOT_PILLOWS,
    default_suffix,
    image_format,
    refuse_mode,
)
from bitsback.codecs.formats.pillow_images import to_image
from bitsback.codecs.image import ImageData, same_samples, with_whole_palette
from bitsback.errors import InputChanged, UnsupportedImage
from bitsback.inputs import opened
from bitsback.shared_block import without_warnings

__all__ = [
    "HOLDS",
    "IMAGE_SUFFIXES",
    "LOSSLESS_SUFFIXES",
    "default_suffix",
    "image_bytes",
    "image_format",
    "read_image",
    "refuse_mode",
    "to_image",
    "written_bytes",
]

IMAGE_SUFFIXES = set(  # of the files read from folders: those of all formats that can be coded
    ".png .apng .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .gif .ico .tga .icb .vda .vst "
    ".pcx .sgi .rgb .rgba .bw .ras .qoi .xbm .xpm .msp .jp2 .j2k .jpc .jpf .jpx .j2c .jpg .jpeg "
    ".jpe .jfif .avif .avifs .jxl".split()
)
ERRORS_OF_FILES = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    InputChanged,
)


def read_image(
    source: str | Path | BinaryIO, name: str | Path, *, allow_lossy: bool = False
) -> ImageData:
    """Reads a path or a seekable binary stream.  name: of the image, for errors.

    allow_lossy: accept JPEG and other lossy formats.  Errors: UnsupportedImage, LossySource,
    OSError.
    """
    try:
        with without_warnings():  # Pillow warns of damaged metadata
            if isinstance(source, (str, Path)):
                with opened(source) as (stream, _):
                    return open_image(stream, name, allow_lossy)
            return open_image(source, name, allow_lossy)
    except UnidentifiedImageError:
        raise UnsupportedImage(f"{name}: not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedImage(f"{name}: {error}") from None
    except UnsupportedImage as error:
        named = str(error).startswith(f"{name}: ")
        raise error if named else type(error)(f"{name}: {error}") from None
    except ERRORS_OF_FILES:
        raise
    except Exception as error:  # DamagedFile, and many kinds from Pillow's plugins
        raise UnsupportedImage(f"{name}: damaged image ({error})") from None


def image_bytes(image: ImageData, file_format: str, name: str | Path) -> tuple[bytes, list[str]]:
    """Writes an image in a lossless format, reads it again and compares it.

    name: of the output, for errors.  Returns (bytes, names of metadata that they do not hold).
    Errors: UnsupportedImage.
    """
    refuse_mode(image.mode, file_format, name)
    try:
        return written_bytes(image, image, file_format, name)
    except UnsupportedImage:
        if not image.metadata:
            raise
    # a writer or reader may fail on unusual metadata
    return written_bytes(image, image.stripped(), file_format, name)


def written_bytes(
    image: ImageData, attempt: ImageData, file_format: str, name: str | Path
) -> tuple[bytes, list[str]]:
    """As image_bytes, but writes `attempt`, which is `image` with all or part of its metadata."""
    try:
        with without_warnings():
            data = _write_whole(attempt, file_format)
    except Exception as error:  # Pillow's writers raise many kinds on unusual metadata
        raise UnsupportedImage(f"{name}: {file_format} cannot hold this image ({error})") from None
    written = read_image(io.BytesIO(data), name)
    if not _shows_the_same(image, written):
        raise UnsupportedImage(
            f"{name}: {file_format} does not restore this image exactly (mode {image.mode})"
        )
    missing = metadata.missing(image.metadata, written.metadata)
    if "exif" not in missing and not exif_tags.is_held(image.metadata, written.metadata):
        missing.append("exif")
    return data, missing


def _write_whole(image, file_format):
    """The bytes of a file, with a PNG's chunks if it is a PNG, a TIFF's tags if it is a TIFF."""
    out = io.BytesIO()
    _write(image, out, file_format)
    data = out.getvalue()
    if file_format == "PNG" and ("png" in image.metadata or image.mode == "1" and image.look):
        return chunks.with_chunks(data, image.metadata.get("png", ()), image.samples)
    if file_format == "TIFF" and image.metadata:
        own = image.metadata.get("tiff")
        return tags.with_tags(data, views.as_tags(image.metadata, data) if own is None else own)
    return data


def _write(image, stream, file_format):
    options = views.save_options(image.metadata, file_format)
    if image.mode in NOT_PILLOWS:
        if "transparency" in image.look:
            options["transparency"] = image.look["transparency"]
        deep.write_png(image.samples, stream, **options)
        return
    if image.mode in tiffs.WRITTEN_AS:
        out = io.BytesIO()
        _write(replace(image, mode=tiffs.WRITTEN_AS[image.mode]), out, file_format)
        stream.write(tiffs.mark_associated(out.getvalue()))
        return
    pillow = to_image(with_whole_palette(image.stripped()))
    if file_format == "WEBP":
        options |= {"lossless": True, "exact": True}
    pillow.save(stream, format=file_format, **options)


def _shows_the_same(a, b):
    """Whether samples, palette and transparency agree.

    Byte orders of I;16 and unused palette entries do not count.  What Pillow cannot show, such as a
    transparent colour beyond its palette, does not.
    """
    modes = {"I;16B": "I;16"}
    if modes.get(a.mode, a.mode) != modes.get(b.mode, b.mode):
        return False
    if not same_samples(a.samples, b.samples):
        return False
    if "palette" not in a.look:
        return a.look == b.look
    try:
        shown = [np.array(to_image(image.stripped()).convert("RGBA")) for image in (a, b)]
    except Exception:  # of many kinds, as its writers'
        return False
    return np.array_equal(*shown)
