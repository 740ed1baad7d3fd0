"""Names of the parts of boxes, chunks, blocks and segments (containers.py) that are not stored."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from bitsback.codecs.formats import avif, jpeg2000
from bitsback.codecs.formats.containers import (
    CUT,
    DAMAGED,
    END,
    EXTENSION,
    IMAGE,
    TRAILER,
    boxes,
    chunks,
    end_of_jpeg,
    gif_blocks,
    printable_name,
)
from bitsback.codecs.formats.ends import end_of_lzw

SAMPLES_IN_WEBP = {b"VP8X", b"VP8L", b"VP8 ", b"ALPH", b"ANIM", b"ANMF"}
KEPT_IN_WEBP = {b"ICCP": "icc", b"EXIF": "exif", b"XMP ": "xmp"}
LOOPS = {b"NETSCAPE2.0", b"ANIMEXTS1.0"}  # numbers of repetitions of a GIF
CONTROL, COMMENT, APPLICATION = 0xF9, 0xFE, 0xFF  # labels of a GIF's extensions
LOOSE = 4  # bytes that may follow the end of an image's codes
SQUARE = 49  # a GIF's pixel aspect, (49 + 15) / 64
JPEG_KEPT = (
    b"JFIF\0",
    b"JFXX\0",
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"ICC_PROFILE\0",
    b"Adobe",
)


def of_webp(stream: BinaryIO, metadata: dict) -> Iterator[str]:
    """Names of a WebP's chunks."""
    seen = set()
    for name, _, _ in chunks(stream):
        if name == CUT:
            yield DAMAGED
        elif name in KEPT_IN_WEBP:
            if KEPT_IN_WEBP[name] not in metadata or name in seen:
                yield printable_name(name)
        elif name not in SAMPLES_IN_WEBP:
            yield printable_name(name)
        seen.add(name)
    stream.seek(4)
    stream.seek(8 + int.from_bytes(stream.read(4), "little"))
    if stream.read(1):
        yield END


def of_gif(stream: BinaryIO, metadata: dict) -> Iterator[str]:
    """Names of a GIF's extensions."""
    comments = "\n".join(text[1] for text in metadata.get("text", ()))
    stream.seek(12)
    if stream.read(1) not in (b"\0", bytes([SQUARE])):
        yield "pixel aspect"
    kind = CUT
    for kind, label, parts in gif_blocks(stream):
        if kind == CUT or kind == IMAGE and _swallows(label, parts):
            yield DAMAGED
        elif kind != EXTENSION:
            continue
        elif label == COMMENT:
            if b"".join(parts).decode("latin-1") not in comments:
                yield "comment"
        elif label == APPLICATION:
            if parts and parts[0] not in LOOPS:
                yield printable_name(parts[0])
        elif label != CONTROL:
            yield "plain text" if label == 1 else printable_name(bytes([label]))
        elif [len(part) for part in parts] != [4]:
            yield DAMAGED
    if kind == TRAILER and stream.read(1):
        yield END


def _swallows(least, parts):
    """Whether there are sub-blocks after an image's codes: a terminator may have been altered, so
    that the blocks that follow are among them.
    """
    data = b"".join(parts)
    end = end_of_lzw(data, least)
    return end is not None and len(data) - end > LOOSE


def of_jpeg(image: Any, stream: BinaryIO) -> Iterator[str]:
    """Names of a JPEG's segments.  image: Pillow's."""
    segments = getattr(image, "applist", ())
    for name, body in segments:
        if name != "COM" and not body.startswith(JPEG_KEPT):
            yield f"{name} {printable_name(bytes(body).split(bytes(1))[0])}"
    if sum(name == "COM" for name, _ in segments) > 1:
        yield "comment"  # Pillow keeps the last of them only
    stream.seek(0)
    data = stream.read()
    end = end_of_jpeg(data)
    if end is not None and data[end:].strip(b"\0"):  # cameras fill blocks with zeros
        yield END


def of_jpeg2000(stream: BinaryIO, metadata: dict) -> Iterator[str]:
    """Names of a JPEG 2000's boxes."""
    found = jpeg2000.inspect(stream)
    if found.end is not None and found.limit is not None:
        stream.seek(found.end)
        if stream.read(found.limit - found.end).strip(b"\0"):
            yield END
    if found.display not in (None, found.capture):
        yield "display resolution"
    stream.seek(0)
    if stream.read(2) == b"\xff\x4f":
        return
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    for name, place, size in boxes(stream, end):
        if name == b"jp2h":
            yield from _in_jp2h(stream, place, size, metadata)
        elif name not in (b"jP  ", b"ftyp", b"jp2c", b"free"):
            yield DAMAGED if name == CUT else printable_name(name)


def _in_jp2h(stream, place, size, metadata):
    stream.seek(place)
    for name, at, _ in boxes(stream, place + size):
        stream.seek(at)
        if name == b"colr" and stream.read(1) != b"\1" and "icc" not in metadata:
            yield "icc"
        elif name not in (b"colr", b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef", b"res "):
            yield DAMAGED if name == CUT else printable_name(name)


def of_avif(stream: BinaryIO, metadata: dict) -> Iterator[str]:
    """Names of an AVIF's boxes, items and properties."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    for name, _, _ in boxes(stream, end):
        if name not in (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"):
            yield DAMAGED if name == CUT else printable_name(name)
    stream.seek(0)
    yield from avif.not_kept(stream.read(), metadata)
