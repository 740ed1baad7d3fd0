"""The images of a file: what an archive's index says of each, and their modes (FORMAT.md)."""

import json
import zlib
from dataclasses import dataclass

import numpy as np

from tests.second_decoder.errors import check

MODES = [  # (name, type of a sample, channels), by number
    ("RGB", "u1", 3),
    ("RGBA", "u1", 4),
    ("L", "u1", 1),
    ("LA", "u1", 2),
    ("P", "u1", 1),
    ("1", "u1", 1),
    ("I;16", "<u2", 1),
    ("RGB;16", "<u2", 3),
    ("RGBA;16", "<u2", 4),
    ("LA;16", "<u2", 2),
    ("CMYK", "u1", 4),
    ("YCbCr", "u1", 3),
    ("LAB", "u1", 3),
    ("HSV", "u1", 3),
    ("I", "<i4", 1),
    ("F", "<f4", 1),
    ("PA", "u1", 2),
    ("RGBX", "u1", 4),
    ("RGBa", "u1", 4),
    ("La", "u1", 2),
    ("I;16B", "<u2", 1),
    ("RGB", "u1", 3),  # whose three colours are equal
    ("RGBA", "u1", 4),
]
EQUAL = 21, 22  # the last two
KINDS = "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "others", "JPEG"
UNDER_PRIOR = {0, 1, 2, 3, 6, 7, 8, 9, 20, *EQUAL}
ONE_COLOUR = {2, 3, 6, 9, 20, *EQUAL}  # of those under the prior
ALPHA = {1, 3, 8, 9, 22}


@dataclass(frozen=True)
class Entry:
    name: str
    width: int
    height: int
    permissions: int = 0
    mtime: int = 0
    form: int = 0

    def __post_init__(self):
        check(1 <= self.width <= 2**24 and 1 <= self.height <= 2**24, "a side of an image")
        check(0 <= self.form < 256 and self.number < len(MODES), "an unknown mode")

    @property
    def number(self):
        return self.form & 31

    @property
    def mode(self):
        return MODES[self.number][0]

    @property
    def kind(self):
        return KINDS[self.form >> 5]

    @property
    def dtype(self):
        return np.dtype(MODES[self.number][1])

    @property
    def shape(self):
        return self.height, self.width, MODES[self.number][2]

    @property
    def colours(self):
        """Channels under the prior."""
        return 1 if self.number in ONE_COLOUR else 3


def read_index(data, count):
    """([Entry], [CRC-32 of the samples & 65535])."""
    check(len(data) > 2 * count, "the index is too short")
    unpacker = zlib.decompressobj()
    rows = len(data) - 2 * count
    try:
        text = unpacker.decompress(data[:rows], min(2**13 * count + 2, 2**26) + 1).decode()
        table = json.loads(text)
    except (zlib.error, ValueError, RecursionError):
        check(False, "the index")
    check(len(text) <= min(2**13 * count + 2, 2**26), "a large index")
    check(isinstance(table, list) and len(table) == count, "the number of images")
    checks = [int.from_bytes(data[i : i + 2], "little") for i in range(rows, len(data), 2)]
    return [read_row(row) for row in table], checks


def read_row(row):
    check(isinstance(row, list) and len(row) == 6 and isinstance(row[0], str), "a row of the index")
    check(all(type(number) is int for number in row[1:]), "a number of the index")
    check_name(row[0])
    check(0 <= row[3] < 512 and abs(row[4]) < 2**40, "permissions or a time of the index")
    return Entry(*row)


def check_name(name):
    """Bytes that are no UTF-8 stand as lone surrogates.

    That it is a safe relative path is for those to check who write it to disk.
    """
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        check(False, "a name with surrogates that stand for no byte")
    check(data.decode("utf-8", "surrogateescape") == name, "surrogates that together are UTF-8")
