"""Names of metadata in files other than PNG and TIFF that are not stored, for reports to the user.

Those of formats that are lists of parts are found by lost_parts.py.  The layout of samples does not
count, nor data that only animations need (they are refused).
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import ImageFile

from bitsback.codecs.formats.containers import DAMAGED, END, MOST_LOST, printable_name
from bitsback.codecs.formats.lost_parts import of_avif, of_gif, of_jpeg, of_jpeg2000, of_webp

# texts in Pillow's `info` that are stored or describe the layout of samples
OF_PILLOW = {"compression", "comment", "icc_profile", "exif", "xmp"}
OF_PILLOW |= {"file_format", "mode", "version"}


def _bmp(stream, metadata):
    stream.seek(0)
    head = stream.read(14 + 124)
    size = int.from_bytes(head[14:18], "little")
    if size >= 124 and int.from_bytes(head[14 + 116 : 14 + 120], "little"):
        yield "icc"
    if size >= 108 and not any(head[14 + 56 : 14 + 60]) and any(head[14 + 60 : 14 + 108]):
        yield "chromaticity, gamma"
    if 14 + size <= (end := int.from_bytes(head[2:6], "little")):
        stream.seek(end)
        if stream.read(1):
            yield END


def _ppm(stream, metadata):
    stream.seek(0)
    magic = stream.read(2)
    if magic in (b"P1", b"P2", b"P3"):
        head = stream.read()
    elif magic == b"P7":
        head = stream.read(2**16).partition(b"ENDHDR")[0]
    else:
        words = rb"(?:\s|#[^\n\r]*[\n\r])+[^\s#]+" * (2 if magic == b"P4" else 3)
        found = re.match(words, stream.read(2**16))
        head = found.group() if found else b""
    if b"#" in head:
        yield "comment"


def _tga(stream, metadata):
    stream.seek(0)
    if (stream.read(1) or b"\0")[0]:
        yield "image ID"
    stream.seek(max(0, stream.seek(0, io.SEEK_END) - 26))
    foot = stream.read(26)
    if foot[8:24] == b"TRUEVISION-XFILE":
        for name, offset in (("extension area", foot[:4]), ("developer area", foot[4:8])):
            if any(offset):
                yield name


def _other(image):
    """Of a format without a function of its own: texts in Pillow's `info`."""
    for key, value in image.info.items():
        if isinstance(value, (str, bytes)) and value and key not in OF_PILLOW:
            yield printable_name(str(key).encode("ascii", "replace"))
    if image.format == "PSD" and any(kind != 1039 for kind, *_ in image.resources):
        yield "resources"


BY_FORMAT: dict[str, Callable[[BinaryIO, dict], Iterator[str]]] = {
    "WEBP": of_webp,
    "GIF": of_gif,
    "BMP": _bmp,
    "PPM": _ppm,
    "TGA": _tga,
    "JPEG2000": of_jpeg2000,
    "AVIF": of_avif,
}


def lost_names(image: ImageFile.ImageFile, stream: BinaryIO, metadata: dict) -> tuple[str, ...]:
    """Names of what the file of a loaded image holds besides samples, look and `metadata`."""
    if image.format in ("JPEG", "MPO"):
        find = of_jpeg(image, stream)
    elif image.format in BY_FORMAT:
        find = BY_FORMAT[image.format](stream, metadata)
    else:
        find = _other(image)
    found: dict[str, bool] = {}
    try:
        for name in find:
            if len(found) < MOST_LOST:
                found[name] = True
    except (IndexError, ValueError, OverflowError, struct.error):  # where Pillow does not look
        found[DAMAGED] = True
    return tuple(found)
