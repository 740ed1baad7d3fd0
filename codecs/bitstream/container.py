"""The bytes of a .bbk file, format version 0 (no promise yet: files may not be readable later).

    bytes
    4       magic "\\x8aBBK"
    1       format version, 0
    1       kind: bit 0 set, the payload is a stack (clear: fallback parts); bit 1 set, an archive;
            bit 2 set, LEB128 here which metadata the fallback parts begin with (bits by metadata.KINDS); if its
            bit 11 is set, LEB128 length and names, one a line, of what the source had and is not kept
            one image: form (low 5 bits: place in still.MODES; high 3: in SOURCES), LEB128 width,
            height; digest of all that is kept (8 bytes of blake2b, 4 if plain)
            archive: LEB128 length of the index, the index (zlib of JSON), digest of all images (8)
            stack only: 8 first bytes of the model's id, then LEB128: bits the prior cost, if bit 3 of
            the kind is set bits that the model's deltas cost (tuned.py), if bit 4 is bytes that tell flat blocks (flats.py),
            if bit 5 is number of the sharpness (colours.py), if bit 6 is bytes that tell block means (means.py), length of the credit; in an archive, images that lie in the fallback parts; flips (1 left-right,
            2 upside down) of those under the prior, the corner where their segments start (image, rows,
            columns), number of segments and, for each, 3 * size + kind (places.py); mean32 (zigzag) and
            scale of the top level for R, G, B
    ...     payload: words of the stack, whose credit are the fallback parts; or these alone (image.py)
    4       CRC-32 of all before, little-endian

LEB128: 7 bits a byte, low first, the top bit set on all but the last.  A reader checks magic, version,
CRC, the range of every number, that the segments cover the images, and last the pixels' digest.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass

import numpy as np

from bitsback.ans.colour_counts import SHARPNESS
from bitsback.codecs.bitstream.names import is_name
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.image import GRAYS, MODES, UNDER_PRIOR
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage

MAGIC = b"\x8aBBK"
VERSION = 0
STACK, ARCHIVE, METADATA, TUNED, FLAT, COUNTED, MEANS = 1, 2, 4, 8, 16, 32, 64
SOURCES = (
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "PPM",
    "GIF",
    "",
    "JPEG",
)  # kinds of files that an image came from; "" are all others
MAX_SIDE = 2**24
MAX_PIXELS = 2**31
MAX_IMAGES = 2**24
MAX_INDEX = 2**26  # bytes of an index, unpacked
LOST = 2**11  # bit of the mask of metadata: names of what was lost follow it
MAX_MASK = 2**27 - 1
MAX_LOST = 2**12  # bytes of these names
MAX_ROW = 2**13  # characters of one image's row in it
ID_BYTES = 8
ALIKE = {
    mode: len(MODES) + i for i, mode in enumerate(sorted(UNDER_PRIOR - GRAYS))
}  # forms beyond those of the modes: RGB, RGBA


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: size in pixels, mode, kind of file it came from; in an archive name, permissions, time (s) and 16-bit check."""

    width: int
    height: int
    name: str = ""
    permissions: int = 0o644
    check: int = 0
    mode: str = "RGB"
    source: str = "PNG"
    mtime: int = 0
    alike: bool = False  # under the prior as one channel, though its mode has three that are equal

    @property
    def dims(self):
        return MODES[self.mode][1] * self.width * self.height

    @property
    def form(self):
        return (ALIKE[self.mode] if self.alike else list(MODES).index(self.mode)) | SOURCES.index(
            self.source if self.source in SOURCES else ""
        ) << 5


@dataclass(frozen=True)
class Header:
    """All a decoder needs besides the payload; sizes in bits, bytes and rows."""

    entries: tuple  # of Entry, in the order of coding
    digest: bytes
    archive: bool = False
    metadata: int = 0  # bit i: the fallback parts have some that is metadata.KINDS[i]
    model: str = ""  # first 16 hex digits of the id; empty: no stack
    net_bits: int = 0  # what the prior cost
    tuned_bits: int = (
        0  # what the model's deltas cost, which lie on top of the stack; 0: there are none
    )
    flat_bytes: int = 0  # what tells flat blocks, below the deltas on the stack; 0: there are none
    sharpness: int = 0  # with which colours are counted, see colours.py; 0: they are not
    mean_bytes: int = (
        0  # what tells block means, between deltas and flat blocks on the stack; 0: there are none
    )
    credit_bytes: int = 0  # length of the fallback parts the stack started from
    plain: int = 0  # images that lie in the fallback parts, before those under the prior
    flips: int = 0  # how the images were turned, see places.py
    start: tuple = (
        0,
        0,
        0,
    )  # corner where the segments begin, see places.py; images are counted from the first under the prior
    segments: tuple = ()  # (kind, size) in the order of coding
    top: tuple = ()  # mean32 and scale of R, G, B
    lost: tuple = ()  # names of what the image files had and is not kept

    @property
    def width(self):
        return self.entries[0].width

    @property
    def height(self):
        return self.entries[0].height

    @property
    def dims(self):
        return sum(entry.dims for entry in self.entries)

    @property
    def sizes(self):
        """(height, width, channels) of the images under the prior, alpha not counted."""
        return [
            (e.height, e.width, 1 if e.mode in GRAYS or e.alike else 3)
            for e in self.entries[self.plain :]
        ]


def pixel_digest(images, size: int = 8, more: bytes = b"") -> bytes:
    """blake2b of the sizes and samples of arrays (H, W, ...), and of more bytes; `size` bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for pixels in images:
        height, width = pixels.shape[:2]
        digest.update(width.to_bytes(4, "little") + height.to_bytes(4, "little"))
        digest.update(np.ascontiguousarray(pixels).data)
    digest.update(more)
    return digest.digest()[:size]


def _zigzag(value):
    return 2 * value if value >= 0 else -2 * value - 1


def _index(entries):
    rows = []
    for e in entries:
        row = [e.name, e.width, e.height, e.permissions, e.mtime, e.form]
        row = json.dumps(row, separators=(",", ":"), ensure_ascii=False)
        rows.append(row.encode(errors="backslashreplace"))  # lone surrogates as JSON's \udcXX
        if len(rows[-1].decode()) > MAX_ROW:
            raise UnsupportedImage(f"{e.name}: the name is too long for an archive's index")
    checks = b"".join(e.check.to_bytes(2, "little") for e in entries)
    text = b"[" + b",".join(rows) + b"]"
    if len(text) > MAX_INDEX:
        raise UnsupportedImage(
            f"names and sizes of {len(entries)} images are more than an archive's index can hold; make several archives"
        )
    return zlib.compress(text, 9) + checks


def _lost(names):
    """Length and names, as many as there is room for."""
    text = "\n".join(names).encode("ascii", "replace")
    if len(text) > MAX_LOST:
        text = text[: text.rfind(b"\n", 0, MAX_LOST - 3) + 1] + b"..."
    return number(len(text)) + text if names else b""


def _read_lost(reader):
    text = bytes(reader.take(reader.number(MAX_LOST)))
    names = tuple(text.decode("ascii", "replace").split("\n"))
    if not all(names) or not text.isascii():
        raise DamagedFile("names of what was lost that are none")
    return names


def write(header: Header, payload: bytes) -> bytes:
    """Header and payload -> the file's bytes."""
    flags = {
        STACK: header.model,
        ARCHIVE: header.archive,
        METADATA: header.metadata or header.lost,
        TUNED: header.tuned_bits,
        FLAT: header.flat_bytes,
        COUNTED: header.sharpness,
        MEANS: header.mean_bytes,
    }
    kind = sum(bit for bit, told in flags.items() if told)
    out = bytearray(MAGIC + bytes([VERSION, kind]))
    if header.metadata or header.lost:
        out += number(header.metadata | (LOST if header.lost else 0)) + _lost(header.lost)
    if header.archive:
        index = _index(header.entries)
        out += number(len(index)) + number(len(header.entries)) + index
    else:
        out += bytes([header.entries[0].form]) + number(header.width) + number(header.height)
    out += header.digest
    if header.model:
        out += bytes.fromhex(header.model)[:ID_BYTES]
        told = [
            value
            for value in (header.tuned_bits, header.flat_bytes, header.sharpness, header.mean_bytes)
            if value
        ]  # as the kind says
        for value in (
            header.net_bits,
            *told,
            header.credit_bytes,
            *[header.plain] * header.archive,
            header.flips,
            *header.start,
            len(header.segments),
        ):
            out += number(value)
        for kind, size in header.segments:
            out += number(3 * size + kind)
        out += b"".join(map(number, map(_zigzag, header.top)))
    out += payload
    out += zlib.crc32(out).to_bytes(4, "little")
    return bytes(out)


def _read_form(form):
    """{mode, source, alike} of a form."""
    modes = [*MODES, *ALIKE]
    if type(form) is not int or not 0 <= form < 256 or form & 31 >= len(modes):
        raise DamagedFile("an unknown mode")
    return {
        "mode": modes[form & 31],
        "source": SOURCES[form >> 5],
        "alike": form & 31 >= len(MODES),
    }


def _rows(text, count):
    """Yields the rows of an index one at a time: JSON read as a whole takes a hundred times the room of what it says.  Errors: ValueError."""
    decoder, position = json.JSONDecoder(), 0
    for i in range(count):
        if text[position : position + 1] != ("," if i else "["):
            raise ValueError("not an array")
        row, length = decoder.raw_decode(text[position + 1 : position + 1 + MAX_ROW])
        yield row
        position += 1 + length
    if text[position:] != "]":
        raise ValueError("more rows than images")


def _row_entry(row, check):
    name, width, height, permissions, mtime, form = row
    if (
        type(name) is not str
        or {type(n) for n in (width, height, permissions, mtime)} != {int}
        or abs(mtime) >= 2**40
    ):
        raise ValueError("wrong types")
    if not is_name(name):
        raise ValueError("no name")
    return Entry(
        width,
        height,
        name,
        permissions,
        int.from_bytes(check, "little"),
        mtime=mtime,
        **_read_form(form),
    )


def _read_entries(reader, archive):
    if not archive:
        form = _read_form(reader.take(1)[0])
        entries = (Entry(reader.number(MAX_SIDE), reader.number(MAX_SIDE), **form),)
    else:
        length, count = reader.number(MAX_INDEX), reader.number(MAX_IMAGES)
        index = reader.take(length)
        packed, checks = index[: length - 2 * count], index[length - 2 * count :]
        unpacker = zlib.decompressobj()
        try:
            if len(checks) != 2 * count:
                raise ValueError("too short")
            text = unpacker.decompress(packed, min(MAX_INDEX, 2 + count * MAX_ROW)).decode()
            entries = tuple(
                _row_entry(row, checks[2 * i : 2 * i + 2])
                for i, row in enumerate(_rows(text, count))
            )
        except (zlib.error, ValueError, TypeError, RecursionError):
            raise DamagedFile("the index does not unpack") from None
    if (
        any(e.width < 1 or e.height < 1 or max(e.width, e.height) > MAX_SIDE for e in entries)
        or sum(e.width * e.height for e in entries) > MAX_PIXELS
    ):
        raise DamagedFile("an image's size is out of range")
    return entries


def read(data: bytes) -> tuple[Header, bytes]:
    """The file's bytes -> (Header, payload).  Errors: NotOurFile, DamagedFile."""
    if data[:4] != MAGIC:
        raise NotOurFile("not a bitsback file")
    if len(data) < 10:
        raise DamagedFile("cut short")
    if data[4] != VERSION:
        raise NotOurFile(f"format version {data[4]}, this program reads {VERSION}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DamagedFile("cut short or altered (checksum of the file)")
    reader = Reader(data, 5, len(data) - 4)
    kind = reader.take(1)[0]
    if (
        kind & ~(STACK | ARCHIVE | METADATA | TUNED | FLAT | COUNTED | MEANS)
        or kind & (TUNED | FLAT | COUNTED | MEANS)
        and not kind & STACK
    ):
        raise DamagedFile("unknown kind")
    archive, metadata = bool(kind & ARCHIVE), reader.number(MAX_MASK) if kind & METADATA else 0
    lost = _read_lost(reader) if metadata & LOST else ()
    entries = _read_entries(reader, archive)
    fields = {
        "entries": entries,
        "archive": archive,
        "metadata": metadata & ~LOST,
        "lost": lost,
        "digest": reader.take(8 if kind & (STACK | ARCHIVE) else 4),
    }
    if kind & STACK:
        fields["model"] = reader.take(ID_BYTES).hex()
        fields["net_bits"] = reader.number(2**43)
        fields["tuned_bits"] = reader.number(8 * len(data)) if kind & TUNED else 0
        fields["flat_bytes"] = reader.number(len(data)) if kind & FLAT else 0
        fields["sharpness"] = reader.number(len(SHARPNESS)) if kind & COUNTED else 0
        fields["mean_bytes"] = reader.number(len(data)) if kind & MEANS else 0
        if any(
            kind & bit and not fields[name]
            for bit, name in (
                (TUNED, "tuned_bits"),
                (FLAT, "flat_bytes"),
                (COUNTED, "sharpness"),
                (MEANS, "mean_bytes"),
            )
        ):
            raise DamagedFile("the header names what is not there")
        fields["credit_bytes"] = reader.number(len(data))
        fields["plain"] = reader.number(len(entries) - 1) if archive else 0
        fields["flips"] = reader.number(3)
        fields["start"] = (
            reader.number(len(entries)),
            reader.number(MAX_SIDE),
            reader.number(MAX_SIDE),
        )
        codes = [reader.number(2**26) for _ in range(reader.number(min(len(data), 2**20)))]
        fields["segments"] = tuple((code % 3, code // 3) for code in codes)
        if not codes:
            raise DamagedFile("a stack without segments")
        fields["top"] = tuple(
            reader.signed(2**15) if i % 2 == 0 else reader.signed(112) for i in range(6)
        )
        if min(fields["top"][1::2]) < 0:
            raise DamagedFile("a number in the header is out of range")
    if any(entry.alike for entry in (entries[: fields["plain"]] if kind & STACK else entries)):
        raise DamagedFile("equal colours are told of an image in the fallback parts")
    return Header(**fields), reader.take(reader.end - reader.position)


def read_header(data: bytes) -> Header:
    """The Header alone, of bytes that `read` accepts."""
    return read(data)[0]
