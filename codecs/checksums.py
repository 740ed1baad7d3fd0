"""Checksums of images: of each in an archive, and of all that a file stores; what was decoded of a
file, compared with them."""

import dataclasses
import operator
import zlib
from pathlib import PurePosixPath

import numpy as np

from bitsback.ans.gaussian_tables import Gaussians
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.names import is_name, leaves_folder
from bitsback.codecs.fallback.parts import Parts
from bitsback.codecs.fallback.start import unpack_fallback_parts
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import ImageData, joined
from bitsback.codecs.segment_layout import turned
from bitsback.errors import DamagedFile, UnsupportedImage


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
    if not all(isinstance(entry, Entry) for entry in entries):
        raise TypeError("an Entry is needed for each image")
    if len({entry.name for entry in entries}) < len(entries):
        raise UnsupportedImage("two images of an archive have one name")
    for image, entry in zip(images, entries):
        if not isinstance(entry.name, str) or not is_name(entry.name) or leaves_folder(entry.name):
            raise UnsupportedImage(f"{entry.name!r}: not a name that an archive can store")
        plain = str(PurePosixPath(entry.name))
        if entry.name != plain:  # two names would be one path
            raise UnsupportedImage(f"{entry.name!r}: not a plain path, such as {plain!r}")
        same = (entry.width, entry.height, entry.mode) == (image.width, image.height, image.mode)
        if not same:
            raise UnsupportedImage(
                f"{entry.name}: an entry of {entry.width}x{entry.height}, {entry.mode}, "
                f"for an image of {image.width}x{image.height}, {image.mode}"
            )
    return tuple(
        dataclasses.replace(_in_integers(entry), check=image_check(image.samples))
        for image, entry in zip(images, entries)
    )


def _in_integers(entry):
    """An entry whose numbers are Python's integers: an index with others could not be read."""
    numbers = {name: getattr(entry, name) for name in ("width", "height", "permissions", "mtime")}
    try:
        return dataclasses.replace(entry, **{k: int(operator.index(v)) for k, v in numbers.items()})
    except TypeError:
        told = ", ".join(f"{name} {value!r}" for name, value in numbers.items())
        raise UnsupportedImage(f"{entry.name}: not all are whole numbers: {told}") from None


def checked_images(
    header: Header, parts: Parts, colours: list[np.ndarray], gaussians: Gaussians | None
) -> list[ImageData]:
    """The images of a file or group, by all that was decoded of it, compared with its digests.

    colours: (H, W, C) uint8 of those under the prior, whose start block is filled in here;
    gaussians: the model's, for remainders; None without a stack.  Errors: DamagedFile.
    """
    if header.model:
        unpack_fallback_parts(parts.rest, [turned(c, header.flips) for c in colours], header.start)
        colours = [
            _samples(colour, deep, remainders, gaussians)
            for colour, deep, remainders in zip(colours, header.depths, parts.remainders)
        ]
    modes = [entry.mode for entry in header.entries[len(parts.samples) :]]
    samples = parts.samples + [joined(*of) for of in zip(modes, colours, parts.alphas)]
    packed, items = parts.packed, metadata.unpack(parts.packed, len(header.entries))
    if metadata.kinds(items) != header.metadata:
        raise DamagedFile("the metadata are not those that the header names")
    try:
        lost = () if header.archive else header.lost
        images = [
            ImageData(entry.mode, pixels, *item, entry.source, lost)
            for entry, pixels, item in zip(header.entries, samples, items)
        ]
    except UnsupportedImage as error:
        raise DamagedFile(str(error)) from None
    if header.archive:
        for entry, image in zip(header.entries, images):
            if entry.check != image_check(image.samples):
                raise DamagedFile(f"{entry.name}: the pixels do not match their checksum")
    if file_digest(images, packed, len(header.digest)) != header.digest:
        raise DamagedFile("the pixels do not match their checksum")
    return images


def _samples(colour, deep, remainders, gaussians):
    """The colours of an image under the prior, (H, W, C), from what was decoded of it."""
    if deep is None:
        return colour
    from bitsback.codecs.remainders.codec import deep_samples  # few files need it

    return deep_samples(colour, deep, remainders, gaussians)
