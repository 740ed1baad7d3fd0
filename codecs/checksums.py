"""Checksums of images: of each in an archive, and of all that a file stores."""

import dataclasses
import zlib

import numpy as np

from bitsback.codecs.bitstream.container import Entry, pixel_digest
from bitsback.codecs.bitstream.names import is_name, leaves_folder
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage


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


def checked_entries(images: list[ImageData], entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Entries of an archive with their images' checks.

    Errors: UnsupportedImage where an entry is not its image's, or its name cannot be stored.
    """
    if not images or len(images) != len(entries):
        raise UnsupportedImage(
            f"{len(images)} images and {len(entries)} entries: an archive has one of each or more"
        )
    if len({entry.name for entry in entries}) < len(entries):
        raise UnsupportedImage("two images of an archive have one name")
    for image, entry in zip(images, entries):
        if not is_name(entry.name) or leaves_folder(entry.name):
            raise UnsupportedImage(f"{entry.name!r}: not a name that an archive can store")
        same = (entry.width, entry.height, entry.mode) == (image.width, image.height, image.mode)
        if not same:
            raise UnsupportedImage(
                f"{entry.name}: an entry of {entry.width}x{entry.height}, {entry.mode}, "
                f"for an image of {image.width}x{image.height}, {image.mode}"
            )
    return tuple(
        dataclasses.replace(entry, check=image_check(image.samples))
        for image, entry in zip(images, entries)
    )
