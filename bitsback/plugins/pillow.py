"""`import bitsback.plugins.pillow` lets Pillow open and save .bbk files.

    Image.open("x.bbk")                           size, mode and format; pixels and info on access
    image.save("x.bbk", effort=..., model=...)    options of codecs.encode_image, and icc_profile,
                                                  exif, xmp, dpi (None: left out)

Errors are Pillow's usual ones: UnidentifiedImageError for bytes that are not a whole .bbk file,
OSError for pixels that cannot be decoded and images that cannot be encoded.  An archive, which
holds several images, is unpacked by `bitsback decompress --dir`.
"""

import numbers
import os
from typing import IO, Any

from PIL import Image, ImageFile

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.formats import image_files, pillow_images
from bitsback.codecs.formats.metadata import METADATA
from bitsback.codecs.formats.output_formats import NOT_PILLOWS
from bitsback.codecs.formats.views import gather, views
from bitsback.codecs.image import MODES, ImageData
from bitsback.codecs.io.files import SUFFIX
from bitsback.errors import BitsbackError, UnsupportedImage

FORMAT = "BITSBACK"
OPTIONS = ("model", "device", "verify", "tuning", "effort")
METADATA_OPTIONS = ("icc_profile", "exif", "xmp", "dpi")  # as other formats' save has them


def _accept(prefix: bytes) -> bool:
    """Whether a file begins as ours do; Pillow asks its other plugins otherwise."""
    return prefix[:4] == container.MAGIC


def _name(filename: str | bytes | None) -> str:
    """For messages; streams have none."""
    return os.fsdecode(filename) if filename else "bitsback"


class BitsbackImageFile(ImageFile.ImageFile):
    """A .bbk file of one image.

    16-bit colours, for which Pillow has no mode, are refused.  model: a Model, name or path, for
    files whose model is not shipped, set before the pixels are loaded; device: torch's.
    """

    format = FORMAT
    format_description = "bitsback lossless image"
    model: Any = None
    device: str = "cpu"
    _data: bytes | None = None  # of the file, until the image is loaded; a copy has none

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        try:
            header = container.read_header(self._data)
        except BitsbackError as error:
            raise SyntaxError(str(error)) from None  # becomes an UnidentifiedImageError
        if header.archive:
            raise OSError(
                f"an archive of {len(header.entries)} images; "
                "unpack it with `bitsback decompress --dir`"
            )
        mode = header.entries[0].mode
        if mode in NOT_PILLOWS:
            raise OSError(
                f"Pillow has no mode {mode}; bitsback.codecs.decode_image returns the samples"
            )
        self._size, self._mode, self.tile = (header.width, header.height), mode, []

    @property
    def info(self) -> dict:
        """Metadata, which are decoded with the pixels: reading them loads the image."""
        if getattr(self, "_data", None) is not None:
            self.load()
        return self._info

    @info.setter
    def info(self, value: dict) -> None:
        self._info = value

    def load(self) -> Any:
        """Decodes the pixels, palette and metadata at the first call.  Errors: OSError."""
        if self._data is not None:
            try:
                image = decode_image(self._data, model=self.model, device=self.device)
                pillow = image_files.to_image(image)
            except BitsbackError as error:
                raise OSError(f"{_name(self.filename)}: {error}") from None
            self._data, self.im, self.palette = None, pillow.im, pillow.palette
            self._info |= pillow.info
            shown = views(image.metadata)
            named = [key for key in METADATA if key in shown and key not in ("icc", "text")]
            self._info |= {key: shown[key] for key in named}
            texts = {key: value for key, value, *_ in shown.get("text", ())}
            self._info |= texts
            if "Comment" in texts:  # where saving looks for it
                self._info["comment"] = texts["Comment"].encode("latin-1", "replace")
            if self._exclusive_fp and self.fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _image(image: Image.Image, options: dict[str, Any]) -> ImageData:
    """An ImageData of a Pillow image; metadata among the options override the image's own."""
    if image.mode not in MODES:
        raise UnsupportedImage(f"mode {image.mode} is not supported")
    info = image.info | {key: options[key] for key in METADATA_OPTIONS if key in options}
    if isinstance(info.get("exif"), Image.Exif):
        info["exif"] = info["exif"].tobytes()
    for key in METADATA_OPTIONS:
        _check_option(key, info.get(key))
    bare = Image.Image._new(image, image.im)  # without a format, by which gather chooses
    return ImageData(
        image.mode,
        pillow_images.samples_of(image),
        pillow_images.look_of(image),
        gather(bare, info),
    )


def _check_option(key, value):
    """Errors: UnsupportedImage for a value that Pillow's own formats would not take."""
    if key == "dpi":
        pair = isinstance(value, tuple | list) and len(value) == 2
        right = pair and all(isinstance(one, numbers.Real) for one in value)
    else:
        right = isinstance(value, bytes | str if key == "xmp" else bytes)
    if value is not None and not right:
        wanted = "a pair of numbers" if key == "dpi" else "bytes"
        raise UnsupportedImage(f"{key}: {wanted} expected, not {value!r}")


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    options = image.encoderinfo
    try:
        data = encode_image(
            _image(image, options), **{key: options[key] for key in OPTIONS if key in options}
        )
    except (BitsbackError, ValueError) as error:
        raise OSError(f"{_name(filename)}: {error}") from None
    stream.write(data)


Image.register_open(FORMAT, BitsbackImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, "image/x-bitsback")
