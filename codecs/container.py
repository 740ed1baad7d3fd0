"""The bytes of a .bbk file, format version 0 (no promise yet: files may not be readable later).

    bytes
    4       magic "\\x8aBBK"
    1       format version, 0
    1       kind: bit 0 set, the payload is a stack (clear: plain parts); bit 1 set, an archive
            one picture: LEB128 width, height; digest of the pixels (8 bytes of blake2b, 4 if plain)
            archive: LEB128 length of the index, the index (zlib of JSON), digest of all pixels (8)
            stack only: 8 first bytes of the model's id, then LEB128: bits the prior cost, length of
            the credit, flips (1 left-right, 2 upside down) of all pictures, the corner where the
            segments start (image, rows, columns), number of segments and, for each, 3 * size + kind
            (places.py); mean16 (zigzag) and scale of the top level for R, G, B
    ...     payload: words of the stack, or plain parts
    4       CRC-32 of all before, little-endian

LEB128: 7 bits a byte, low first, the top bit set on all but the last.  A reader checks magic, version,
CRC, the range of every number, that the segments cover the pictures, and last the pixels' digest.
"""
import hashlib
import json
import zlib
from dataclasses import dataclass

from ..errors import DamagedFile, NotOurFile

MAGIC = b"\x8aBBK"
VERSION = 0
STACK, ARCHIVE = 1, 2
MAX_SIDE = 2**24
MAX_PIXELS = 2**31
MAX_IMAGES = 2**24
MAX_INDEX = 2**28               # bytes of an index, unpacked
ID_BYTES = 8


@dataclass(frozen=True)
class Entry:
    """One picture: size in pixels; name, permissions and 16-bit check in an archive."""

    width: int
    height: int
    name: str = ""
    mode: int = 0o644
    check: int = 0


@dataclass(frozen=True)
class Header:
    """All a decoder needs besides the payload; sizes in bits, bytes and rows."""

    entries: tuple                  # of Entry, in the order of coding
    digest: bytes
    archive: bool = False
    model: str = ""                 # first 16 hex digits of the id; empty: no stack
    net_bits: int = 0               # what the prior cost
    credit_bytes: int = 0           # length of the plain parts the stack started from
    flips: int = 0                  # how the pictures were turned, see places.py
    start: tuple = (0, 0, 0)        # corner where the segments begin, see places.py
    segments: tuple = ()            # (kind, size) in the order of coding
    top: tuple = ()                 # mean16 and scale of R, G, B

    @property
    def width(self):
        return self.entries[0].width

    @property
    def height(self):
        return self.entries[0].height

    @property
    def dims(self):
        return 3 * sum(e.width * e.height for e in self.entries)


def pixel_digest(images, size=8):
    """blake2b of the sizes and RGB rows of (H, W, 3) uint8 arrays, `size` bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for pixels in images:
        height, width = pixels.shape[:2]
        digest.update(width.to_bytes(4, "little") + height.to_bytes(4, "little"))
        digest.update(pixels.tobytes())
    return digest.digest()[:size]


def number(value):
    """LEB128 bytes of an integer >= 0."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def _zigzag(value):
    return 2 * value if value >= 0 else -2 * value - 1


def _index(entries):
    text = json.dumps([[e.name, e.width, e.height, e.mode] for e in entries], separators=(",", ":"), ensure_ascii=False)
    checks = b"".join(e.check.to_bytes(2, "little") for e in entries)
    return zlib.compress(text.encode(), 9) + checks


def write(header, payload):
    """Header and payload -> the file's bytes."""
    kind = (STACK if header.model else 0) | (ARCHIVE if header.archive else 0)
    out = bytearray(MAGIC + bytes([VERSION, kind]))
    if header.archive:
        index = _index(header.entries)
        out += number(len(index)) + number(len(header.entries)) + index
    else:
        out += number(header.width) + number(header.height)
    out += header.digest
    if header.model:
        out += bytes.fromhex(header.model)[:ID_BYTES]
        for value in (header.net_bits, header.credit_bytes, header.flips, *header.start, len(header.segments)):
            out += number(value)
        for kind, size in header.segments:
            out += number(3 * size + kind)
        out += b"".join(map(number, map(_zigzag, header.top)))
    out += payload
    return bytes(out) + zlib.crc32(out).to_bytes(4, "little")


class Reader:
    """Takes bytes off the front; DamagedFile if they run out or a number is too large."""

    def __init__(self, data, position=0, end=None):
        self.data, self.position, self.end = data, position, len(data) if end is None else end

    def take(self, count):
        if self.position + count > self.end:
            raise DamagedFile("cut short")
        self.position += count
        return self.data[self.position - count:self.position]

    def number(self, limit):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if value > limit or shift > 63:
                raise DamagedFile("a number in the header is out of range")
            if byte < 128:
                return value
            shift += 7

    def signed(self, limit):
        value = self.number(2 * limit)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2


def _read_entries(reader, archive):
    if not archive:
        entries = (Entry(reader.number(MAX_SIDE), reader.number(MAX_SIDE)),)
    else:
        length, count = reader.number(MAX_INDEX), reader.number(MAX_IMAGES)
        index = reader.take(length)
        packed, checks = index[:length - 2 * count], index[length - 2 * count:]
        unpacker = zlib.decompressobj()
        try:
            if len(checks) != 2 * count:
                raise ValueError("too short")
            rows = json.loads(unpacker.decompress(packed, MAX_INDEX))
            entries = tuple(Entry(w, h, name, mode, int.from_bytes(checks[2 * i:2 * i + 2], "little"))
                            for i, (name, w, h, mode) in enumerate(rows))
            if len(entries) != count or not all(type(e.name) is str and type(e.width) is int and type(e.height) is int
                                                and type(e.mode) is int for e in entries):
                raise ValueError("wrong types")
        except (zlib.error, ValueError, TypeError, RecursionError):
            raise DamagedFile("the index does not unpack") from None
    if any(e.width < 1 or e.height < 1 or max(e.width, e.height) > MAX_SIDE for e in entries) \
            or sum(e.width * e.height for e in entries) > MAX_PIXELS:
        raise DamagedFile("a picture's size is out of range")
    return entries


def read(data):
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
    if kind & ~(STACK | ARCHIVE):
        raise DamagedFile("unknown kind")
    archive = bool(kind & ARCHIVE)
    entries = _read_entries(reader, archive)
    fields = {"entries": entries, "archive": archive, "digest": reader.take(8 if kind else 4)}
    if kind & STACK:
        fields["model"] = reader.take(ID_BYTES).hex()
        fields["net_bits"], fields["credit_bytes"] = reader.number(2**43), reader.number(len(data))
        fields["flips"] = reader.number(3)
        fields["start"] = (reader.number(len(entries)), reader.number(MAX_SIDE), reader.number(MAX_SIDE))
        codes = [reader.number(2**26) for _ in range(reader.number(min(len(data), 2**20)))]
        fields["segments"] = tuple((code % 3, code // 3) for code in codes)
        if not codes:
            raise DamagedFile("a stack without segments")
        fields["top"] = tuple(reader.signed(2**15) if i % 2 == 0 else reader.signed(112) for i in range(6))
        if min(fields["top"][1::2]) < 0:
            raise DamagedFile("a number in the header is out of range")
    return Header(**fields), reader.take(reader.end - reader.position)


def read_header(data):
    """The Header alone, of bytes that `read` accepts."""
    return read(data)[0]
