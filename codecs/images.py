"""Picture files to pixels and back, by Pillow.  What cannot be given back exactly is refused."""
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UnsupportedImage

IMAGE_SUFFIXES = {".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jpg", ".jpeg", ".gif"}    # looked for in folders
LOSSLESS_SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM"}


DEPTH_HIDDEN = {"JPEG2000", "AVIF", "HEIF"}


def _ppm_maximum(image):
    """Largest sample value of a PPM, 255 of anything else."""
    if image.format != "PPM" or not image.tile:
        return 255
    arguments = image.tile[0][3]
    return arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) and image.tile[0][0].startswith("ppm") else 255


def read_image(source, name):
    """A path or binary stream -> (H, W, 3) uint8.  Errors: UnsupportedImage, OSError.

    Pillow reads 16-bit RGB as 8-bit without a word, so the depth of the stored samples is looked
    at first; pixels are never rotated or converted.
    """
    try:
        with Image.open(source) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise UnsupportedImage(f"{name}: an animation; only still pictures can be kept")
            if image.mode != "RGB" or "transparency" in image.info:
                raise UnsupportedImage(f"{name}: mode {image.mode}{' with transparency' if 'transparency' in image.info else ''}; "
                                       f"only 8-bit RGB so far")
            if image.format in DEPTH_HIDDEN:
                raise UnsupportedImage(f"{name}: {image.format} may hold more than 8 bits a sample, which Pillow does not tell")
            if ";16" in str(getattr(image, "tile", "")) or _ppm_maximum(image) != 255:
                raise UnsupportedImage(f"{name}: not 8 bits a sample; only 8-bit RGB so far")
            return np.array(image)
    except UnidentifiedImageError:
        raise UnsupportedImage(f"{name}: not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedImage(f"{name}: {error}") from None
    except UnsupportedImage:
        raise
    except Exception as error:          # Pillow's plugins raise a dozen kinds on altered files
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
            raise
        raise UnsupportedImage(f"{name}: damaged picture ({error})") from None


def image_format(path):
    """Pillow's name of the lossless format that a path's suffix asks for.  Errors: UnsupportedImage."""
    suffix = path.suffix.lower()
    if suffix not in LOSSLESS_SUFFIXES:
        raise UnsupportedImage(f"{path}: pixels can be restored to {', '.join(LOSSLESS_SUFFIXES)} only")
    return LOSSLESS_SUFFIXES[suffix]


def write_image(pixels, stream, file_format):
    """(H, W, 3) uint8 to a binary stream, losslessly."""
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    Image.fromarray(pixels).save(stream, format=file_format, **options)
