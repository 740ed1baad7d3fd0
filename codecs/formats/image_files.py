"""Image files to stills and back, by Pillow.  What cannot be given back exactly is refused."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bitsback.codecs.formats import (
    chunks,
    deep,
    jxl,
    metadata,
    quirks,
    refusals,
    tags,
    tiffs,
    views,
)
from bitsback.codecs.image import MODES, ImageData, same_samples, with_whole_palette
from bitsback.errors import DamagedFile, InputChanged, UnsupportedImage
from bitsback.inputs import opened

IMAGE_SUFFIXES = set(
    ".png .apng .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .gif .ico .tga .pcx .sgi .rgb .ras .qoi .jp2 .j2k "
    ".jpg .jpeg .avif".split()
)  # looked for in folders
if jxl.readable():
    IMAGE_SUFFIXES.add(".jxl")
LOSSLESS_SUFFIXES = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".pfm": "PPM",
}
DEEP = {"RGB;16", "RGBA;16", "LA;16"}
HOLDS = {
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"} | DEEP,
    "WEBP": {"RGB", "RGBA"},
    "BMP": {"1", "L", "P", "RGB"},
    "PPM": {"1", "L", "RGB", "F"},
    "TIFF": {
        "1",
        "L",
        "LA",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBX",
        "RGBa",
        "La",
        "I;16",
        "I;16B",
        "I",
        "F",
        "CMYK",
        "YCbCr",
        "LAB",
    },
}  # modes
UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # undo what Pillow does to TIFFs


# --- reading ---------------------------------------------------------------------------------


def _look(image):
    """Palette and transparency of a loaded image."""
    look, transparency = {}, image.info.get("transparency")
    if image.mode in ("P", "PA") and image.palette:
        kind = image.im.getpalettemode()
        look["palette"] = (
            bytes(image.im.getpalette("RGB", "RGB"))
            if kind == "RGB"
            else bytes(image.im.getpalette("RGBA", "RGB"))
        )
        if kind == "RGBA" and transparency is None:
            look["palette_alpha"] = bytes(image.im.getpalette("RGBA", "A"))
    if transparency is not None and image.mode in ("1", "L", "P", "RGB", "I;16", "I"):
        look["transparency"] = (
            tuple(transparency) if isinstance(transparency, (list, tuple)) else transparency
        )
    return look


def _samples(image):
    dtype, _ = MODES[image.mode]
    return np.ascontiguousarray(np.array(image)).astype(dtype, copy=False)


def _deep_samples(image, stream, name):
    """(H, W, C) uint16 of what Pillow shows in 8 bits."""
    stream.seek(0)
    if image.format == "PNG":
        return deep.read_png(stream.read())
    if image.format == "TIFF" and {str(tile[3][0])[:-1] for tile in image.tile} <= {
        "RGB;16",
        "RGBA;16",
    }:
        return deep.read_tiff(stream.read(), name, image.tag_v2.get(tiffs.PLANAR, 1) == 2)
    raise UnsupportedImage(
        f"{name}: {image.format} of more than 8 bits a sample, which Pillow would read as 8"
    )


def _orientation(image):
    """What a TIFF's Exif or XMP says; Pillow turns the pixels of TIFFs when it loads them, and then says 1."""
    found = image.getexif().get(views.ORIENTATION, 1) if image.format == "TIFF" else 1
    return found if found in UNTURN else 1


def _open_image(stream, name, allow_lossy):
    head = stream.read(12)
    stream.seek(0)
    if jxl.is_jxl(head):
        return jxl.read(stream)
    with Image.open(stream) as image:
        refusals.refuse_unsuitable(image, stream, name, allow_lossy)
        if inner := quirks.inner_png(image, stream):
            return replace(_open_image(io.BytesIO(inner), name, allow_lossy), source="")
        lossy = allow_lossy and refusals.loss(image, stream) is not None
        quirks.refuse_inexact(image, stream, lossy)
        mode = tiffs.prepare(image, name, lossy) if image.format == "TIFF" else image.mode
        loaded = image.mode
        if refusals.is_deep(image, stream):
            samples = _deep_samples(image, stream, name)
            mode = deep.MODES[samples.shape[2]]
        elif mode in MODES:
            samples = None
        else:
            raise UnsupportedImage(f"{name}: mode {image.mode} is not known")
        if image.format == "PNG":
            stream.seek(0)
            deep.refuse_missing_rows(stream.read())
        source, before, orientation = image.format, dict(image.info), _orientation(image)
        image.load()
        turned = (
            image.transpose(UNTURN[orientation])
            if orientation != 1 and _orientation(image) == 1
            else image
        )
        if samples is None:
            if image.mode != loaded:
                raise UnsupportedImage(f"mode {loaded} turned into {image.mode} when it was read")
            samples = _samples(turned)
            samples = tiffs.finished(image, samples, name) if image.format == "TIFF" else samples
        else:
            shown = np.array(turned)
            shown = shown[..., [0, 3]] if mode == "LA;16" else shown
            if shown.shape != samples.shape or not np.array_equal(
                shown, (samples >> 8).astype(np.uint8)
            ):
                raise UnsupportedImage(f"{name}: 16-bit samples that Pillow reads in another way")
        quirks.refuse_unsaid_alpha(image, stream, samples)
        look = _look(image)
        if image.format == "PNG" and "transparency" in look:
            look["transparency"] = chunks.transparent_level(stream, look["transparency"])
        kept, lost = views.carried(image, stream, look, before, orientation)
        return ImageData(mode, samples, look, kept, source or "", lost)


def read_image(source, name, *, allow_lossy: bool = False) -> ImageData:
    """A path or seekable binary stream -> ImageData.  name: for errors.  Pixels are never rotated or
    converted.

    allow_lossy: take JPEG and the like too.  Errors: UnsupportedImage, LossySource, OSError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about damaged metadata
            if isinstance(source, (str, Path)):
                with opened(source) as (stream, _):
                    return _open_image(stream, name, allow_lossy)
            return _open_image(source, name, allow_lossy)
    except UnidentifiedImageError:
        raise UnsupportedImage(f"{name}: not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedImage(f"{name}: {error}") from None
    except UnsupportedImage as error:
        named = str(error).startswith(f"{name}: ")
        raise error if named else type(error)(f"{name}: {error}") from None
    except DamagedFile as error:
        raise UnsupportedImage(f"{name}: damaged image ({error})") from None
    except Exception as error:  # Pillow's plugins raise a dozen kinds on altered files
        if isinstance(
            error,
            (
                FileNotFoundError,
                PermissionError,
                IsADirectoryError,
                NotADirectoryError,
                InputChanged,
            ),
        ):
            raise
        raise UnsupportedImage(f"{name}: damaged image ({error})") from None


# --- writing ---------------------------------------------------------------------------------


def image_format(path: Path) -> str:
    """Pillow's name of the lossless format that a path's suffix asks for.  Errors: UnsupportedImage."""
    suffix = path.suffix.lower()
    if suffix not in LOSSLESS_SUFFIXES:
        raise UnsupportedImage(
            f"{path}: pixels can be restored to {', '.join(LOSSLESS_SUFFIXES)} only"
        )
    return LOSSLESS_SUFFIXES[suffix]


def default_suffix(mode: str) -> str:
    """.png where it holds the mode, else .tiff."""
    return ".png" if mode in HOLDS["PNG"] else ".tiff"


def refuse_mode(mode: str, file_format: str, name) -> None:
    """Errors: UnsupportedImage where a format cannot hold a mode, with those that can."""
    if mode not in HOLDS[file_format]:
        able = [known for known, modes in HOLDS.items() if mode in modes]
        raise UnsupportedImage(
            f"{name}: {file_format} cannot hold mode {mode}; {' or '.join(able) or 'no format that is written here'} can"
        )


def to_image(image: ImageData) -> Image.Image:
    """A Pillow pillow of the same mode, pixels, palette and transparency; `info` holds icc_profile,
    exif, xmp and dpi too.

    Errors: UnsupportedImage for the 16-bit modes that Pillow does not have; DamagedFile for a
    palette that is none.
    """
    if image.mode in DEEP:
        raise UnsupportedImage(f"Pillow has no mode {image.mode}; `samples` holds it")
    if image.mode == "1":
        pillow = Image.fromarray(image.samples.astype(bool))
    else:
        samples = image.samples.astype(">u2") if image.mode == "I;16B" else image.samples
        pillow = Image.frombytes(
            image.mode, (image.width, image.height), np.ascontiguousarray(samples).tobytes()
        )
    palette = image.look.get("palette")
    if palette is not None:
        alpha = image.look.get("palette_alpha")
        if (
            len(palette) % 3
            or not 0 < len(palette) <= 768
            or alpha is not None
            and len(alpha) != len(palette) // 3
        ):
            raise DamagedFile("a palette that is none")
        if alpha is None:
            pillow.putpalette(palette, "RGB")
        else:
            pillow.putpalette(
                np.dstack(
                    [
                        np.frombuffer(palette, np.uint8).reshape(1, -1, 3),
                        np.frombuffer(alpha, np.uint8)[None],
                    ]
                ).tobytes(),
                "RGBA",
            )
    if "transparency" in image.look:
        if image.mode == "P" and isinstance(image.look["transparency"], tuple):
            raise DamagedFile("a transparency that is none")
        pillow.info["transparency"] = image.look["transparency"]
    shown = views.views(image.metadata)
    for key, name in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp"), ("dpi", "dpi")):
        if key in shown:
            pillow.info[name] = shown[key]
    return pillow


def _write(image, stream, file_format):
    options = views.save_options(image.metadata, file_format)
    if image.mode in DEEP:
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


def _write_whole(image, file_format):
    """Bytes as `_write` makes them, with a PNG's chunks in a PNG and a TIFF's tags in a TIFF."""
    out = io.BytesIO()
    _write(image, out, file_format)
    data = out.getvalue()
    if file_format == "PNG" and ("png" in image.metadata or image.mode == "1" and image.look):
        return chunks.with_chunks(data, image.metadata.get("png", ()), image.samples)
    if file_format == "TIFF" and "tiff" in image.metadata:
        return tags.with_tags(data, image.metadata["tiff"])
    return data


def _shows_the_same(a: ImageData, b: ImageData):
    """Whether samples, palette and transparency are the same; I;16 has several byte orders, a palette more entries than are used."""
    modes = {"I;16B": "I;16"}
    if modes.get(a.mode, a.mode) != modes.get(b.mode, b.mode) or not same_samples(
        a.samples, b.samples
    ):
        return False
    if "palette" not in a.look:
        return a.look == b.look
    return np.array_equal(
        *(np.array(to_image(image.stripped()).convert("RGBA")) for image in (a, b))
    )


def written_bytes(
    image: ImageData, attempt: ImageData, file_format: str, name
) -> tuple[bytes, list[str]]:
    """(bytes, names of the metadata that are not in them) of `attempt`, read again and found to
    show `image`.  Errors: UnsupportedImage.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _write_whole(attempt, file_format)
    except Exception as error:  # Pillow's writers raise a dozen kinds on odd metadata
        told = f"{file_format} cannot hold this image ({error})"
        raise UnsupportedImage(f"{name}: {told}") from None
    written = read_image(io.BytesIO(data), name)
    if not _shows_the_same(image, written):
        raise UnsupportedImage(
            f"{name}: {file_format} does not give this image back as it is (mode {image.mode})"
        )
    return data, metadata.missing(image.metadata, written.metadata)


def image_bytes(image: ImageData, file_format: str, name) -> tuple[bytes, list[str]]:
    """An ImageData in a lossless format, read again and compared: (bytes, names of the metadata that the
    format cannot hold).

    name: of the output, for errors.  Errors: UnsupportedImage.
    """
    refuse_mode(image.mode, file_format, name)
    try:
        return written_bytes(image, image, file_format, name)
    except UnsupportedImage:
        if not image.metadata:
            raise
    # odd metadata may be more than a writer, or a reader, can take
    return written_bytes(image, image.stripped(), file_format, name)
