"""Image files put together by hand, as other programs write them and Pillow does not."""

import struct
import zlib

from bitsback.codecs.fallback.png import chunk


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
    """A TIFF of one strip of bytes.

    tags: {number: a number or a tuple}, of 2 bytes each (offsets and sizes 4); strip and counts are
    added.
    """
    data, long = bytes(samples), {256, 257, 273, 278, 279, 322, 323, 324, 325, 330}
    tags = {273: 8, 279: len(data), **tags}
    more, entries, place = b"", b"", 8 + len(data) + len(data) % 2
    for tag, values in sorted(tags.items()):
        values, letter = (
            values if isinstance(values, tuple) else (values,),
            "I" if tag in long else "H",
        )
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            more, packed = more + packed, struct.pack(order + "I", place + len(more))
        entries += struct.pack(
            order + "HHI", tag, 4 if letter == "I" else 3, len(values)
        ) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place + len(more))
    return (
        head
        + data.ljust(place - 8, b"\0")
        + more
        + struct.pack(order + "H", len(tags))
        + entries
        + bytes(4)
    )


def bmp(width, height, bits, rows, palette=b"", compression=0, masks=(), header=40):
    """A BMP, rows from the bottom up.

    palette: 4 bytes a colour; masks: of compression 3, 4 of them with a header of 56 bytes.
    """
    packed = struct.pack(f"<{len(masks)}I", *masks)
    head = (
        struct.pack(
            "<IiiHHIIiiII",
            header,
            width,
            height,
            1,
            bits,
            compression,
            len(rows),
            0,
            0,
            len(palette) // 4,
            0,
        )
        + packed
        + palette
    )
    return (
        b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows
    )


def tga(width, height, kind, depth, flags, rows, palette=b"", map_depth=0, start=0, extension=None):
    """A TGA.  extension: number of the kind of its alpha, in the extension area of version 2."""
    entries = 8 * len(palette) // map_depth if map_depth else 0
    data = (
        struct.pack(
            "<BBBHHBHHHHBB",
            0,
            bool(map_depth),
            kind,
            start,
            entries,
            map_depth,
            0,
            0,
            width,
            height,
            depth,
            flags,
        )
        + palette
        + rows
    )
    if extension is None:
        return data
    return (
        data
        + bytes(494)
        + bytes([extension])
        + struct.pack("<II", len(data), 0)
        + b"TRUEVISION-XFILE.\0"
    )


def icon(*images, size=(4, 4), bits=24):
    """An ICO of whole entries: DIBs with their masks, or PNGs."""
    out, place = struct.pack("<HHH", 0, 1, len(images)), 6 + 16 * len(images)
    for image in images:
        out += struct.pack("<BBBBHHII", *size, 0, 0, 1, bits, len(image), place)
        place += len(image)
    return out + b"".join(images)


def gif(canvas, frame, indices, palette, transparent=None):
    """A GIF of one frame (left, top, width, height) of at most 64 colours, each code 7 bits and the
    table cleared before it grows.
    """
    codes, left = [], list(indices)
    while left:
        codes += [64, *left[:60]]
        left = left[60:]
    bits = "".join(format(code, "07b")[::-1] for code in [*codes, 65])
    packed = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    blocks = (
        b"".join(
            bytes([len(part)]) + part
            for part in (packed[i : i + 255] for i in range(0, len(packed), 255))
        )
        + b"\0"
    )
    control = b"" if transparent is None else b"!\xf9\4\1\0\0" + bytes([transparent]) + b"\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *canvas, 0xD5, 0, 0)
        + palette.ljust(192, b"\0")
        + control
        + b","
        + struct.pack("<HHHHB", *frame, 0)
        + b"\6"
        + blocks
        + b";"
    )
