"""The bytes of a .bbk file, format version 0 (no promise yet: files may not be readable later).

    offset  bytes
    0       4       magic "\\x8aBBK"
    4       1       format version, 0
    5       1       method: 0 the payload is a WebP or PNG file, 1 diffusion prior
    6       ...     numbers as LEB128 (7 bits a byte, low first): width, height, payload length
            8       digest of the pixels, blake2b-64 of width, height (u32 each) and RGB rows
    method 1 only:
            8       first bytes of the model's id
            ...     LEB128: bits the prior cost, credit length, credit rows, group count and the rows of each group,
                    then for R, G, B: mean16 (zigzag) and scale of the top level
    then    payload
    last 4          CRC-32 of all before, little-endian

A reader checks magic, version, CRC, every number's range and, last, the pixels' digest.
"""
import hashlib
import zlib
from dataclasses import dataclass, field

from ..errors import DamagedFile, NotOurFile

MAGIC = b"\x8aBBK"
VERSION = 0
PLAIN, DIFFUSION = 0, 1
MAX_SIDE = 2**24
MAX_PIXELS = 2**31
ID_BYTES = 8
DIGEST_BYTES = 8


@dataclass(frozen=True)
class Header:
    """All a decoder needs besides the payload; sizes in pixels, bits and bytes."""

    width: int
    height: int
    method: int
    digest: bytes
    model: str = ""                         # first 16 hex digits of the id
    net_bits: int = 0                       # what the prior cost
    credit_bytes: int = 0                   # length of the strip that the stack started from
    rows: tuple = field(default=(0,))       # rows of the strip, then of each group
    top: tuple = ()                         # six integers: mean16 and scale of R, G, B

    @property
    def dims(self):
        return 3 * self.width * self.height


def pixel_digest(pixels):
    """blake2b-64 of an (H, W, 3) uint8 array and its size."""
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(width.to_bytes(4, "little") + height.to_bytes(4, "little"), digest_size=DIGEST_BYTES)
    digest.update(pixels.tobytes())
    return digest.digest()


def _number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value):
    return 2 * value if value >= 0 else -2 * value - 1


def write(header, payload):
    """Header and payload -> the file's bytes."""
    out = bytearray(MAGIC + bytes([VERSION, header.method]))
    for value in (header.width, header.height, len(payload)):
        out += _number(value)
    out += header.digest
    if header.method == DIFFUSION:
        out += bytes.fromhex(header.model)[:ID_BYTES]
        out += _number(header.net_bits) + _number(header.credit_bytes) + _number(header.rows[0])
        out += _number(len(header.rows) - 1) + b"".join(map(_number, header.rows[1:]))
        out += b"".join(map(_number, map(_zigzag, header.top)))
    out += payload
    return bytes(out) + zlib.crc32(out).to_bytes(4, "little")


class _Reader:
    def __init__(self, data, position, end):
        self.data, self.position, self.end = data, position, end

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
            if value > limit:
                raise DamagedFile("a number in the header is out of range")
            if byte < 128:
                return value
            shift += 7

    def signed(self, limit):
        value = self.number(2 * limit)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2


def read(data):
    """The file's bytes -> (Header, payload).  Errors: NotOurFile, DamagedFile."""
    if data[:4] != MAGIC:
        raise NotOurFile("not a bitsback file")
    if len(data) < 6:
        raise DamagedFile("cut short")
    if data[4] != VERSION:
        raise NotOurFile(f"format version {data[4]}, this program reads {VERSION}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DamagedFile("cut short or altered (checksum of the file)")
    reader = _Reader(data, 5, len(data) - 4)
    method = reader.take(1)[0]
    width, height, length = reader.number(MAX_SIDE), reader.number(MAX_SIDE), reader.number(2**40)
    if method not in (PLAIN, DIFFUSION) or not 0 < width * height <= MAX_PIXELS:
        raise DamagedFile("a number in the header is out of range")
    fields = {"width": width, "height": height, "method": method, "digest": reader.take(DIGEST_BYTES)}
    if method == DIFFUSION:
        fields["model"] = reader.take(ID_BYTES).hex()
        fields["net_bits"], fields["credit_bytes"] = reader.number(2**43), reader.number(length)
        strip = reader.number(height)
        groups = [reader.number(height) for _ in range(reader.number(4096))]
        fields["rows"] = (strip, *groups)
        if sum(fields["rows"]) != height or not all(fields["rows"]):
            raise DamagedFile("a number in the header is out of range")
        fields["top"] = tuple(reader.signed(2**15) if i % 2 == 0 else reader.signed(112) for i in range(6))
        if min(fields["top"][1::2]) < 0:
            raise DamagedFile("a number in the header is out of range")
    payload = reader.take(length)
    if reader.position != reader.end:
        raise DamagedFile("bytes left over at the end")
    return Header(**fields), payload


def read_header(data):
    """The Header alone, of bytes that `read` accepts."""
    return read(data)[0]
