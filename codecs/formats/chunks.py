"""A PNG's ancillary chunks, kept as they are and put back: (name, place, body) in the file's order.

Kept are the chunks whose meaning holds for the same samples and palette (KNOWN) and unknown ones
that say of themselves that they may be copied (fourth letter small).  Three entries are others:
PLTE of an image that needs no palette (a suggestion), tRNS where it does not stand at its usual
place (an empty body: the transparency is in the look), and IHDR, the depth of a gray image of 2
or 4 bits where other chunks count in it.  iDOT, which says where in the file Apple's decoder may
begin, is about storage and left out like filters.
"""

import io
import string
import struct
import zlib

import numpy as np
from PIL import Image

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.png import chunk
from bitsback.errors import DamagedFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# places: before palette and samples; between them, with a palette only; after the samples
BEFORE, PALETTE, AFTER = range(3)
# the place here is the code in a file; acTL, fcTL: of an animation of this one image
KNOWN = (
    b"",
    *b"iCCP sRGB gAMA cHRM cICP mDCV cLLI sBIT bKGD hIST pHYs sPLT tIME eXIf tEXt zTXt "
    b"iTXt PLTE tRNS IHDR oFFs pCAL sCAL sTER acTL fcTL".split(),
)
STRUCTURE = {b"tRNS", b"IHDR"}
CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
STORAGE = {b"iDOT"}
SHALLOW = {b"\2\0", b"\4\0"}  # depth and colour type of what Pillow reads as 8-bit gray
STEPS = {2: 85, 4: 17}  # between its levels then, by depth
IN_DEPTH = {b"bKGD", b"sBIT"}  # count in the samples' own depth
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
MOST_NAMES = 200  # of chunks that are not kept
LETTERS = set(string.ascii_letters.encode())


# --- a file's chunks -> list -----------------------------------------------------------------


def _kept(name):
    """Whether a chunk of this name may be kept."""
    copied = len(name) == 4 and LETTERS.issuperset(name) and name[0] & name[3] & 32 != 0
    return copied or name in KNOWN[1:]


def _walk(stream, most):
    """Yields (name, body, whether its checksum is right) of a PNG's chunks, and ends behind IEND.

    body: None for samples and where it is longer than `most`.
    """
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"fdAT") or length > most:
            stream.seek(length + 4, io.SEEK_CUR)
            yield name, None, True
            continue
        body = stream.read(length)
        yield name, body, stream.read(4) == struct.pack(">I", zlib.crc32(name + body))
        if name == b"IEND":
            return


def transparent_level(stream, transparency):
    """The transparent colour of a PNG as Pillow says it -> in the samples' scale.

    Pillow widens gray samples of 2 and 4 bits to 8, but not this.  Only as many bits of it count as
    a sample has (PNG, section 11.3.2.1), of which Pillow takes all where that is one.
    """
    stream.seek(24)
    head = stream.read(2)
    if head == b"\1\0":
        return 255 * next(
            (
                body[1] & 1
                for name, body, _ in _walk(stream, 6)
                if name == b"tRNS" and body and len(body) > 1
            ),
            0,
        )
    if head not in SHALLOW:
        return transparency
    return transparency % 2 ** head[0] * STEPS[head[0]]


def told(name: bytes) -> str:
    """A chunk's name for people: strangers' bytes, so that only letters are shown as they are."""
    return name.decode() if LETTERS.issuperset(name) else f"chunk {name.hex()}"


def read_chunks(stream, look: dict, most_bytes: int, most: int) -> tuple[tuple, tuple]:
    """A seekable stream of a PNG that Pillow has read -> (list, names of what the list has not).

    look: palette and transparency as they are kept.  most_bytes, most: of all bodies and entries;
    what is beyond is among the names.
    """
    kept, lost, place, head, seen = [], {}, BEFORE, b"", set()
    for name, body, whole in _walk(stream, most_bytes):
        if name == b"IHDR" and not head:
            head = body or bytes(13)
        elif name == b"PLTE" and "palette" in look and place == BEFORE:
            place = PALETTE
        elif name == b"IDAT":
            place = AFTER
        elif name not in STORAGE | {b"IEND"}:
            once = name not in (b"PLTE", b"tRNS") or name not in seen and place != AFTER
            room = body is not None and len(body) + 8 <= most_bytes and len(kept) < most
            if not (whole and room and once and _kept(name) and name != b"IHDR"):
                if len(lost) < MOST_NAMES:
                    lost[told(name) if whole else f"{told(name)} (wrong checksum)"] = True
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
    """Where in a list tRNS stands if nothing is said: behind a palette, else before the samples."""
    before = sum(place == BEFORE for _, place, _ in entries)
    return before if indexed or (b"tRNS", BEFORE, b"") not in entries else before - 1


# --- list -> a file --------------------------------------------------------------------------


def chunks_of(data: bytes):
    """Yields (name, body) of a PNG's chunks, checksums not looked at."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        yield name, data[position + 8 : position + 8 + length]
        position += 12 + length


def _shallow(samples, depth):
    """(H, W) uint8 that came from `depth` bits -> an IDAT of that depth.  Errors: DamagedFile."""
    low = samples // STEPS[depth]
    if samples.ndim != 2 or not np.array_equal(low * STEPS[depth], samples):
        raise DamagedFile("samples of more bits than their depth")
    bits = np.unpackbits(low[..., None], axis=2)[..., 8 - depth :].reshape(len(low), -1)
    return zlib.compress(np.insert(np.packbits(bits, axis=1), 0, 0, 1).tobytes(), 9)


def with_chunks(data: bytes, entries, samples: np.ndarray) -> bytes:
    """IHDR, PLTE, tRNS and IDAT of a PNG of these samples, and a list's chunks.

    Errors: DamagedFile where the list has a depth that these samples have not.
    """
    parts = {b"IHDR": [], b"PLTE": [], b"tRNS": [], b"IDAT": []}
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
    if parts[b"IHDR"][0][8:10] == b"\1\0":  # Pillow says 255 for the level 1
        parts[b"tRNS"] = [bytes([0, body != bytes(2)]) for body in parts[b"tRNS"]]
    indexed, alpha = bool(parts[b"PLTE"]), [(b"tRNS", body) for body in parts[b"tRNS"]]
    entries = [entry for entry in entries if entry[0] != b"IHDR"]
    if not any(name == b"tRNS" for name, *_ in entries):
        place = PALETTE if indexed else BEFORE
        entries.insert(_usual_place(entries, indexed), (b"tRNS", place, b""))
    order = [(b"IHDR", parts[b"IHDR"][0])]
    for place, critical in ((BEFORE, b"PLTE"), (PALETTE, b"IDAT"), (AFTER, b"IEND")):
        for name, where, body in entries:
            if where == place:
                order += alpha if name == b"tRNS" and not body else [(name, body)]
        order += [(critical, body) for body in parts[critical]]
    return SIGNATURE + b"".join(chunk(name, body) for name, body in order)


def shown(entries) -> Image.Image:
    """A loaded Pillow image of one pixel, a list's chunks in its `info`.  Errors: any of Pillow's."""
    out, aside = io.BytesIO(), STRUCTURE | {b"PLTE", b"acTL", b"fcTL"}
    Image.new("L", (1, 1)).save(out, "PNG")
    entries = [entry for entry in entries if entry[0] not in aside]
    image = Image.open(io.BytesIO(with_chunks(out.getvalue(), entries, np.zeros((1, 1), np.uint8))))
    image.load()
    return image


# --- list <-> bytes --------------------------------------------------------------------------


def names(entries) -> list[str]:
    """What a list has, for people and `info`: keys of metadata.METADATA, or a chunk's own name."""
    found = []
    for name, _, body in entries:
        if name == b"pHYs" and body[8:9] == b"\1":
            found.append("dpi")
        elif name == b"iTXt" and body.startswith(XMP):
            found.append("xmp")
        elif name not in STRUCTURE:
            found.append(NAMES.get(name) or told(name))
    return list(dict.fromkeys(found)) or ["png"]


def pack_chunks(entries) -> bytes:
    """A list -> bytes: count; of each code in KNOWN | place << 5, an unknown name, length, body."""
    out = bytearray(number(len(entries)))
    for name, place, body in entries:
        code = KNOWN.index(name) if name in KNOWN else 0
        out += bytes([code | place << 5]) + (b"" if code else name) + number(len(body)) + body
    return bytes(out)


def unpack_chunks(data: bytes, most: int) -> tuple:
    """The mirror of pack_chunks, at most `most` entries.  Errors: DamagedFile."""
    reader, found = Reader(data), []
    for _ in range(reader.number(most)):
        code = reader.take(1)[0]
        name, place = KNOWN[code & 31] if code & 31 < len(KNOWN) else b"", code >> 5
        name = name or bytes(reader.take(4))
        body = bytes(reader.take(reader.number(len(data))))
        ordered = place <= AFTER and (not found or place >= found[-1][1])
        depth = name != b"IHDR" or not found and body in (b"\2", b"\4")
        if not (_kept(name) and ordered and depth):
            raise DamagedFile("a chunk that cannot be kept")
        found.append((name, place, body))
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the chunks")
    return tuple(found)
