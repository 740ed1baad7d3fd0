"""A TIFF's tags, kept as they are and put back: a list of (tag, type, value), by rising tag.

value: little-endian bytes, or with type 0 the list of another directory (Exif, GPS,
Interoperability), to which the tag points.  Not kept are the tags that say how samples are stored,
which a written file has of its own, and those that point to further images.
"""

import io
import struct

import numpy as np
from PIL import Image, TiffTags

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.errors import DamagedFile

# bytes of a value of each type, and of what a byte order turns round in it
SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
FOLDERS = {0x8769: {0xA005: {}}, 0x8825: {}}  # tags that point to directories, those within them
STORAGE = {
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    277,
    278,
    279,
    284,
    288,
    289,
    292,
    293,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
    347,
    530,
    *range(512, 522),
}
IMAGES = {330}  # further directories with images
PACKED, SHORT = {3, 4, 5, 13, 16, 18}, 16  # types packed as numbers, up to so many words
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


def told(tag: int) -> str:
    """A tag's name for people."""
    name = TiffTags.lookup(tag).name
    return NAMES.get(tag) or (f"tag {tag}" if name == "unknown" else name)


# --- a file's tags -> list -------------------------------------------------------------------


class _File:
    """A TIFF's stream, its byte order, its fields' formats; how much may still be kept."""

    def __init__(self, stream, most_bytes, most):
        self.stream, self.most_bytes, self.most = stream, most_bytes, most
        self.lost, self.seen = [], set()
        stream.seek(0)
        head = stream.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self.count, self.pointer, self.entry = ("Q", "Q", "HHQ") if self.big else ("H", "I", "HHI")
        self.offset = self.number(self.pointer, head[8:16] if self.big else head[4:8])

    def number(self, form, data):
        return struct.unpack(self.order + form, data)[0]

    def at(self, offset, size):
        self.stream.seek(offset)
        data = self.stream.read(size)
        if len(data) < size:
            raise ValueError("beyond the file's end")
        return data

    def value(self, kind, count, field):
        size = SIZES[kind] * count
        if size > self.most_bytes or self.most < 1:
            raise ValueError("too much")
        if size > len(field):
            field = self.at(self.number(self.pointer, field), size)
        self.most_bytes, self.most = self.most_bytes - size - 8, self.most - 1
        word = WORDS.get(kind, 1)
        return np.frombuffer(field[:size], f"{self.order}u{word}").astype(f"<u{word}").tobytes()

    def directory(self, offset, folders, storage):
        """The list of the directory at an offset.  Errors: ValueError, struct.error."""
        if offset in self.seen:
            raise ValueError("a directory within itself")
        self.seen.add(offset)
        first, head, width = (8, 12, 20) if self.big else (2, 8, 12)
        count = self.number(self.count, self.at(offset, first))
        if count > 2**16:
            raise ValueError("too many tags")
        data, found = self.at(offset + first, width * count), {}
        for i in range(count):
            entry = data[width * i : width * (i + 1)]
            tag, kind, values = struct.unpack(self.order + self.entry, entry[:head])
            if tag in storage:
                continue
            try:
                if tag in found or tag in IMAGES:
                    raise ValueError("twice, or images")
                value = self.value(kind, values, entry[head:])
                if tag in folders:
                    self.most -= 1
                    inner = self.directory(int.from_bytes(value, "little"), folders[tag], ())
                    found[tag] = (tag, 0, inner)
                else:
                    found[tag] = (tag, kind, value)
            except (ValueError, KeyError, struct.error, OverflowError):
                damage = "" if tag in IMAGES else " (damaged or too long)"
                self.lost.append(told(tag) + damage)
        return tuple(found[tag] for tag in sorted(found))


def read_tags(stream, most_bytes: int, most: int) -> tuple[tuple, tuple]:
    """A seekable stream of a TIFF that Pillow has read -> (list, names of what the list has not).

    most_bytes, most: of all values and tags; what is beyond is among the names.
    """
    try:
        file = _File(stream, most_bytes, most)
        found = file.directory(file.offset, FOLDERS, STORAGE)
    except (ValueError, struct.error, OverflowError):
        return (), ("tags",)
    return found, tuple(dict.fromkeys(file.lost))


# --- list -> a file --------------------------------------------------------------------------


def _directory(entries, own, offset):
    """A directory for `offset`, and what its entries point to.  own: {tag: its 12 bytes}."""
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


def with_tags(data: bytes, entries) -> bytes:
    """A little-endian TIFF of one image with a list's tags beside its own about storage."""
    (offset,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[offset : offset + 2])
    fields = [data[offset + 2 + 12 * i : offset + 14 + 12 * i] for i in range(count)]
    own = {int.from_bytes(field[:2], "little"): field for field in fields}
    own = {tag: field for tag, field in own.items() if tag in STORAGE}
    data += bytes(len(data) % 2)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + _directory(entries, own, len(data))


def shown(entries) -> Image.Image:
    """A Pillow image of one pixel, not yet loaded, that has the list's tags."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "TIFF")
    return Image.open(io.BytesIO(with_tags(out.getvalue(), entries)))


# --- list <-> bytes --------------------------------------------------------------------------


def names(entries) -> list[str]:
    """What a list has, for people and for `info`."""
    return list(dict.fromkeys(told(tag) for tag, *_ in entries)) or ["tiff"]


def count(entries) -> int:
    """Tags in a list and in the directories within it."""
    return sum(1 + (count(value) if kind == 0 else 0) for _, kind, value in entries)


def pack_tags(entries) -> bytes:
    """A list -> bytes: count; for each what the tag rises by, type, a directory's list or a value.

    A value: count of words and these, as LEB128 where few numbers are as a rule small.
    """
    out, before = bytearray(number(len(entries))), 0
    for tag, kind, value in entries:
        out += number(tag - before) + bytes([kind])
        before = tag
        if kind == 0:
            out += pack_tags(value)
            continue
        word = WORDS.get(kind, 1)
        count = len(value) // word
        out += number(count)
        if kind in PACKED and count <= SHORT:
            value = b"".join(map(number, np.frombuffer(value, f"<u{word}").tolist()))
        out += value
    return bytes(out)


def _unpack(reader, most, folders, storage):
    found, before = [], -1
    for _ in range(reader.number(most)):
        tag, kind = max(before, 0) + reader.number(2**16), reader.take(1)[0]
        known = kind in SIZES if kind else tag in folders
        if tag <= before or tag >= 2**16 or tag in storage or not known:
            raise DamagedFile("a tag that cannot be kept")
        before = tag
        if kind == 0:
            found.append((tag, 0, _unpack(reader, most, folders[tag], ())))
            continue
        word = WORDS.get(kind, 1)
        count = reader.number(reader.end)
        if kind in PACKED and count <= SHORT:
            words = [reader.number(256**word - 1) for _ in range(count)]
            value = b"".join(value.to_bytes(word, "little") for value in words)
        else:
            value = bytes(reader.take(word * count))
        if len(value) % SIZES[kind]:
            raise DamagedFile("a tag of half a value")
        found.append((tag, kind, value))
    return tuple(found)


def unpack_tags(data: bytes, most: int) -> tuple:
    """The mirror of pack_tags, at most `most` entries a directory.  Errors: DamagedFile."""
    reader = Reader(data)
    found = _unpack(reader, most, FOLDERS, STORAGE | IMAGES)
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the tags")
    return found
