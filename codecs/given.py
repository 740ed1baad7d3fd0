"""What callers give an encoder: an ImageData, or an array of RGB."""

import dataclasses

import numpy as np

from bitsback.codecs.bitstream import container
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage


def given_image(image: ImageData | np.ndarray) -> ImageData:
    """An ImageData of what an image, or an RGB array (H, W, 3) of uint8, holds now.

    The array may have changed since an ImageData was made of it, and what that remembers, such as
    whether it is gray, would be wrong: the file could not be decoded.  Errors: UnsupportedImage.
    """
    if isinstance(image, ImageData):
        return dataclasses.replace(image)
    right = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not right or image.shape[2] != 3:
        given = type(image).__name__
        if isinstance(image, np.ndarray):
            given = f"{image.dtype} of shape {image.shape}"
        raise UnsupportedImage(
            f"an (H, W, 3) array of uint8 is needed, not {given}; encode_image codes others, such "
            'as ImageData("L", gray) or ImageData("RGBA", pixels)'
        )
    if 0 in image.shape or max(image.shape) > container.MAX_SIDE:
        raise UnsupportedImage(f"a side of {image.shape[0]}x{image.shape[1]} is out of range")
    return ImageData("RGB", image, source="PNG")
