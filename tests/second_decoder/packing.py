"""The two ways in which bytes are packed (FORMAT.md, differences)."""

import lzma
import zlib

from tests.second_decoder.errors import check

LZMA2 = {"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": 2**22}


def unpack(data, by_lzma, most):
    """At most `most` bytes; the packed stream ends with the data."""
    try:
        if by_lzma:
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[LZMA2])
        else:
            unpacker = zlib.decompressobj()
        found = unpacker.decompress(data, most + 1)
    except (zlib.error, lzma.LZMAError):
        check(False, "a packed stream")
    check(len(found) <= most, "more bytes than there may be")
    check(unpacker.eof and not unpacker.unused_data, "a packed stream does not end with its part")
    return found
