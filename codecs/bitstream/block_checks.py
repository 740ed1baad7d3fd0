"""Section 255: checksums of the header and of the payload's blocks, for what is damaged elsewhere.

    bytes
    1       b: a block is 2^b bytes of the payload, the last one what is left
    4       CRC-32 of all bytes of the file before these
    4 ...   CRC-32 of each block

The words of the stack stand in the payload in the order in which they are decoded, so all before
the first damaged block is of use (`decompress --salvage`).
"""

import zlib

from bitsback.errors import DamagedFile

BLOCK = 16  # b of this encoder: 4 bytes for 64 KiB, 0.006 %; segments are larger
SMALLEST, LARGEST = 12, 30  # b of others
HEAD = 5  # bytes before those of the blocks


def _crc(data) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def needed(payload: bytes) -> bool:
    """Whether a file is written with this section: where there is more than one block."""
    return len(payload) > 1 << BLOCK


def room(payload: bytes) -> bytes:
    """As many bytes as the section has, zeros."""
    return bytes(HEAD + 4 * -(-len(payload) >> BLOCK)) if needed(payload) else b""


def filled(file: bytes, payload: bytes) -> bytes:
    """A file's bytes up to the end of this section, whose `room` is last -> the same, filled in."""
    begin = len(file) - len(room(payload))
    head = file[:begin] + bytes([BLOCK])
    view = memoryview(payload)
    blocks = [view[at : at + (1 << BLOCK)] for at in range(0, len(payload), 1 << BLOCK)]
    return head + _crc(head) + b"".join(map(_crc, blocks))


def whole_bytes(section: bytes, header: bytes, payload: bytes) -> int:
    """How many bytes at the beginning of a payload are as they were written.

    header: the file's bytes before the payload, which end with this section; payload: of a file
    that may be cut short, then with what follows it.  Errors: DamagedFile where the header, or this
    section, is not whole.
    """
    before = header[: len(header) - len(section) + 1]
    blocks = [section[at : at + 4] for at in range(HEAD, len(section), 4)]
    if len(section) <= HEAD or len(section) % 4 != HEAD % 4:
        raise DamagedFile("checksums of blocks that are none")
    if not SMALLEST <= section[0] <= LARGEST or section[1:HEAD] != _crc(before):
        raise DamagedFile("damaged in its header, without which nothing can be decoded")
    size, view = 1 << section[0], memoryview(payload)
    for number, crc in enumerate(blocks):
        begin = number * size
        last = number + 1 == len(blocks)
        # Of the last block a checksum alone tells the length: the file's own follows, if all of it
        # is there.
        block = view[begin : len(payload) - 4] if last else view[begin : begin + size]
        if _crc(block) != crc:
            return begin
    return len(payload) - 4
