"""The bytes of a .bbk file: header, side information, payload, checksum (FORMAT.md).

    bytes
    4       magic "\\x8aBBK"
    1       format version (version.py)
    1       kind: 1 a stack is the payload (else fallback parts), 2 archive, 4 metadata, 8 sections
    n       with metadata: which the fallback parts begin with (bits by metadata.KINDS)
            one image: form (header.py), width, height
            archive: length of the index, number of images, the index (index.py)
    8 or 4  digest of all that is kept (blake2b); 4 bytes for one image without a stack
            with a stack: its numbers (stack_numbers.py)
            with sections: side information (sections.py)
    ...     payload: words of the stack, whose credit are the fallback parts; or these alone
    4       CRC-32 of all before, little-endian

n are LEB128 numbers (numbers.py).  A reader checks magic, version, CRC, the range of every number,
that the segments cover the images, and last the digest.  Checksums of blocks, the last section of
larger files, are for those that are damaged (block_checks.py).  An archive of several groups is a
table (table.py) and these, each a whole file as above.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from bitsback.codecs.bitstream import block_checks
from bitsback.codecs.bitstream.header import Entry, Header, read_form
from bitsback.codecs.bitstream.index import MAX_INDEX, read_index, write_index
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.bitstream.sections import (
    Tag,
    pack_names,
    read_names,
    read_sections,
    write_sections,
)
from bitsback.codecs.bitstream.stack_numbers import (
    MAX_SIDE,
    read_stack_numbers,
    write_stack_numbers,
)
from bitsback.codecs.bitstream.table import Group, is_grouped, join_groups, read_table
from bitsback.codecs.bitstream.version import (
    VERSION,
    check_version,
    is_known,
    known_to_version,
)
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage

MAGIC = b"\x8aBBK"
STACK, ARCHIVE, METADATA, SECTIONS = 1, 2, 4, 8
MAX_PIXELS = 2**31
MAX_IMAGES = 2**24
MAX_MASK = 2**27 - 1


def pixel_digest(images: Iterable[np.ndarray], size: int = 8, more: bytes = b"") -> bytes:
    """blake2b of the sizes and samples of arrays (H, W, ...), and of more bytes; `size` bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for pixels in images:
        height, width = pixels.shape[:2]
        digest.update(width.to_bytes(4, "little") + height.to_bytes(4, "little"))
        digest.update(np.ascontiguousarray(pixels).data)
    digest.update(more)
    return digest.digest()[:size]


def write(header: Header, payload: bytes, *, checks: bool = True) -> bytes:
    """Header and payload -> the file's bytes; checks: with checksums of a large payload's blocks.
    Errors: UnsupportedImage for names too long.
    """
    sections = dict(header.sections)
    if header.lost:
        sections[Tag.NOT_KEPT] = pack_names(header.lost)
    if checks and block_checks.needed(payload):
        sections[Tag.BLOCK_CHECKS] = block_checks.room(payload)
    flags = {STACK: header.model, ARCHIVE: header.archive}
    flags |= {METADATA: header.metadata, SECTIONS: sections}
    kind = sum(bit for bit, present in flags.items() if present)
    out = bytearray(MAGIC + bytes([VERSION, kind]))
    if header.metadata:
        out += number(header.metadata)
    if header.archive:
        index = write_index(header.entries)
        out += number(len(index)) + number(len(header.entries)) + index
    else:
        out += bytes([header.entries[0].form]) + number(header.width) + number(header.height)
    out += header.digest
    if header.model:
        out += write_stack_numbers(header)
    if sections:
        out += write_sections(sections)
    if Tag.BLOCK_CHECKS in sections:
        out = bytearray(block_checks.filled(bytes(out), payload))
    out += payload
    out += zlib.crc32(out).to_bytes(4, "little")
    return bytes(out)


def read(data: bytes) -> tuple[Header, bytes]:
    """The file's bytes -> (Header, payload).

    Errors: NotOurFile, DamagedFile; UnsupportedImage for an archive in groups (read_groups).
    """
    _check_head(data)
    if is_grouped(data):
        raise UnsupportedImage(f"an archive of images, in {len(read_table(data))} groups")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DamagedFile("cut short or altered (checksum of the file)")
    with known_to_version(data):
        header, reader, _ = _read_header(data, len(data) - 4)
    return header, reader.take(header.payload_bytes)


def read_damaged(data: bytes) -> tuple[Header, bytes]:
    """(Header, the beginning of the payload that is as it was written) of a damaged file, or group.

    Errors: NotOurFile; DamagedFile where the header is damaged, or nothing tells that it is not.
    """
    _check_head(data)
    header, reader, checks = _read_header(data, len(data), cut=True)
    if not checks:
        raise DamagedFile("no checksums tell which part of the file is whole")
    payload = data[reader.position :]
    whole = block_checks.whole_bytes(checks, data[: reader.position], payload)
    return header, payload[:whole]


def _read_header(data, end, cut=False):
    """(Header, Reader at the payload, which ends at `end`, checksums of blocks)."""
    reader = Reader(data, 5, end)
    kind = reader.take(1)[0]
    if kind & ~(STACK | ARCHIVE | METADATA | SECTIONS):
        raise DamagedFile("unknown kind")
    archive, metadata = bool(kind & ARCHIVE), reader.number(MAX_MASK) if kind & METADATA else 0
    if kind & METADATA and not metadata:
        raise DamagedFile("no metadata where the header says that there are some")
    entries = read_entries(reader, archive)
    digest = reader.take(8 if kind & (STACK | ARCHIVE) else 4)
    numbers = read_stack_numbers(reader, len(entries), archive, cut) if kind & STACK else {}
    sections = read_sections(reader) if kind & SECTIONS else {}
    checks = sections.pop(Tag.BLOCK_CHECKS, b"")
    lost = read_names(sections.pop(Tag.NOT_KEPT, b""))
    if sections and not kind & STACK:
        raise DamagedFile("side information of a prior, and no stack")
    header = Header(
        entries,
        digest,
        archive,
        metadata,
        lost,
        sections,
        **numbers,
        payload_bytes=reader.end - reader.position,
    )
    fallback = entries[: header.fallback_count] if kind & STACK else entries
    if any(entry.gray_as_rgb for entry in fallback):
        raise DamagedFile("a gray image stored as three equal colours, in the fallback parts")
    if kind & STACK and header.remainder_bytes > header.credit_bytes:
        raise DamagedFile("remainders larger than all fallback parts")
    return header, reader, checks


def _check_head(data):
    if data[:4] != MAGIC:
        raise NotOurFile("not a bitsback file")
    if len(data) < 10:
        raise DamagedFile("cut short")
    check_version(data)


def write_groups(groups: Sequence[tuple[int, bytes]]) -> bytes:
    """[(number of images, archive)] -> the bytes of an archive in groups; of one, that archive."""
    return join_groups(MAGIC + bytes([VERSION]), groups)


def read_groups(data: bytes, size: int | None = None) -> tuple[Group, ...]:
    """The groups of a file; of one that is not in groups, all of it as one, whose images (0) only
    its header tells.  data, size: as read_table's.  Errors: NotOurFile, DamagedFile.
    """
    _check_head(data)
    if is_grouped(data):
        return read_table(data, size)
    return (Group(0, len(data) if size is None else size, 0, 0),)


def read_group(data: bytes, group: Group) -> tuple[Header, bytes]:
    """(Header, payload) of a group; data: its bytes.  Errors: as of `read`; DamagedFile where it
    does not begin as a group, or the table tells another number of images."""
    if group.images and (data[:4] != MAGIC or not is_known(data) or is_grouped(data)):
        raise DamagedFile("a group that does not begin as one")  # the other groups may be whole
    header, payload = read(data)
    if group.images and (not header.archive or group.images != len(header.entries)):
        raise DamagedFile("a group without the images that the table tells")
    return header, payload


def read_header(data: bytes) -> Header:
    """The Header of any file, without decoding; of several groups, one of all their images.

    data: bytes, or an object that has them.  Errors: NotOurFile, DamagedFile.
    """
    data, headers = data if isinstance(data, bytes) else memoryview(data).tobytes(), []
    for i, group in enumerate(groups := read_groups(data)):
        try:
            headers.append(read_group(group.of(data), group)[0])
        except (DamagedFile, NotOurFile) as error:
            raise type(error)(in_group(i, len(groups), error)) from None
    return joined_header(headers)


def in_group(number: int, count: int, error: Exception) -> str:
    """The message of an error in a group, of `count`, which is not named where it is the only."""
    return f"group {number + 1} of {count}: {error}" if count > 1 else str(error)


def joined_header(headers: Sequence[Header]) -> Header:
    """One Header for the images of several groups: what a report needs, not a decoder."""
    if len(headers) == 1:
        return headers[0]
    metadata = 0
    for header in headers:
        metadata |= header.metadata
    return Header(
        tuple(entry for header in headers for entry in header.entries),
        b"".join(header.digest for header in headers),
        True,
        metadata,
        tuple(dict.fromkeys(name for header in headers for name in header.lost)),
        model=next((header.model for header in headers if header.model), ""),
        payload_bytes=sum(header.payload_bytes for header in headers),
    )


def read_entries(reader: Reader, archive: bool) -> tuple[Entry, ...]:
    """The images of a file, after its kind and metadata mask.  Errors: DamagedFile."""
    if archive:
        length, count = reader.number(MAX_INDEX), reader.number(MAX_IMAGES)
        entries = read_index(reader.take(length), count)
    else:
        form = read_form(reader.take(1)[0])
        entries = (Entry(reader.number(MAX_SIDE), reader.number(MAX_SIDE), **form),)
    if any(min(e.width, e.height) < 1 or max(e.width, e.height) > MAX_SIDE for e in entries):
        raise DamagedFile("an image's size is out of range")
    if sum(e.width * e.height for e in entries) > MAX_PIXELS:
        raise DamagedFile("an image's size is out of range")
    return entries
