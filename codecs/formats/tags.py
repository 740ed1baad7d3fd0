"""A TIFF's tags, stored unchanged as (tag, type, value) in rising order.

value: little-endian bytes; with type 0 the list of tags of the directory (Exif, GPS,
Interoperability) to which the tag points.  Not stored are tags about the layout of samples, which
a written file has itself, and those that point to further images.
"""

import io
import struct
from collections.abc import Collection, Iterable
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffTags

# by type: bytes of a value, and bytes of the words in it that depend on the byte order
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}
WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
FOLDERS: dict[int, dict] = {  # tags that point to directories: such tags within those
    0x8769: {0xA005: {}},
    0x8825: {},
}
STORAGE = {  # tags about the layout of samples
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 288, 289, 292, 293, 317),
    *(320, 322, 323, 324, 325, 338, 339, 347, 530, *range(512, 522)),
}
IMAGES = {330}  # tags that point to directories with images
MOST_TAGS = 2**16  # in a directory
MAKER_NOTE, COMMENTS = 0x927C, {0x9286, 27, 28}  # comments: of the user, on the place (GPS)
TABLES = {0x8828, 0xA20C, 0xA302, 0xA40B, 0xC4A5}  # of curves, colour filters, settings, printers
# beginnings of the makers' notes that have a byte order of their own
OWN_ORDER = (b"Nikon\0\2", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"Apple iOS\0")
UNDEFINED = 7
NAMES = {
    34675: "icc",
    700: "xmp",
    282: "dpi",
    283: "dpi",
    296: "dpi",
    33723: "iptc",
    34377: "photoshop",
    **dict.fromkeys((33550, 33922, 34264, 34735, 34736, 34737), "geotiff"),
    **dict.fromkeys((0x10E, 0x10F, 0x110, 0x112, 0x131, 0x132, 0x13B, 0x8298), "exif"),
    **dict.fromkeys(FOLDERS, "exif"),
}


def label(tag: int) -> str:
    """A tag's name for display."""
    name = TiffTags.lookup(tag).name
    return NAMES.get(tag) or (f"tag {tag}" if name == "unknown" else name)


Tag = tuple[int, int, Any]  # tag, type, value


def points(tag: int, kind: int) -> bool:
    """Whether a tag's value is the place of a directory: of type IFD or IFD8, or tag 400."""
    return kind in (13, 18) or tag == 400


def depends_on_order(tag: int, value: bytes) -> bool:
    """Whether an Exif value of bytes holds numbers or texts in its file's byte order, which are not
    converted: a note of the maker, a comment in UTF-16, a table.
    """
    if tag in COMMENTS:
        return value.startswith(b"UNICODE\0") and any(value[8:])
    return tag in TABLES or tag == MAKER_NOTE and not value.startswith(OWN_ORDER)


# --- reading ---------------------------------------------------------------------------------


class File:
    """A TIFF that is read: stream, byte order, formats of its fields, remaining limits."""

    def __init__(self, stream: BinaryIO, most_bytes: int, most: int):
        self.stream, self.most_bytes, self.most = stream, most_bytes, most
        self.lost: list[str] = []
        self.seen: set[int] = set()
        stream.seek(0)
        head = stream.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self.count, self.pointer, self.entry = ("Q", "Q", "HHQ") if self.big else ("H", "I", "HHI")
        self.offset = self.number(self.pointer, head[8:16] if self.big else head[4:8])

    def number(self, form: str, data: bytes) -> int:
        """A field as an integer, in the file's byte order."""
        return struct.unpack(self.order + form, data)[0]

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes at an offset.  Errors: ValueError."""
        self.stream.seek(offset)
        data = self.stream.read(size)
        if len(data) < size:
            raise ValueError("beyond the end of the file")
        return data

    def value(self, kind: int, count: int, field: bytes) -> bytes:
        """An entry's value in little-endian order.  field: value or offset.  Errors: ValueError."""
        size = SIZES[kind] * count
        if size > self.most_bytes or self.most < 1:
            raise ValueError("too much")
        if size > len(field):
            field = self.at(self.number(self.pointer, field), size)
        self.most_bytes, self.most = self.most_bytes - size - 8, self.most - 1
        word = WORDS.get(kind, 1)
        return np.frombuffer(field[:size], f"{self.order}u{word}").astype(f"<u{word}").tobytes()

    def listing(self, offset: int) -> tuple[list[tuple[int, int, int, bytes]], int]:
        """([(tag, type, number of values, field)], place of the next directory or 0).

        Errors: ValueError.
        """
        first, head, width = (8, 12, 20) if self.big else (2, 8, 12)
        count = self.number(self.count, self.at(offset, first))
        if count > MOST_TAGS:
            raise ValueError("too many tags")
        data, found = self.at(offset + first, width * count), []
        for i in range(0, width * count, width):
            entry = data[i : i + width]
            found.append((*struct.unpack(self.order + self.entry, entry[:head]), entry[head:]))
        behind = self.stream.read(width - head)
        # a file that ends with its directory has none behind it
        return found, self.number(self.pointer, behind) if len(behind) == width - head else 0

    def directory(self, offset: int, folders: dict, storage: Collection[int]) -> tuple[Tag, ...]:
        """The tags of the directory at an offset.  Errors: ValueError, struct.error."""
        if offset in self.seen:
            raise ValueError("a directory that contains itself")
        self.seen.add(offset)
        found: dict[int, Tag] = {}
        for tag, kind, values, field in self.listing(offset)[0]:
            if tag in storage:
                continue
            try:
                if tag in found or tag in IMAGES or tag not in folders and points(tag, kind):
                    raise ValueError("a repeated tag, images, or a directory of another kind")
                value = self.value(kind, values, field)
                if tag in folders:
                    self.most -= 1
                    inner = self.directory(int.from_bytes(value, "little"), folders[tag], ())
                    found[tag] = (tag, 0, inner)
                else:
                    found[tag] = (tag, kind, value)
                    if (
                        self.order == ">"
                        and kind in (1, UNDEFINED)
                        and depends_on_order(tag, value)
                    ):
                        self.lost.append("exif (byte order)")
            except (ValueError, KeyError, struct.error, OverflowError):
                damage = "" if tag in IMAGES or points(tag, kind) else " (damaged or too long)"
                self.lost.append(label(tag) + damage)
        return tuple(found[tag] for tag in sorted(found))


def read_tags(
    stream: BinaryIO, most_bytes: int, most: int
) -> tuple[tuple[Tag, ...], tuple[str, ...]]:
    """Reads a TIFF that Pillow has read: (tags, names of what is not among them).

    most_bytes, most: limits for all tags; those beyond are among the names.
    """
    try:
        file = File(stream, most_bytes, most)
        found = file.directory(file.offset, FOLDERS, STORAGE)
    except (ValueError, struct.error, OverflowError):
        return (), ("tags",)
    return found, tuple(dict.fromkeys(file.lost))


# --- writing ---------------------------------------------------------------------------------


def _directory(entries, own, offset):
    """A directory to be placed at `offset`, and its values.  own: {tag: its 12 bytes}."""
    fields, behind = dict(own), bytearray()
    begin = offset + 6 + 12 * (len(own) + len(entries))
    for tag, kind, value in entries:
        if kind == 0:
            value = _directory(value, {}, begin + len(behind))
            fields[tag] = struct.pack("<HHII", tag, 4, 1, begin + len(behind))
        else:
            far = struct.pack("<I", begin + len(behind))
            field = far if len(value) > 4 else value.ljust(4, b"\0")
            fields[tag] = struct.pack("<HHI", tag, kind, len(value) // SIZES[kind]) + field
            value = value if len(value) > 4 else b""
        behind += value + bytes(len(value) % 2)
    listed = b"".join(fields[tag] for tag in sorted(fields))
    return struct.pack("<H", len(fields)) + listed + bytes(4) + behind


def with_tags(data: bytes, entries: Iterable[Tag]) -> bytes:
    """`data`, a little-endian TIFF of one image, with `entries` and its own tags about layout."""
    (offset,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[offset : offset + 2])
    fields = [data[offset + 2 + 12 * i : offset + 14 + 12 * i] for i in range(count)]
    own = {int.from_bytes(field[:2], "little"): field for field in fields}
    own = {tag: field for tag, field in own.items() if tag in STORAGE}
    data += bytes(len(data) % 2)
    return (
        data[:4]
        + struct.pack("<I", len(data))
        + data[8:]
        + _directory(list(entries), own, len(data))
    )


def exif_block(entries: Iterable[Tag]) -> bytes:
    """Exif as other formats than TIFF hold it: a directory of `entries`."""
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + _directory(list(entries), {}, 8)


def pillow_with_tags(entries: Iterable[Tag]) -> Image.Image:
    """A Pillow image of one pixel, not yet loaded, that has the tags."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "TIFF")
    return Image.open(io.BytesIO(with_tags(out.getvalue(), entries)))


def names(entries: Iterable[Tag]) -> list[str]:
    """The contents of a list for display."""
    return list(dict.fromkeys(label(tag) for tag, *_ in entries)) or ["tiff"]
