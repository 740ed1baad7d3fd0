"""A TIFF's first directory as it stands in the file: what it says of strips, tiles and samples.

Both byte orders, and BigTIFF.  Pillow and libtiff forgive what is refused here.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from bitsback.codecs.formats import tags

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL, CHANNELS = 256, 257, 258, 259, 262, 266, 277
ROWS, PLANAR, TILE_WIDTH, TILE_HEIGHT, SUBSAMPLING = 278, 284, 322, 323, 530
STRIPS, TILES = (273, 279), (324, 325)  # their places and sizes
IMAGE_DEPTH, TILE_DEPTH = 32997, 32998
LAYOUT = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL, CHANNELS, ROWS, PLANAR, 317, 320}
LAYOUT |= {TILE_WIDTH, TILE_HEIGHT, 338, 339, *STRIPS, *TILES, IMAGE_DEPTH, TILE_DEPTH}
SINGLE = {WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL, CHANNELS, ROWS, PLANAR, 317}
SINGLE |= {TILE_WIDTH, TILE_HEIGHT}
INTEGERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8"}
YCBCR, UNCOMPRESSED = 6, 1  # photometric interpretation; compression
DEFAULTS = {BITS: 1, COMPRESSION: UNCOMPRESSED, FILL: 1, CHANNELS: 1, PLANAR: 1}
DEFAULTS |= {IMAGE_DEPTH: 1, TILE_DEPTH: 1, SUBSAMPLING: 2}


class Unsound(Exception):
    """Why a file is refused."""


@dataclass
class Part:
    """A strip or tile: place and size in the file, decoded bytes that it needs and that it has if
    its last rows are padded.
    """

    place: int
    size: int
    least: int
    full: int


class Directory:
    """The first directory of a TIFF.  Errors: ValueError, Unsound."""

    def __init__(self, stream: BinaryIO):
        self.end = stream.seek(0, 2)
        self.file = tags.File(stream, self.end, tags.MOST_TAGS)
        self.listed, self.next = self.file.listing(self.file.offset)
        self.fields: dict[int, Any] = {}
        for tag, *entry in self.listed:
            if tag in LAYOUT and self.fields.get(tag, entry) != entry:
                raise Unsound(f"two different tags {tags.label(tag)}")
            self.fields.setdefault(tag, entry)

    def values(self, tag: int) -> np.ndarray:
        """Integers of a tag, an array.  Errors: Unsound."""
        if tag not in self.fields:
            return np.array([DEFAULTS[tag]] if tag in DEFAULTS else [], np.int64)
        kind, count, field = self.fields[tag]
        try:
            data, width = self.raw(tag), np.dtype(INTEGERS[kind]).itemsize
            return np.frombuffer(data, f"<{INTEGERS[kind]}", len(data) // width).astype(object)
        except KeyError:
            raise Unsound(f"a tag {tags.label(tag)} that cannot be read") from None

    def raw(self, tag: int) -> bytes:
        """The little-endian bytes of a tag's values.  Errors: Unsound."""
        kind, count, field = self.fields[tag]
        file = tags.File(self.file.stream, self.end, 1)
        try:
            if not count:
                raise ValueError
            return file.value(kind, count, field)
        except (KeyError, ValueError, OverflowError):
            raise Unsound(f"a tag {tags.label(tag)} that cannot be read") from None

    def one(self, tag: int, default: int | None = None) -> int:
        """The first integer of a tag.  Errors: Unsound."""
        values = self.values(tag)
        value = int(values[0]) if len(values) else default
        if value is None or value < 0 or value == 0 and tag in (WIDTH, HEIGHT, CHANNELS):
            raise Unsound(f"no valid {tags.label(tag)}")
        return value

    def row(self, width: int) -> int:
        """Bytes of `width` pixels of one plane."""
        channels, bits = self.one(CHANNELS), [int(value) for value in self.values(BITS)]
        bits = (bits if len(bits) > 1 else bits * channels)[:channels]
        return -(-width * (bits[0] if self.one(PLANAR) == 2 else sum(bits)) // 8)

    @property
    def tiled(self) -> bool:
        """Whether the samples are in tiles."""
        return TILE_WIDTH in self.fields and TILE_HEIGHT in self.fields

    @property
    def planes(self) -> int:
        """Images of one channel that are stored one after another, else 1."""
        return self.one(CHANNELS) if self.one(PLANAR) == 2 else 1

    def check_values(self) -> None:
        """Errors: Unsound for a tag about layout that cannot be read, or that libtiff refuses."""
        compressed = self.one(COMPRESSION) != UNCOMPRESSED
        for tag in LAYOUT & set(self.fields):
            if len(self.values(tag)) > 1 and compressed and tag in SINGLE:
                raise Unsound(f"several values of {tags.label(tag)}")
        if self.one(PLANAR) not in (1, 2):
            raise Unsound("an unknown order of channels")

    def parts(self) -> list[Part]:
        """Strips or tiles in order.  Errors: Unsound where they are not as many as needed."""
        width, height = self.one(WIDTH), self.one(HEIGHT)
        across, rows, row = 1, min(self.one(ROWS, height), height), self.row(width)
        if self.tiled:
            across, rows = self.one(TILE_WIDTH), self.one(TILE_HEIGHT)
            row, across = self.row(across), -(-width // (across or 1))
        if not rows or not row:
            raise Unsound("strips or tiles of no rows")
        down = -(-height // rows)
        expected, names = across * down * self.planes, TILES if TILES[0] in self.fields else STRIPS
        compressed = self.one(COMPRESSION) != UNCOMPRESSED
        if not compressed and (STRIPS[0] in self.fields) == self.tiled:
            raise Unsound("strips and tiles at once")  # Pillow would take the former
        places, sizes = (self.values(tag) for tag in names)
        if len(places) < expected or 0 < len(sizes) < expected:
            raise Unsound(f"strips or tiles missing: {len(places)} of {expected} are there")
        if compressed and not len(sizes) and expected > self.planes:
            raise Unsound("sizes of strips or tiles missing")
        if len(places) > expected and not compressed:
            raise Unsound(f"{len(places)} strips or tiles, where its size needs {expected}")
        # some writers pad a strip that is higher than the image
        full, found = row * max(rows, 0 if self.tiled else min(self.one(ROWS, rows), 2 * rows)), []
        if compressed and self.one(PHOTOMETRIC, YCBCR) == YCBCR:  # its colours may be subsampled
            row, full = row // 3, 2 * full
        for i in range(expected):
            left = rows if self.tiled else min(rows, height - i % down * rows)
            # old files lack sizes, and libtiff ignores those of uncompressed strips
            size = int(sizes[i]) if len(sizes) else self.end - int(places[i]) if compressed else 0
            size = size if compressed else max(size, row * left)
            found.append(Part(int(places[i]), size, row * left, full))
        return found

    def image_end(self, parts: list[Part]) -> tuple[int, int]:
        """(end of the image's data in the file, bytes of the image uncompressed)."""
        end = max(part.place + part.size for part in parts)
        return end, self.row(self.one(WIDTH)) * self.one(HEIGHT) * self.planes
