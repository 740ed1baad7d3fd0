"""Picture files put together by hand, as other programs write them and Pillow does not."""
import struct
import zlib

from bitsback.codecs.plain import chunk


def png(width, height, depth, kind, rows, *chunks):
    """A PNG of filtered rows; chunks: bytes between IHDR and IDAT."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def unfiltered(samples):
    """Rows of (H, ...) samples with the filter "none" before each."""
    return b"".join(b"\0" + row.tobytes() for row in samples)


def beyond_palette(samples, colours=16):
    """A PNG of (H, W) uint8 indices, of which some may be beyond its `colours` entries."""
    plte = chunk(b"PLTE", bytes(range(1, 3 * colours + 1)))
    return png(samples.shape[1], samples.shape[0], 8, 3, unfiltered(samples), plte)
