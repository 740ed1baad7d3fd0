"""Compressed strips and tiles of a TIFF are decoded to their end, which libtiff does not do.

libtiff stops when it has the bytes of the image, before a checksum that would show damage, and
takes as many from a damaged strip of which more would follow.
"""

import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from bitsback.codecs.fallback.jxl import load_imagecodecs
from bitsback.codecs.formats import tiff_directory
from bitsback.errors import MissingPackage

LZW, PACKBITS, ZSTD = 5, 32773, 50000
STREAMED: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
}
BY_IMAGECODECS = {LZW: "lzw", PACKBITS: "packbits", ZSTD: "zstd"}
PIECE = 2**16  # compressed bytes that are decompressed at once
TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # for FillOrder 2


def is_whole(
    stream: BinaryIO, part: tiff_directory.Part, compression: int, turned: bool, end: int
) -> bool:
    """Whether a strip or tile decodes to its end, as far as that can be known.

    compression: TIFF's number; turned: its bits begin with the lowest of a byte; end: of the file.
    """
    if compression == tiff_directory.UNCOMPRESSED:
        return True  # Pillow refuses what is cut off
    if part.place + part.size > end:
        return False
    stream.seek(part.place)
    if compression in STREAMED:
        return _decodes(stream, part, STREAMED[compression](), turned)
    if compression not in BY_IMAGECODECS:
        return True
    data = stream.read(part.size)
    data = data.translate(TURNED) if turned else data
    if compression == LZW and data[:1] == b"\0" and data[1:2] > b"\0" and data[1] & 1:
        return True  # the bit order of old versions of libtiff
    name = BY_IMAGECODECS[compression]
    try:
        codecs = load_imagecodecs()
        if not getattr(codecs, name.upper()).available:
            return True
    except (MissingPackage, AttributeError):
        return True
    try:
        found = len(getattr(codecs, f"{name}_decode")(data, out=part.full + 1))
    except Exception:  # imagecodecs raises many kinds
        return False
    return part.least <= found <= part.full


def _decodes(stream, part, unpacker, turned):
    """As is_whole, of a compression with checksums, in little memory."""
    found, size = 0, part.size
    while size > 0 and not unpacker.eof:
        data = stream.read(min(size, PIECE))
        if not data:
            return False
        size -= len(data)
        try:
            found += len(unpacker.decompress(data.translate(TURNED) if turned else data))
        except (zlib.error, lzma.LZMAError):
            return False
        if found > part.full:
            return False
    return bool(unpacker.eof) and found >= part.least
