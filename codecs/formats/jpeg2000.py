"""The headers of a JPEG 2000: whether it is lossless, bits per sample, channels, colour profile.

A JP2 is a sequence of boxes (containers.py).  Box jp2h describes the codestream and jp2c contains
it: a sequence of markers, some repeated for each tile.  A codestream with the reversible transform
that was truncated to a rate is not recognised as lossy; what it decodes to is stored.
"""

import io
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from bitsback.codecs.formats.containers import boxes

UNDECIDED = "its headers do not show whether it is lossless: "
SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
SIZ, COD, COC, QCD, QCC, SOT, SOD, EOC = 0x51, 0x52, 0x53, 0x5C, 0x5D, 0x90, 0x93, 0xD9
COM = 0x64
HEADER = 2**22  # limit of bytes of jp2h, mostly a colour profile
KNOWN_COLOURS = (16, 17, 12)  # EnumCS: sRGB, gray, CMYK


@dataclass
class Found:
    """The properties of a file.

    loss: why it is lossy (or UNDECIDED, ...), or None; inexact: why Pillow would change its
    samples, or None; depths: bits per sample; profile: the ICC profile.  images: number of
    codestreams; end, limit: positions after the first one's end and after its box, None if not
    found; comments: its comments; capture, display: resolutions, as their boxes hold them.
    """

    loss: str | None = UNDECIDED + "its codestream was not found"
    inexact: str | None = None
    depths: set = field(default_factory=set)
    profile: bytes | None = None
    images: int = 0
    end: int | None = None
    limit: int | None = None
    comments: list = field(default_factory=list)
    capture: bytes | None = None
    display: bytes | None = None


def _header(data, found):
    """Reads the boxes within jp2h."""
    stream, colours = io.BytesIO(data), 0
    for name, place, size in boxes(stream, len(data)):
        stream.seek(place)
        body = data[place : place + size]
        if name == b"colr" and not colours:  # only the first one is valid
            colours = 1
            if body[:1] == b"\1" and int.from_bytes(body[3:7], "big") not in KNOWN_COLOURS:
                found.inexact = "colours that Pillow would convert"
            elif body[:1] in (b"\2", b"\3"):
                found.profile = body[3:]
        if name == b"res ":
            inside = {kind: data[at : at + size] for kind, at, size in boxes(stream, place + size)}
            found.capture, found.display = inside.get(b"resc"), inside.get(b"resd")
        if name in (b"pclr", b"cmap"):
            found.inexact = "a palette"
        if name == b"cdef":
            channels = [struct.unpack_from(">HHH", body, at) for at in range(2, len(body) - 5, 6)]
            if any((kind, of) not in ((0, number + 1), (1, 0)) for number, kind, of in channels):
                found.inexact = "channels other than plain colours and alpha"


def _segment(marker, body, wide, found):
    """Updates found.loss by one marker segment."""
    at = 2 if wide else 1  # bytes of a component index
    transform = body[9:10] if marker == COD else body[at + 5 : at + 6] if marker == COC else b"\1"
    style = body[:1] if marker == QCD else body[at : at + 1] if marker == QCC else b"\0"
    if transform != b"\1":
        found.loss = "it has the irreversible transform"
    if not style or style[0] & 31:
        found.loss = "its samples were quantised"


def _codestream(stream, end, found):
    """Reads all markers, including those of tiles."""
    tiles, count, wide, coded = set(), 1, False, set()
    stop = None  # end of the current tile-part
    while stream.tell() + 2 <= end:
        start, head = stream.tell(), stream.read(2)
        if head[0] != 0xFF or head[1] == EOC:
            found.end = start + 2 if head == b"\xff\xd9" else None
            break
        if head[1] == 0x4F:
            continue
        if head[1] == SOD:
            if stop is None or stop <= start:
                break
            stream.seek(stop)
            continue
        length = int.from_bytes(stream.read(2), "big")
        body = stream.read(max(0, length - 2))
        if len(body) != length - 2:
            break
        if head[1] == SIZ:
            count = _size(body, found)
            wide = int.from_bytes(body[34:36], "big") > 256
        elif head[1] == SOT:
            tile, size = struct.unpack_from(">HI", body)
            stop = start + size if size else end
            if stop > end:
                break
            if not size:  # up to EOC, the last marker
                stream.seek(max(0, end - 2))
                if stream.read(2) != b"\xff\xd9":
                    break
                found.end = end
                stream.seek(start + 12)
            tiles.add(tile)
        elif head[1] == COM:
            found.comments.append(body[2:])
        elif head[1] in (COD, COC, QCD, QCC):
            coded.add(head[1])
            _segment(head[1], body, wide, found)
    if not {COD, QCD} <= coded or not found.depths:
        found.loss = UNDECIDED + "its codestream lacks the coding parameters"
    elif len(tiles) < count:
        found.inexact = "tiles that are missing"


def _size(body, found):
    """Reads the marker segment SIZ; returns the number of tiles."""
    capabilities, width, height, left, top, across, down, tile_left, tile_top, channels = (
        struct.unpack_from(">H8IH", body)
    )
    numbers = struct.unpack_from(f"{3 * channels}B", body, 36)
    parts = list(zip(numbers[::3], numbers[1::3], numbers[2::3]))  # depth and sign, subsampling
    found.depths = {1 + (depth & 127) for depth, _, _ in parts}
    if any(depth & 128 or sampling != [1, 1] for depth, *sampling in parts):
        found.inexact = "signed or subsampled channels"
    elif not found.depths <= ({8, 16} if channels == 1 else {8}):
        found.inexact = f"samples of {max(found.depths)} bits"
    elif capabilities & 0x8000:
        found.inexact = "extensions of Part 2"
    return -(-(width - tile_left) // max(1, across)) * -(-(height - tile_top) // max(1, down))


def inspect(stream: BinaryIO) -> Found:
    """The properties of a JP2 or a bare codestream, from its markers, without decoding.

    Damaged data give any result, or struct.error.
    """
    found, end = Found(), stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(12) != SIGNATURE:
        stream.seek(0)
        if stream.read(4) == b"\xff\x4f\xff\x51":
            stream.seek(0)
            _image(stream, end, found)
        return found
    stream.seek(0)
    for name, place, size in boxes(stream, end):
        stream.seek(place)
        if name == b"jp2h" and size <= HEADER:
            _header(stream.read(size), found)
        elif name == b"jp2c":
            _image(stream, place + size, found)
    return found


def _image(stream, end, found):
    """Reads the first codestream and counts the others."""
    found.images += 1
    if found.images == 1:
        found.loss, found.limit = None, end
        _codestream(stream, end, found)
