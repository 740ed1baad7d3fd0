"""Which image files are refused, and why: with loss already, several images, more than Pillow tells.

Every function looks at an image that Pillow has opened and not yet loaded, so that a refusal costs no decoding.
"""

import io

from PIL import Image

from bitsback.codecs.formats import avif, jpeg2000
from bitsback.errors import LossySource, UnsupportedImage

LOSSY = {"JPEG", "MPO", "HEIF", "PCD", "MIC", "FPX", "BLP", "FTEX"}
DRAWN = {
    "EPS",
    "WMF",
    "PDF",
    "GRIB",
    "BUFR",
    "HDF5",
    "MPEG",
}  # drawn by other programs, or no images
LOSSY_IN_TIFF = {"jpeg", "tiff_jpeg", "webp", "jpeg2000"}


def _chunk_names(stream):
    """Names of the chunks of a RIFF file, those of animation frames left out."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        yield head[:4]
        length = int.from_bytes(head[4:], "little")
        stream.seek(length + length % 2, io.SEEK_CUR)


def loss(image: Image.Image, stream) -> str | None:
    """Why the file's pixels are not those that were compressed, as far as its headers tell, or
    None; the stream's position is used.
    """
    webp = image.format == "WEBP" and b"VP8 " in set(_chunk_names(stream))
    tiff = image.format == "TIFF" and image.info.get("compression") in LOSSY_IN_TIFF
    if webp or tiff or image.format in LOSSY or any(tile[0] == "bcn" for tile in image.tile):
        return "was compressed with loss already"
    if image.format == "JPEG2000":
        found = jpeg2000.inspect(stream).loss
    elif image.format == "AVIF":
        stream.seek(0)
        found = avif.loss(stream.read())
    else:
        return None
    if found and found.startswith(jpeg2000.UNTOLD):
        return f"may have been compressed with loss already ({found})"
    return found and f"was compressed with loss already ({found})"


def is_deep(image: Image.Image, stream) -> bool:
    """Whether the file holds more bits a sample than Pillow's mode does."""
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
    """Largest sample of a PPM or PGM if Pillow stretches them to its mode, else None."""
    if image.format != "PPM" or not image.tile or not image.tile[0][0].startswith("ppm"):
        return None
    arguments = image.tile[0][3]
    return arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) else None


def refuse_unsuitable(image: Image.Image, stream, name, allow_lossy: bool) -> None:
    """Errors: UnsupportedImage, LossySource, each with the reason."""
    if image.format in DRAWN:
        raise UnsupportedImage(f"{name}: {image.format} is no image of pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.size[0] * image.size[1] > limit:
        raise UnsupportedImage(
            f"{name}: {image.size[0]}x{image.size[1]} pixels are more than Pillow's limit for trusted images, {limit}"
        )
    if not allow_lossy and (reason := loss(image, stream)):
        raise LossySource(
            f"{name}: {image.format} {reason}; "
            f"its pixels would as a rule take more bytes than the file. "
            f"Keep the file as it is (--allow-lossy-source stores the pixels all the same)"
        )
    if image.format == "WEBP" and b"ANIM" in set(_chunk_names(stream)):
        raise UnsupportedImage(f"{name}: an animation; only single still images can be kept")
    if getattr(image, "n_frames", 1) > 1:
        kind = (
            "several pages"
            if image.format in ("TIFF", "DCX")
            else "several layers"
            if image.format == "PSD"
            else "an animation or several images"
        )
        raise UnsupportedImage(
            f"{name}: {kind} ({image.n_frames}); only single still images can be kept"
        )
    if len(image.info.get("sizes", ())) > 1:
        raise UnsupportedImage(
            f"{name}: an icon of {len(image.info['sizes'])} sizes; only single images can be kept"
        )
    if _maximum(image) not in (None, 65535 if image.mode == "I" else 255):
        raise UnsupportedImage(
            f"{name}: samples of 0 to {_maximum(image)}, which Pillow would stretch"
        )
