"""Checksums of images: of one in an archive, and of all that a file stores."""

import zlib

import numpy as np

from bitsback.codecs.bitstream.container import pixel_digest
from bitsback.codecs.image import ImageData


def image_check(samples: np.ndarray) -> int:
    """16 bits of an image in an archive: they name the damaged one if the file's digest fails."""
    return zlib.crc32(np.ascontiguousarray(samples).data) & 0xFFFF


def file_digest(images: list[ImageData], packed: bytes, size: int = 8) -> bytes:
    """`size` bytes over samples, packed metadata and, unless all images are RGB, modes."""
    modes = (
        ""
        if all(image.mode == "RGB" for image in images)
        else " ".join(image.mode for image in images)
    )
    return pixel_digest([image.samples for image in images], size, packed + modes.encode())
