"""Metadata of a WebP that Pillow does not deliver.

Exif and XMP count only if the chunk VP8X declares them, but some programs append them to a file
without it, and others read them nevertheless.
"""

from typing import BinaryIO

from PIL import Image

from bitsback.codecs.formats.containers import chunks

KEYS = {b"EXIF": "exif", b"XMP ": "xmp"}  # Pillow's; an undeclared profile would alter the colours
MOST = 2**24  # bytes of a chunk
ORIENTATION = 0x112


def metadata(stream: BinaryIO) -> dict[str, bytes]:
    """The first Exif and XMP chunk of a WebP, by Pillow's keys of `info`.

    Exif that turns the image is left out: undeclared, it does not turn the WebP.
    """
    found: dict[str, bytes] = {}
    for name, place, size in chunks(stream):
        key = KEYS.get(name)
        if key and key not in found and 0 < size <= MOST:
            stream.seek(place)
            found[key] = stream.read(size)
    if "exif" in found and _turns(found["exif"]):
        del found["exif"]
    return found


def _turns(exif):
    try:
        parsed = Image.Exif()
        parsed.load(exif)
        return parsed.get(ORIENTATION, 1) != 1
    except Exception:  # of many kinds, as Pillow's parser of TIFF
        return True
