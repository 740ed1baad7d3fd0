"""Section 255: checksums of the header and of blocks of the payload."""

import zlib

import numpy as np
import pytest

from bitsback.codecs.bitstream import block_checks
from bitsback.codecs.bitstream.container import Entry, Header, read, read_damaged, write
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.errors import DamagedFile

BLOCK = 1 << 16
HEAD = 13  # bytes of a plain header without sections


def file_of(payload_bytes):
    """(header, payload, file) of random bytes."""
    payload = np.random.default_rng(payload_bytes).bytes(payload_bytes)
    header = Header((Entry(5, 3),), b"abcd", lost=("a thing",))
    return header, payload, write(header, payload)


@pytest.mark.parametrize("size, blocks", [(BLOCK, 0), (BLOCK + 1, 2), (3 * BLOCK, 3)])
def test_written_where_there_is_more_than_one_block(size, blocks):
    """The bytes as specified: b, CRC-32 of what is before, one CRC-32 a block; read passes over."""
    header, payload, data = file_of(size)
    found, rest = read(data)
    assert (found, rest) == (header, payload)
    assert len(data) == HEAD + 10 + size + 4 + (blocks and 2 + 5 + 4 * blocks)
    if blocks:
        section = data[-4 - size - 5 - 4 * blocks : -4 - size]
        begin = len(data) - 4 - size - len(section)
        assert data[begin - 2 : begin] == bytes([255, len(section)]) and section[0] == 16
        crcs = [zlib.crc32(data[: begin + 1])]
        crcs += [zlib.crc32(payload[at : at + BLOCK]) for at in range(0, size, BLOCK)]
        assert section[1:] == b"".join(crc.to_bytes(4, "little") for crc in crcs)


@pytest.mark.parametrize("size", [BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 5])
def test_what_is_whole_before_the_damage(size):
    """Blocks before the first altered byte, or before the end of a file that is cut short."""
    header, payload, data = file_of(size)
    assert read_damaged(data) == (header, payload)
    begin = len(data) - 4 - size
    for at in (0, 1, BLOCK - 1, BLOCK, size - 1):
        altered = bytearray(data)
        altered[begin + at] ^= 4
        whole = at // BLOCK * BLOCK
        assert read_damaged(bytes(altered)) == (header, payload[:whole])
        assert read_damaged(data[: begin + at]) == (header, payload[:whole])
    altered = data[:-1] + bytes([data[-1] ^ 1])  # only the file's own checksum is damaged
    assert read_damaged(altered) == (header, payload)


def test_a_damaged_header_tells_nothing():
    """Any bit before the payload, but those of the blocks' checksums, which lose their block."""
    header, payload, data = file_of(2 * BLOCK)
    begin = len(data) - 4 - len(payload)
    for at in range(begin):
        altered = bytearray(data)
        altered[at] ^= 2
        if at >= begin - 8:
            whole = BLOCK if at >= begin - 4 else 0
            assert read_damaged(bytes(altered)) == (header, payload[:whole])
            continue
        with pytest.raises(Exception) as error:
            read_damaged(bytes(altered))
        assert error.type.__module__ == "bitsback.errors"


@pytest.mark.parametrize("section", [b"\x10", bytes(5), b"\x10" + bytes(5), b"\x10" + bytes(8)])
def test_a_section_that_is_none(section):
    with pytest.raises(DamagedFile):
        block_checks.whole_bytes(section, b"head" + section, bytes(100))


def test_a_small_file_has_none():
    with pytest.raises(DamagedFile, match="no checksums"):
        read_damaged(file_of(100)[2])


def test_a_file_cut_to_less_than_its_credit():
    """The lower bits of 16-bit images may be most of a file: the rest of it is still of use."""
    payload = np.random.default_rng(1).bytes(4 * BLOCK)
    stack = {"model": "12" * 8, "credit_bytes": 3 * BLOCK, "segments": ((0, 1),), "top": (0, 1) * 3}
    header = Header((Entry(5, 3),), bytes(8), lanes=LaneRule(1, 1), **stack)
    data = write(header, payload)
    assert read_damaged(data[: BLOCK + 999])[1] == payload[:BLOCK]
