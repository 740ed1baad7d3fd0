"""What stands before the payload of a file, or of a group of an archive (FORMAT.md)."""

import zlib
from dataclasses import dataclass, field

from tests.second_decoder.errors import NotOurFile, check
from tests.second_decoder.index import Entry, read_index
from tests.second_decoder.reader import Reader
from tests.second_decoder.sections import BLOCK_CHECKS, check_blocks, read_sections

MAGIC, MAJOR, MINOR = b"\x8aBBK", 1, 0
STACK, ARCHIVE, METADATA, SECTIONS, GROUPS = 1, 2, 4, 8, 16  # bits of the kind
PIXELS = 2**31  # of all images of a file


@dataclass
class StackNumbers:
    model: bytes  # the first 8 of its id
    credit: int  # bytes
    fallback_images: int
    flips: int
    start: tuple  # image (of those under the prior), rows, columns
    lanes: tuple  # samples for each, most of them
    segments: list  # (kind, size)
    top: list  # mean32 and scale of R, of G, of B


@dataclass
class Header:
    archive: bool
    mask: int  # of metadata; 0: there is none
    entries: list[Entry]
    checks: list[int]  # of an archive's images
    digest: bytes
    stack: StackNumbers | None = None
    sections: dict[int, bytes] = field(default_factory=dict)

    @property
    def under_prior(self):
        return self.entries[self.stack.fallback_images :] if self.stack else []


def check_magic(reader):
    """Magic, ten bytes at least, and version.  Returns the minor version."""
    if reader.left < 4 or reader.take(4) != MAGIC:
        raise NotOurFile("this is no .bbk file")
    check(reader.left >= 6, "the file is cut short")
    version = reader.fixed(1)
    if version >> 4 != MAJOR:
        raise NotOurFile(f"format version {version >> 4}.{version & 15}")
    return version & 15


def check_whole(data):
    """Version and CRC.  Returns the minor version."""
    minor = check_magic(Reader(data))
    check(zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "the CRC")
    return minor


def read_header(data):
    """(Header, payload) of a whole file without groups, or of one of them."""
    reader = Reader(data[:-4])
    reader.take(5)
    kind = reader.fixed(1)
    check(kind < GROUPS, "an unknown kind of file")
    mask = reader.n(2**27 - 1, 1) if kind & METADATA else 0
    if kind & ARCHIVE:
        length, count = reader.n(2**26), reader.n(2**24, 1)
        entries, checks = read_index(reader.take(length), count)
    else:
        form = reader.fixed(1)
        entries, checks = [Entry("", reader.n(2**24, 1), reader.n(2**24, 1), form=form)], []
    check(sum(entry.width * entry.height for entry in entries) <= PIXELS, "too many pixels")
    digest = reader.take(8 if kind & (STACK | ARCHIVE) else 4)
    header = Header(bool(kind & ARCHIVE), mask, entries, checks, digest)
    if kind & STACK:
        header.stack = read_stack(reader, header)
    if kind & SECTIONS:
        header.sections = read_sections(reader, bool(kind & STACK))
    begin, payload = reader.position, reader.rest()
    if BLOCK_CHECKS in header.sections:
        check_blocks(header.sections[BLOCK_CHECKS], data[:begin], payload)
    return header, payload


def read_stack(reader, header):
    count = len(header.entries)
    model, credit = reader.take(8), reader.n(len(reader.data))
    fallback_images = reader.n(count - 1) if header.archive else 0
    flips = reader.n(3)
    start = reader.n(count), reader.n(2**24), reader.n(2**24)
    lanes = reader.n(2**24, 1), reader.n(4096, 1)
    codes = [reader.n(2**26) for _ in range(reader.n(2**20, 1))]
    top = []
    for _ in range(3):
        top += [reader.z(2**15), reader.z(112, 0)]
    segments = [(code % 3, code // 3) for code in codes]
    return StackNumbers(model, credit, fallback_images, flips, start, lanes, segments, top)
