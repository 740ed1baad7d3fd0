"""Names of metadata in files other than PNG and TIFF that are not stored, for reports to the user.

Those of formats that are lists of parts are found by lost_parts.py.  The layout of samples does not
count, nor data that only animations need (they are refused).
"""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFile

from bitsback.codecs.formats.containers import DAMAGED, END, MOST_LOST, printable_name
from bitsback.codecs.formats.ends import QOI_END, end_of_pcx, end_of_qoi, end_of_sgi, end_of_tga
from bitsback.codecs.formats.lost_parts import of_avif, of_gif, of_jpeg, of_jpeg2000, of_webp

FILLING = b"\0\t\n\r \x1a"  # after the end of a file, no data: zeros, white space, DOS's end
# texts in Pillow's `info` that are stored or describe the layout of samples
OF_PILLOW = {"compression", "comment", "icc_profile", "exif", "xmp"}
OF_PILLOW |= {"file_format", "mode", "version"}


def _bmp(stream, metadata):
    stream.seek(0)
    head = stream.read(14 + 124)
    yield from _dib_header(head[14:])
    size = int.from_bytes(head[14:18], "little")
    if 14 + size <= (end := int.from_bytes(head[2:6], "little")):
        stream.seek(end)
        if stream.read(1):
            yield END


def _dib(stream, metadata):
    stream.seek(0)
    yield from _dib_header(stream.read(124))


def _dib_header(head):
    size = int.from_bytes(head[:4], "little")
    if size >= 124 and int.from_bytes(head[116:120], "little"):
        yield "icc"
    if size >= 108 and not any(head[56:60]) and any(head[60:108]):
        yield "chromaticity, gamma"


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
    words = re.sub(rb"#[^\n\r]*", b"", head).split()
    if magic == b"P7" or len(words) < 2:
        return
    width, height = int(words[0]), int(words[1])
    if magic == b"P1":  # digits need no space between
        more = len(b"".join(words[2:])) > width * height
    elif magic in (b"P2", b"P3"):
        more = len(words) > 3 + width * height * (3 if magic == b"P3" else 1)
    else:
        depth = 2 if magic != b"Pf" and len(words) > 2 and int(words[2]) > 255 else 1
        rows = {b"P4": (width + 7) // 8, b"P5": depth * width, b"P6": 3 * depth * width}
        stream.seek(2 + len(head) + 1 + rows.get(magic, 4 * width) * height)
        more = stream.read().strip(FILLING)
    if more:
        yield END


def _tga(stream, metadata):
    stream.seek(0)
    data = stream.read()
    if data[:1] != b"\0":
        yield "image ID"
    trimmed = data.rstrip(b"\0") + b"\0"
    foot = trimmed[-26:] if trimmed[-18:-2] == b"TRUEVISION-XFILE" else b""
    areas = (("extension area", foot[:4]), ("developer area", foot[4:8]))
    present = [name for name, offset in areas if any(offset)]
    yield from present
    if not present and trimmed[end_of_tga(data) : len(trimmed) - len(foot)].strip(FILLING):
        yield END


def _ico(stream, metadata):
    stream.seek(6 + 8)
    size, offset = struct.unpack("<II", stream.read(8))
    stream.seek(offset + size)
    if stream.read().strip(FILLING):
        yield END


def _pcx(stream, metadata):
    stream.seek(0)
    data = stream.read()
    rest = data[end_of_pcx(data) :]
    if rest[-769:-768] == b"\x0c":  # a palette, which ImageMagick writes after 1-bit samples too
        rest = rest[:-769]
    if rest.strip(FILLING):
        yield END


def _qoi(stream, metadata):
    stream.seek(0)
    data = stream.read()
    if not data.endswith(QOI_END) and data[end_of_qoi(data) :].strip(FILLING):
        yield END


def _sgi(stream, metadata):
    stream.seek(24)
    name = stream.read(80).split(b"\0")[0].decode("latin-1").strip()
    # Pillow and ImageMagick write the name of the file, others "no name"
    file = getattr(stream, "name", "")
    own = Path(file).name if isinstance(file, str) else ""
    if name not in ("", "no name") and not own.startswith(Path(name).name):
        yield "image name"
    stream.seek(0)
    data = stream.read()
    if data[end_of_sgi(data) :].strip(FILLING):
        yield END


def _sun(stream, metadata):
    stream.seek(4)
    width, height, depth, length, kind, _, colours = struct.unpack(">7I", stream.read(28))
    if kind != 2:  # without runs
        length = (width * depth + 15) // 16 * 2 * height
    stream.seek(32 + colours + length)
    if length and stream.read().strip(FILLING):
        yield END


def _xpm(stream, metadata):
    stream.seek(0)
    data = stream.read()
    values = re.search(rb'"((?:\s*\d+){4})((?:\s+\d+){2})?\s*(XPMEXT)?\s*"', data)
    if values and values[2]:
        yield "hotspot"
    if values and values[3]:
        yield "XPMEXT"
    if data.rpartition(b"}")[2].strip(b";" + FILLING):
        yield END


def _xbm(stream, metadata):
    stream.seek(0)
    data = stream.read()
    head, _, array = data.partition(b"{")
    if b"_x_hot" in head:
        yield "hotspot"
    if array.partition(b"}")[2].strip(b";" + FILLING):
        yield END


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
    "DIB": _dib,
    "PPM": _ppm,
    "TGA": _tga,
    "ICO": _ico,
    "PCX": _pcx,
    "QOI": _qoi,
    "SGI": _sgi,
    "SUN": _sun,
    "XBM": _xbm,
    "XPM": _xpm,
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
