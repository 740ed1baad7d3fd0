"""Names of metadata in files other than PNG and TIFF that are not stored, for reports to the user.

The layout of samples does not count, nor data that only animations need (they are refused).
"""

import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import ImageFile

SAMPLES_IN_WEBP = {b"VP8X", b"VP8L", b"VP8 ", b"ALPH", b"ANIM", b"ANMF"}
KEPT_IN_WEBP = {b"ICCP", b"EXIF", b"XMP "}
LOOPS = {b"NETSCAPE2.0", b"ANIMEXTS1.0"}  # numbers of repetitions of a GIF
JPEG_KEPT = (
    b"JFIF\0",
    b"JFXX\0",
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"ICC_PROFILE\0",
    b"Adobe",
)
MOST_LOST = 200  # names of parts that are not stored, for one file
END = "data after the end"
# texts in Pillow's `info` that are stored or describe the layout of samples
OF_PILLOW = {"compression", "comment", "icc_profile", "exif", "xmp"}
OF_PILLOW |= {"file_format", "mode", "version"}


def printable_name(data: bytes) -> str:
    """Bytes of a file as a name: printable ASCII, at most 40 characters."""
    text = "".join(chr(c) if 32 < c < 127 else " " for c in data[:40]).strip()
    return text or f"block {data[:8].hex()}"


def _webp(stream, metadata):
    stream.seek(4)
    end, seen = 8 + int.from_bytes(stream.read(4), "little"), set()
    stream.seek(12)
    while stream.tell() + 8 <= end and len(head := stream.read(8)) == 8:
        name = head[:4]
        if name not in SAMPLES_IN_WEBP | KEPT_IN_WEBP or name in seen & KEPT_IN_WEBP:
            yield printable_name(name)
        seen.add(name)
        length = int.from_bytes(head[4:], "little")
        stream.seek(length + length % 2, io.SEEK_CUR)
    stream.seek(end)
    if stream.read(1):
        yield END


def _sub_blocks(stream):
    """The contents of a GIF's data sub-blocks."""
    parts = []
    while (length := stream.read(1)) not in (b"", b"\0"):
        parts.append(stream.read(length[0]))
    return parts


def _gif(stream, metadata):
    stream.seek(10)
    flags = (stream.read(3) or b"\0")[0]
    stream.seek(3 << (flags & 7) + 1 if flags & 128 else 0, io.SEEK_CUR)
    comments = "\n".join(text[1] for text in metadata.get("text", ()))
    while (kind := stream.read(1)) not in (b"", b";"):
        if kind == b",":
            flags = (stream.read(9) or b"\0")[-1]
            stream.seek((3 << (flags & 7) + 1 if flags & 128 else 0) + 1, io.SEEK_CUR)
            _sub_blocks(stream)
        elif kind == b"!":
            label, parts = stream.read(1), _sub_blocks(stream)
            if label == b"\xfe" and b"".join(parts).decode("latin-1") not in comments:
                yield "comment"
            elif label == b"\xff" and parts and parts[0] not in LOOPS:
                yield printable_name(parts[0])
            elif label not in (b"\xf9", b"\xfe", b"\xff"):
                yield "plain text" if label == b"\1" else printable_name(label)
    if stream.read(1):
        yield END


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


def _jpeg(image):
    segments = getattr(image, "applist", ())
    for name, body in segments:
        if name != "COM" and not body.startswith(JPEG_KEPT):
            yield f"{name} {printable_name(bytes(body).split(bytes(1))[0])}"
    if sum(name == "COM" for name, _ in segments) > 1:
        yield "comment"  # Pillow keeps the last of them only


def _boxes(stream, end):
    """Yields (name, end) of each box, with the stream at its contents."""
    while stream.tell() + 8 <= end and len(head := stream.read(8)) == 8:
        begin, length = stream.tell() - 8, int.from_bytes(head[:4], "big")
        length = int.from_bytes(stream.read(8), "big") if length == 1 else length or end - begin
        if length < 8:
            return
        yield head[4:], min(begin + length, end)
        stream.seek(begin + length)


def _jpeg2000(stream, metadata):
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(4) == b"\xff\x4f\xff\x51":
        return
    stream.seek(0)
    for name, behind in _boxes(stream, end):
        if name == b"jp2h":
            for inner, _ in _boxes(stream, behind):
                if inner == b"colr" and stream.read(1) != b"\1" and "icc" not in metadata:
                    yield "icc"
        elif name not in (b"jP  ", b"ftyp", b"jp2c", b"free"):
            yield printable_name(name)


def _avif(stream, metadata):
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    for name, _ in _boxes(stream, end):
        if name not in (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"):
            yield printable_name(name)


def _other(image):
    """Of a format without a function of its own: texts in Pillow's `info`."""
    for key, value in image.info.items():
        if isinstance(value, (str, bytes)) and value and key not in OF_PILLOW:
            yield printable_name(str(key).encode("ascii", "replace"))
    if image.format == "PSD" and any(kind != 1039 for kind, *_ in image.resources):
        yield "resources"


BY_FORMAT: dict[str, Callable[[BinaryIO, dict], Iterator[str]]] = {
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "PPM": _ppm,
    "TGA": _tga,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
}


def lost_names(image: ImageFile.ImageFile, stream: BinaryIO, metadata: dict) -> tuple[str, ...]:
    """Names of what the file of a loaded image holds besides samples, look and `metadata`."""
    if image.format in ("JPEG", "MPO"):
        find = _jpeg(image)
    elif image.format in BY_FORMAT:
        find = BY_FORMAT[image.format](stream, metadata)
    else:
        find = _other(image)
    found: dict[str, bool] = {}
    try:
        for name in find:
            if len(found) < MOST_LOST:
                found[name] = True
    except (
        IndexError,
        ValueError,
        OverflowError,
    ):  # parts that Pillow does not read may be damaged
        found["damaged parts"] = True
    return tuple(found)
