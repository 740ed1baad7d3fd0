"""The parts of files that are lists of parts: boxes (JPEG 2000, JPEG XL, AVIF), chunks (WebP),
blocks (GIF) and marker segments (JPEG).

All walks end where a part is cut short or longer than the file, and say so by a last part.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

MOST_LOST = 200  # names of parts that are not stored, for one file
CUT = b""  # the name of a last part that is cut short, or of bytes that are none
END = "data after the end"
DAMAGED = "damaged parts"
IMAGE, EXTENSION, TRAILER = b",", b"!", b";"  # kinds of a GIF's blocks
EOI = 0xD9
ALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a length


def printable_name(data: bytes) -> str:
    """Bytes of a file as a name: printable ASCII, at most 40 characters."""
    text = "".join(chr(c) if 32 < c < 127 else " " for c in data[:40]).strip()
    return text or f"block {data[:8].hex()}"


def boxes(stream: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, position, size) of the contents of each box from the stream's position to
    `end`, and CUT of what remains if that is no box; the caller may move the stream.

    A box is a length, a name and contents; length 1: an 8-byte length follows, 0: to the end.
    """
    while (start := stream.tell()) < end:
        head, more = stream.read(8).ljust(8, b"\0"), 8
        size, name = struct.unpack(">I4s", head)
        if size == 1:
            size, more = int.from_bytes(stream.read(8), "big"), 16
        size = end - start if size == 0 else size
        if size < more or start + size > end or start + more > end:
            yield CUT, start, end - start
            return
        yield name, start + more, size - more
        stream.seek(start + size)


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, position, size) of the contents of each chunk of a RIFF file, and CUT of what
    remains if that is no chunk; the caller may move the stream.
    """
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    present, start = min(end, stream.seek(0, io.SEEK_END)), 12
    while start < present:
        stream.seek(start)
        name, size = struct.unpack("<4sI", stream.read(8).ljust(8, b"\0"))
        if start + 8 + size > present:
            break
        yield name, start + 8, size
        start += 8 + size + size % 2  # a last byte of padding may be missing
    if start < end and (start < present or present < end):
        yield CUT, start, max(0, present - start)


def _sub_blocks(stream):
    """(contents of a GIF's data sub-blocks, whether they are whole)."""
    parts = []
    while length := stream.read(1):
        if length == b"\0":
            return parts, True
        parts.append(stream.read(length[0]))
        if len(parts[-1]) < length[0]:
            break
    return parts, False


def gif_blocks(stream: BinaryIO) -> Iterator[tuple[bytes, int, list[bytes]]]:
    """Yields (kind, label, contents of sub-blocks) of a GIF's blocks: IMAGE with its least code
    size as label, EXTENSION, TRAILER; and CUT of what is none of them or is cut short.

    Zeros between blocks, and a trailer that is missing, are no damage: many programs write both.
    """
    stream.seek(10)
    flags = (stream.read(3) or b"\0")[0]
    stream.seek(3 << (flags & 7) + 1 if flags & 128 else 0, io.SEEK_CUR)
    while kind := stream.read(1):
        label, parts, whole = 0, [], True
        if kind == IMAGE:
            flags = (stream.read(9) or b"\0")[-1]
            stream.seek(3 << (flags & 7) + 1 if flags & 128 else 0, io.SEEK_CUR)
        if kind in (IMAGE, EXTENSION):
            label = int.from_bytes(stream.read(1), "big")
            parts, whole = _sub_blocks(stream)
            yield kind, label, parts
        elif kind == TRAILER:
            yield kind, label, parts
            return
        if not whole or kind not in (IMAGE, EXTENSION, b"\0"):
            yield CUT, label, parts
            return


def end_of_jpeg(data: bytes) -> int | None:
    """The position after a JPEG's marker EOI; None if it has none."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        kind = data[at + 1]
        if kind == EOI:
            return at + 2
        if kind == 0xFF:  # padding
            at += 1
        elif kind == 0 or kind in ALONE:  # 0: a byte 255 of the samples
            at += 2
        else:  # samples follow the header of a scan
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
