"""`import bitsback.plugins.pillow` lets Pillow open and save .bbk files.

    Image.open("x.bbk")                             size, mode and format at once; pixels and info when they are asked for
    image.save("x.bbk", model=..., tuning=...)      options as codecs.encode_image's; icc_profile, exif, xmp, dpi too

Errors are those Pillow users expect: UnidentifiedImageError where bytes are not ours or not whole, OSError where pixels
do not decode or an image cannot be kept.  Archives hold several images: `bitsback decompress --dir` unpacks them.
"""

from PIL import Image, ImageFile

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.formats import image_files, pillow_images
from bitsback.codecs.formats.metadata import METADATA
from bitsback.codecs.formats.views import gather, views
from bitsback.codecs.image import MODES, ImageData
from bitsback.codecs.io.files import SUFFIX
from bitsback.errors import BitsbackError, UnsupportedImage

FORMAT = "BITSBACK"
OPTIONS = ("model", "device", "verify", "tuning")
PASSED_ON = ("icc_profile", "exif", "xmp", "dpi")  # save's options that other formats know too


def _accept(prefix):
    """Whether a file may be ours, by its first bytes; all other files go on to Pillow's own plugins."""
    return prefix[:4] == container.MAGIC


class BitsbackImageFile(ImageFile.ImageFile):
    """A .bbk file of one image.  Modes of 16 bits a colour, which Pillow does not have, are refused."""

    format = FORMAT
    format_description = "bitsback lossless image"
    model, device = None, "cpu"

    def _open(self):
        try:
            self._data = self.fp.read()
            header = container.read_header(self._data)
        except BitsbackError as error:
            raise SyntaxError(
                str(error)
            ) from None  # Pillow's word for "not mine": it ends in UnidentifiedImageError
        if header.archive:
            raise OSError(
                f"an archive of {len(header.entries)} images; unpack it with `bitsback decompress --dir`"
            )
        mode = header.entries[0].mode
        if mode in image_files.DEEP:
            raise OSError(
                f"Pillow has no mode {mode}; bitsback.codecs.decode_image gives the samples"
            )
        self._size, self._mode, self.tile = (header.width, header.height), mode, []

    def load(self):
        """Decodes the pixels at the first call, with palette and metadata.  Errors: OSError."""
        if self._data is not None:
            try:
                image = decode_image(self._data, model=self.model, device=self.device)
                pillow = image_files.to_image(image)
            except BitsbackError as error:
                raise OSError(f"{self.filename or 'bitsback'}: {error}") from None
            self._data, self.im, self.palette = None, pillow.im, pillow.palette
            self.info |= pillow.info
            shown = views(image.metadata)
            named = [key for key in METADATA if key in shown and key not in ("icc", "text")]
            self.info |= {key: shown[key] for key in named}
            self.info |= {key: value for key, value, *_ in shown.get("text", ())}
            if self._exclusive_fp and self.fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _image(image, options):
    if image.mode not in MODES:
        raise UnsupportedImage(f"mode {image.mode} is not known")
    info = {
        **image.info,
        **{key: options[key] for key in PASSED_ON if options.get(key) is not None},
    }
    if isinstance(info.get("exif"), Image.Exif):
        info["exif"] = info["exif"].tobytes()
    bare = Image.Image._new(image, image.im)  # gather asks a file's format, which this copy has not
    return ImageData(
        image.mode,
        pillow_images.samples_of(image),
        pillow_images.look_of(image),
        gather(bare, info),
    )


def _save(image, stream, filename):
    options = image.encoderinfo
    try:
        data = encode_image(
            _image(image, options), **{key: options[key] for key in OPTIONS if key in options}
        )
    except BitsbackError as error:
        raise OSError(f"{filename or 'bitsback'}: {error}") from None
    stream.write(data)


Image.register_open(FORMAT, BitsbackImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, "image/x-bitsback")
