"""TIFFs for tests, and reading them."""

import io

import numpy as np
import pytest

from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage

GRAY = np.random.default_rng(7).integers(0, 256, (20, 24), dtype=np.uint8)
PLAIN = {256: 24, 257: 20, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8}  # tags of GRAY in three strips


def read(data: bytes) -> ImageData:
    """The image of a TIFF."""
    return read_image(io.BytesIO(data), "x.tif")


def refused(data: bytes) -> str:
    """The message that names the file and says why it is refused."""
    with pytest.raises(UnsupportedImage, match="^x.tif: ") as caught:
        read(data)
    return str(caught.value)


def written(array: np.ndarray = GRAY, **options: object) -> bytes:
    """A TIFF by tifffile, gray and without its description unless the options say otherwise."""
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, array, **{"photometric": "minisblack", "metadata": None, **options})
    return out.getvalue()
