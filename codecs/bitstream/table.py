"""The table of an archive in groups, each a whole archive with an index and checksums of its own.

    bytes
    4       magic
    1       format version
    1       kind: 16
    n       number of groups, at least 2
    n, n    of each group: its images, its bytes
    4       CRC-32 of all before, little-endian
    ...     the groups, one after the other, to the end of the file

n are LEB128 numbers.  A group can be read, checked and decoded without the others; what is damaged
in one, or cut off, leaves the others as they are.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.errors import DamagedFile

GROUPED = 16  # the kind
HEAD = 6  # bytes of magic, version and kind
MAX_GROUPS = 2**20
MAX_IMAGES = 2**24  # of all groups
MAX_BYTES = 2**40  # of one group
ROW = 16  # bytes that a row of the table has at most, and more than the numbers around it have


class Group(NamedTuple):
    """One group: where its bytes lie in the file, and which images it has (first, images)."""

    begin: int
    size: int
    first: int
    images: int

    def of(self, data: bytes) -> bytes:
        """The group's bytes, fewer where the file is cut short."""
        return data[self.begin : self.begin + self.size]


def is_grouped(data: bytes) -> bool:
    """Whether a file with this beginning, which has our magic and version, is in groups."""
    return len(data) >= HEAD and data[HEAD - 1] == GROUPED


def table_bytes(data: bytes) -> int:
    """How many bytes at the beginning of a file in groups surely hold its table.

    data: its first HEAD + 10 bytes or more.  Errors: DamagedFile.
    """
    return HEAD + 2 * ROW + ROW * Reader(data, HEAD).number(MAX_GROUPS)


def join_groups(head: bytes, groups: Sequence[tuple[int, bytes]]) -> bytes:
    """[(number of images, bytes)] -> the file: of one group, that group itself.

    head: magic and version.
    """
    if len(groups) == 1:
        return groups[0][1]
    table = bytearray(head + bytes([GROUPED]) + number(len(groups)))
    for images, data in groups:
        table += number(images) + number(len(data))
    table += zlib.crc32(table).to_bytes(4, "little")
    return bytes(table) + b"".join(data for _, data in groups)


def read_table(data: bytes, size: int | None = None) -> tuple[Group, ...]:
    """The mirror of join_groups, of a file for which is_grouped holds.

    data: all of it, or table_bytes of it, and then size, all its bytes.  The groups may reach
    beyond a file that was cut short.  Errors: DamagedFile.
    """
    reader, groups = Reader(data, HEAD), []
    count = reader.number(MAX_GROUPS)
    rows = [(reader.number(MAX_IMAGES), reader.number(MAX_BYTES)) for _ in range(count)]
    if zlib.crc32(data[: reader.position]) != int.from_bytes(reader.take(4), "little"):
        raise DamagedFile("cut short or altered (checksum of the table of groups)")
    begin, first = reader.position, 0
    for images, length in rows:
        groups.append(Group(begin, length, first, images))
        begin, first = begin + length, first + images
    if count < 2 or first > MAX_IMAGES or any(not group.images for group in groups):
        raise DamagedFile("a table of groups that are none")
    if begin < (len(data) if size is None else size):
        raise DamagedFile("bytes left over after the groups")
    return tuple(groups)
