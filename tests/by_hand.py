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


def tiff(samples, tags, order="<"):
    """A TIFF of one strip of bytes.  tags: {number: a number or a tuple}, of 2 bytes each (offsets and sizes 4); strip and counts are added."""
    data, long = bytes(samples), {256, 257, 273, 278, 279, 322, 323, 324, 325, 330}
    tags = {273: 8, 279: len(data), **tags}
    more, entries, place = b"", b"", 8 + len(data) + len(data) % 2
    for tag, values in sorted(tags.items()):
        values, letter = values if isinstance(values, tuple) else (values,), "I" if tag in long else "H"
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            more, packed = more + packed, struct.pack(order + "I", place + len(more))
        entries += struct.pack(order + "HHI", tag, 4 if letter == "I" else 3, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place + len(more))
    return head + data.ljust(place - 8, b"\0") + more + struct.pack(order + "H", len(tags)) + entries + bytes(4)
