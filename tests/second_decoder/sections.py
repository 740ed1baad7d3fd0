"""Side information: the sections of a file, without what is coded in them (FORMAT.md)."""

import zlib

from tests.second_decoder.errors import FileError, check
from tests.second_decoder.reader import Reader

BIAS_UPDATES, FLAT_MAP, BLOCK_MEANS, SHARPNESS, DEPTHS = 1, 2, 3, 4, 5
NOT_KEPT, BLOCK_CHECKS = 129, 255
CRITICAL = 128  # tags below this


def read_sections(reader, stack):
    """{tag: bytes}; stack: whether the file has one."""
    found, last = {}, -1
    for _ in range(reader.n(256, 1)):
        tag = reader.fixed(1)
        check(tag > last, "tags of sections do not rise")
        found[tag], last = reader.sized(least=1), tag
    for tag in found:
        if tag < CRITICAL:
            known = tag in (BIAS_UPDATES, FLAT_MAP, BLOCK_MEANS, SHARPNESS, DEPTHS)
            check(known, f"needs {name_of(tag, found[tag])}")
        check(stack or tag >= CRITICAL, "side information of a file without a stack")
    not_kept(found)
    return found


def name_of(tag, data):
    """Of a critical section of a later minor version, which begins with its name."""
    try:
        name = Reader(data).sized(64, 1).decode("ascii")
    except (FileError, UnicodeDecodeError):
        return f"section {tag}"
    return f'"{name}" (section {tag})' if name.isprintable() else f"section {tag}"


def check_blocks(section, before, payload):
    """Checksums of what stands before them, and of blocks of the payload.

    before: all bytes of the file up to the end of the section.
    """
    reader = Reader(section)
    bits = reader.fixed(1)
    check(12 <= bits <= 30, "the size of a block")
    crc = zlib.crc32(before[: len(before) - reader.left])
    check(reader.fixed(4) == crc, "the checksum of the header")
    for begin in range(0, len(payload), 2**bits):
        crc = zlib.crc32(payload[begin : begin + 2**bits])
        check(reader.fixed(4) == crc, "the checksum of a block")
    reader.end("the checksums of blocks")


def not_kept(sections):
    """Names of what the source files had and is not kept."""
    data = sections.get(NOT_KEPT)
    if data is None:
        return []
    names = data.decode("latin-1").split("\n")
    printable = all(name and name.isascii() and name.isprintable() for name in names)
    check(len(data) <= 2**12 and printable, "the names of what is not kept")
    return names
