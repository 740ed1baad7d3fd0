"""A PNG's ancillary chunks, stored unchanged as (name, place, body) in the file's order.

Stored are the chunks that stay valid with the same samples and palette (KNOWN), and unknown ones
that are marked as safe to copy (fourth letter lower case).  Three entries are special: PLTE is the
suggested palette of an image without indices; tRNS marks an unusual place of this chunk, with an
empty body if ImageData.look holds the transparency; IHDR is the depth (2 or 4 bits) of a gray
image with other chunks in that scale.  iDOT describes the file's layout and is dropped.
"""

import io
import string
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats.containers import MOST_LOST
from bitsback.errors import DamagedFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# places: before palette and samples; between them (with a palette only); after the samples
BEFORE, PALETTE, AFTER = range(3)
# a chunk's index is its code in a file; acTL, fcTL: of an animation of one frame
KNOWN = (
    b"",
    *b"iCCP sRGB gAMA cHRM cICP mDCV cLLI sBIT bKGD hIST pHYs sPLT tIME eXIf tEXt zTXt "
    b"iTXt PLTE tRNS IHDR oFFs pCAL sCAL sTER acTL fcTL".split(),
)
STRUCTURE = {b"tRNS", b"IHDR"}
STORAGE = {b"iDOT"}
SHALLOW = {b"\2\0", b"\4\0"}  # depth and colour type of gray that Pillow reads as 8 bits
STEPS = {2: 85, 4: 17}  # depth: difference of adjacent 8-bit levels
IN_DEPTH = {b"bKGD", b"sBIT"}  # in the scale of the file's depth
NAMES = {
    b"iCCP": "icc",
    b"eXIf": "exif",
    b"gAMA": "gamma",
    b"cHRM": "chromaticity",
    b"sRGB": "srgb",
    b"tEXt": "text",
    b"zTXt": "text",
    b"iTXt": "text",
}
XMP = b"XML:com.adobe.xmp\0"
LETTERS = set(string.ascii_letters.encode())
PIECE = 2**20  # bytes of samples that are looked at at once

Chunk = tuple[bytes, int, bytes]  # name, place, body


# --- reading ---------------------------------------------------------------------------------


def is_stored(name: bytes) -> bool:
    """Whether a chunk with this name can be stored."""
    safe = len(name) == 4 and LETTERS.issuperset(name) and name[0] & name[3] & 32 != 0
    return safe or name in KNOWN[1:]


def _checksum_of(stream, name, length):
    """The right checksum of a chunk, whose body is read and not kept."""
    crc = zlib.crc32(name)
    while length and (part := stream.read(min(length, PIECE))):
        crc, length = zlib.crc32(part, crc), length - len(part)
    return struct.pack(">I", crc)


def _walk(stream, most):
    """Yields (name, body, whether the checksum is correct) of a PNG's chunks up to IEND.

    body: None for samples, and if it is longer than `most`.
    """
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"fdAT"):
            yield name, None, _checksum_of(stream, name, length) == stream.read(4)
            continue
        if length > most:
            stream.seek(length + 4, io.SEEK_CUR)
            yield name, None, True
            continue
        body = stream.read(length)
        yield name, body, stream.read(4) == struct.pack(">I", zlib.crc32(name + body))
        if name == b"IEND":
            return


def first_wrong(stream: BinaryIO) -> str | None:
    """The first chunk of a PNG with a wrong checksum, for display; None where there is none."""
    found = (name for name, _, whole in _walk(stream, PIECE) if not whole)
    return next((label(name) for name in found), None)


def transparent_level(stream: BinaryIO, transparency: Any) -> Any:
    """Converts a PNG's transparent colour from Pillow's value to the scale of its samples.

    Pillow scales gray samples of 2 and 4 bits to 8 bits, but not this colour.  Only the low bits of
    it count, as many as a sample has (PNG, section 11.3.2.1); for 1 bit Pillow uses all of them.
    """
    stream.seek(24)
    head = stream.read(2)
    if head == b"\1\0":
        bodies = (body for name, body, _ in _walk(stream, 6) if name == b"tRNS")
        return 255 * next((body[1] & 1 for body in bodies if body and len(body) > 1), 0)
    if head not in SHALLOW:
        return transparency
    return transparency % 2 ** head[0] * STEPS[head[0]]


def label(name: bytes) -> str:
    """A chunk's name for display: as it is if it consists of letters, else in hexadecimal."""
    return name.decode() if LETTERS.issuperset(name) else f"chunk {name.hex()}"


def read_chunks(
    stream: BinaryIO, look: dict, most_bytes: int, most: int
) -> tuple[tuple[Chunk, ...], tuple[str, ...]]:
    """Reads a PNG that Pillow has read: (chunks, names of what is not among them).

    look: ImageData.look; most_bytes, most: limits for all chunks; those beyond are among the names.
    """
    kept: list[Chunk] = []
    lost: dict[str, bool] = {}
    place, head, seen = BEFORE, b"", set()
    for name, body, whole in _walk(stream, most_bytes):
        if name == b"IHDR" and not head:
            head = body or bytes(13)
        elif name == b"PLTE" and "palette" in look and place == BEFORE:
            place = PALETTE
        elif name == b"IDAT":
            place = AFTER
            if not whole:  # Pillow does not look at it
                lost["IDAT (wrong checksum)"] = True
        elif name not in STORAGE | {b"IEND"}:
            once = name not in (b"PLTE", b"tRNS") or name not in seen and place != AFTER
            room = body is not None and len(body) + 8 <= most_bytes and len(kept) < most
            if not (whole and room and once and is_stored(name) and name != b"IHDR"):
                if len(lost) < MOST_LOST:
                    lost[label(name) if whole else f"{label(name)} (wrong checksum)"] = True
                continue
            if name == b"tRNS" and "transparency" in look:
                body = b""
            seen.add(name)
            most_bytes -= len(body) + 8
            kept.append((name, place, body))
    if stream.read(1):
        lost["data after the end"] = True
    if head[8:10] in SHALLOW and seen & IN_DEPTH:
        kept.insert(0, (b"IHDR", BEFORE, head[8:9]))
    usual = _usual_place(kept, "palette" in look)
    if kept[usual : usual + 1] == [(b"tRNS", PALETTE if "palette" in look else BEFORE, b"")]:
        del kept[usual]
    return tuple(kept), tuple(lost)


def _usual_place(entries, indexed):
    """The usual index of tRNS in a list: directly after a palette, else before the samples."""
    before = sum(place == BEFORE for _, place, _ in entries)
    return before if indexed or (b"tRNS", BEFORE, b"") not in entries else before - 1


# --- writing ---------------------------------------------------------------------------------


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (name, body) of a PNG's chunks; checksums are ignored."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        yield name, data[position + 8 : position + 8 + length]
        position += 12 + length


def _shallow(samples, depth):
    """(H, W) uint8 samples of `depth` bits to an IDAT of that depth.  Errors: DamagedFile."""
    low = samples // STEPS[depth]
    if samples.ndim != 2 or not np.array_equal(low * STEPS[depth], samples):
        raise DamagedFile("the samples have more bits than their depth")
    bits = np.unpackbits(low[..., None], axis=2)[..., 8 - depth :].reshape(len(low), -1)
    return zlib.compress(np.insert(np.packbits(bits, axis=1), 0, 0, 1).tobytes(), 9)


def with_chunks(data: bytes, entries: Sequence[Chunk], samples: np.ndarray) -> bytes:
    """A PNG from IHDR, PLTE, tRNS and IDAT of `data`, a PNG of these samples, and from `entries`.

    Errors: DamagedFile if `entries` contains a depth that does not fit the samples.
    """
    parts: dict[bytes, list[bytes]] = {b"IHDR": [], b"PLTE": [], b"tRNS": [], b"IDAT": []}
    for name, body in chunks_of(data):
        parts.setdefault(name, []).append(body)
    depth = next((body[0] for name, _, body in entries if name == b"IHDR"), None)
    if depth:
        parts[b"IHDR"] = [parts[b"IHDR"][0][:8] + bytes([depth]) + parts[b"IHDR"][0][9:]]
        parts[b"IDAT"] = [_shallow(samples, depth)]
        parts[b"tRNS"] = [
            (int.from_bytes(body, "big") // STEPS[depth]).to_bytes(2, "big")
            for body in parts[b"tRNS"]
        ]
    if parts[b"IHDR"][0][8:10] == b"\1\0":  # Pillow writes 255 for the level 1
        parts[b"tRNS"] = [bytes([0, body != bytes(2)]) for body in parts[b"tRNS"]]
    indexed, alpha = bool(parts[b"PLTE"]), [(b"tRNS", body) for body in parts[b"tRNS"]]
    rest = [entry for entry in entries if entry[0] != b"IHDR"]
    if not any(name == b"tRNS" for name, *_ in rest):
        place = PALETTE if indexed else BEFORE
        rest.insert(_usual_place(rest, indexed), (b"tRNS", place, b""))
    order = [(b"IHDR", parts[b"IHDR"][0])]
    for place, critical in ((BEFORE, b"PLTE"), (PALETTE, b"IDAT"), (AFTER, b"IEND")):
        for name, where, body in rest:
            if where == place:
                order += alpha if name == b"tRNS" and not body else [(name, body)]
        order += [(critical, body) for body in parts[critical]]
    return SIGNATURE + b"".join(chunk(name, body) for name, body in order)


def pillow_with_chunks(entries: Sequence[Chunk]) -> Image.Image:
    """A loaded Pillow image of one pixel with the chunks in `info`.  Errors: any of Pillow's."""
    out, aside = io.BytesIO(), STRUCTURE | {b"PLTE", b"acTL", b"fcTL"}
    Image.new("L", (1, 1)).save(out, "PNG")
    entries = [entry for entry in entries if entry[0] not in aside]
    image = Image.open(io.BytesIO(with_chunks(out.getvalue(), entries, np.zeros((1, 1), np.uint8))))
    image.load()
    return image


def names(entries: Iterable[Chunk]) -> list[str]:
    """The contents of a list for display: keys of metadata.METADATA, or names of chunks."""
    found = []
    for name, _, body in entries:
        if name == b"pHYs" and body[8:9] == b"\1":
            found.append("dpi")
        elif name == b"iTXt" and body.startswith(XMP):
            found.append("xmp")
        elif name not in STRUCTURE:
            found.append(NAMES.get(name) or label(name))
    return list(dict.fromkeys(found)) or ["png"]
