"""An archive in groups: what stands before them (FORMAT.md)."""

import zlib

from tests.second_decoder.errors import check
from tests.second_decoder.header import GROUPS, check_magic
from tests.second_decoder.reader import Reader


def groups(data):
    """[(number of images, bytes of the group)], each an archive of its own."""
    reader = Reader(data)
    check_magic(reader)
    check(reader.fixed(1) == GROUPS, "not an archive in groups")
    count, found = reader.n(2**20, 2), []
    sizes = [(reader.n(2**24, 1), reader.n(2**40)) for _ in range(count)]
    crc = zlib.crc32(data[: reader.position])
    check(reader.fixed(4) == crc, "the CRC of the table of groups")
    check(sum(images for images, _ in sizes) <= 2**24, "too many images")
    for images, size in sizes:
        found.append((images, reader.take(size)))
    reader.end("the last group")
    return found
