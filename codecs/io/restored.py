"""What is restored where nothing else is asked for: PNG, or TIFF where that does not give the
picture back.  compress asks it beforehand.
"""

from bitsback.errors import UnsupportedImage
from bitsback.codecs.formats.image_files import LOSSLESS_SUFFIXES, refuse_mode, written_bytes
from bitsback.codecs.image import Still

DEFAULT_SUFFIXES = (".png", ".tiff")  # the first that gives the picture back


def default_bytes(still: Still, name, suffixes=DEFAULT_SUFFIXES) -> tuple[str, bytes, list[str]]:
    """What decompress writes where nothing else is asked for: (suffix, bytes, names of the metadata
    that the format cannot hold).

    suffixes: formats to try in turn, for all metadata that they hold and, where none can write
    these, for the picture without. name: of the picture, for errors.  Errors: UnsupportedImage
    where none gives the picture back; compress then refuses it.
    """
    reasons = []
    for attempt in [still, still.stripped()] if still.metadata else [still]:
        for suffix in suffixes:
            file_format = LOSSLESS_SUFFIXES[suffix]
            try:
                refuse_mode(still.mode, file_format, name)
                return suffix, *written_bytes(still, attempt, file_format, name)
            except UnsupportedImage as error:
                reasons.append(str(error).removeprefix(f"{name}: "))
    raise UnsupportedImage(f"{name}: could not be restored ({'; '.join(dict.fromkeys(reasons))})")
