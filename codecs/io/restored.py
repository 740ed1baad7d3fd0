"""What is restored where nothing else is asked for: PNG, or TIFF where that does not give the
image back.  compress asks it beforehand.
"""

from bitsback.codecs.formats.image_files import LOSSLESS_SUFFIXES, refuse_mode, written_bytes
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage

DEFAULT_SUFFIXES = (".png", ".tiff")  # the first that gives the image back


def default_bytes(
    image: ImageData, name, suffixes=DEFAULT_SUFFIXES
) -> tuple[str, bytes, list[str]]:
    """What decompress writes where nothing else is asked for: (suffix, bytes, names of the metadata
    that the format cannot hold).

    suffixes: formats to try in turn, for all metadata that they hold and, where none can write
    these, for the image without. name: of the image, for errors.  Errors: UnsupportedImage
    where none gives the image back; compress then refuses it.
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
