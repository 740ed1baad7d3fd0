"""The default output of `decompress`: PNG, or TIFF if PNG cannot restore the image.

`compress` makes it too, to refuse images that neither can restore.
"""

from collections.abc import Iterable
from pathlib import Path

from bitsback.codecs.formats.image_files import LOSSLESS_SUFFIXES, refuse_mode, written_bytes
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage

DEFAULT_SUFFIXES = (".png", ".tiff")  # the first that restores the image is used


def default_bytes(
    image: ImageData, name: str | Path, suffixes: Iterable[str] = DEFAULT_SUFFIXES
) -> tuple[str, bytes, list[str]]:
    """The default output of an image: (suffix, bytes, names of metadata the format cannot hold).

    suffixes: formats, tried in turn with the metadata they support, then without metadata; name:
    of the image, for errors.  Errors: UnsupportedImage if none restores the image.
    """
    reasons = []
    for attempt in [image, image.stripped()] if image.metadata else [image]:
        for suffix in suffixes:
            file_format = LOSSLESS_SUFFIXES[suffix]
            try:
                refuse_mode(image.mode, file_format, name)
                return suffix, *written_bytes(image, attempt, file_format, name)
            except UnsupportedImage as error:
                reasons.append(str(error).removeprefix(f"{name}: "))
    raise UnsupportedImage(f"{name}: could not be restored ({'; '.join(dict.fromkeys(reasons))})")
