"""Image files that are refused: lossily compressed ones, several images in one, non-images.

All functions examine an image that Pillow has opened but not loaded, so a refusal decodes nothing.
"""

from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

from bitsback.codecs.formats import avif, jpeg2000
from bitsback.codecs.formats.containers import chunks
from bitsback.errors import LossySource, UnsupportedImage

LOSSY = {"JPEG", "MPO", "HEIF", "PCD", "MIC", "FPX", "BLP", "FTEX"}
DRAWN = {"EPS", "WMF", "PDF", "GRIB", "BUFR", "HDF5", "MPEG"}  # without pixels of their own
MAYBE = "may have been compressed with loss already"
LOSSY_IN_TIFF = {"jpeg", "tiff_jpeg", "webp", "jpeg2000"}


def _chunk_names(stream):
    """Names of the chunks of a RIFF file."""
    return {name for name, *_ in chunks(stream)}


def lossy_reason(image: ImageFile.ImageFile, stream: BinaryIO) -> str | None:
    """Why the file's pixels are not those that were compressed, or None, judged by its headers.

    The stream's position changes.
    """
    webp = image.format == "WEBP" and b"VP8 " in _chunk_names(stream)
    tiff = image.format == "TIFF" and image.info.get("compression") in LOSSY_IN_TIFF
    if webp or tiff or image.format in LOSSY or any(tile[0] == "bcn" for tile in image.tile):
        return "was compressed with loss already"
    if image.format == "JPEG2000":
        found = jpeg2000.inspect(stream).loss
    elif image.format == "AVIF":
        stream.seek(0)
        found = avif.lossy_reason(stream.read())
    else:
        return None
    if found and found.startswith(jpeg2000.UNDECIDED):
        return f"{MAYBE} ({found})"
    return found and f"was compressed with loss already ({found})"


def is_deep(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    """Whether the file has more bits per sample than Pillow's mode for it."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "JPEG2000":
        return max(jpeg2000.inspect(stream).depths, default=0) > 8
    if image.format in ("AVIF", "HEIF"):
        stream.seek(0)
        data = stream.read(2**16)
        return data.find(b"av1C") < 0 or bool(data[data.find(b"av1C") + 6] & 0x40)
    return any(";16" in str(tile[3]) and "BGR;16" not in str(tile[3]) for tile in image.tile)


def _maximum(image):
    """The maximum in the header of a PPM or PGM, to which Pillow scales samples; else None."""
    if image.format != "PPM" or not image.tile or not image.tile[0][0].startswith("ppm"):
        return None
    arguments = image.tile[0][3]
    return arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) else None


def refuse_unsuitable(
    image: ImageFile.ImageFile, stream: BinaryIO, name: str | Path, allow_lossy: bool
) -> None:
    """Errors: UnsupportedImage, LossySource, with the reason."""
    if image.format in DRAWN:
        raise UnsupportedImage(f"{name}: {image.format} does not contain an image of pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.size[0] * image.size[1] > limit:
        raise UnsupportedImage(
            f"{name}: {image.size[0]}x{image.size[1]} pixels are more than Pillow's limit for "
            f"trusted images, {limit}"
        )
    if not allow_lossy and (reason := lossy_reason(image, stream)):
        # one whose headers are damaged is not skipped in a folder
        damaged = image.format == "JPEG2000" and reason.startswith(MAYBE)
        raise (UnsupportedImage if damaged else LossySource)(
            f"{name}: {image.format} {reason}; "
            f"its pixels would usually need more bytes than the file. "
            f"Keep the file as it is (--allow-lossy-source stores its pixels nevertheless)"
        )
    if image.format == "WEBP" and b"ANIM" in _chunk_names(stream):
        raise UnsupportedImage(f"{name}: an animation; only single images can be stored")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        kinds = {"TIFF": "several pages", "DCX": "several pages", "PSD": "several layers"}
        kind = kinds.get(image.format or "", "an animation or several images")
        raise UnsupportedImage(f"{name}: {kind} ({frames}); only single images can be stored")
    if len(image.info.get("sizes", ())) > 1:
        raise UnsupportedImage(
            f"{name}: an icon of {len(image.info['sizes'])} sizes; only single images can be stored"
        )
    if _maximum(image) not in (None, 65535 if image.mode == "I" else 255):
        raise UnsupportedImage(
            f"{name}: samples of 0 to {_maximum(image)}, which Pillow would scale"
        )
