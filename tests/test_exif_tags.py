"""exif_tags.py: Exif that another format holds only in part is told, and nothing is removed."""

import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.formats import exif_tags
from bitsback.codecs.formats.image_files import read_image
from tests.commands import call, names

COPYRIGHT, MAKE, EXIF, INTEROP = 0x8298, 0x10F, 0x8769, 0xA005


def directory(entries, offset):
    """A little-endian TIFF directory at `offset`; entries: (tag, text or place of another)."""
    head, data = struct.pack("<H", len(entries)), b""
    behind = offset + 2 + 12 * len(entries) + 4
    for tag, value in entries:
        if isinstance(value, int):
            head += struct.pack("<HHII", tag, 4, 1, value)
            continue
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field, data = (
                struct.pack("<I", behind + len(data)),
                data + value + b"\0" * (len(value) % 2),
            )
        head += struct.pack("<HHI", tag, 2, len(value)) + field
    return head + bytes(4) + data


def block(copyright=b"(c) Juergen\0", interop=True):
    """An Exif block with a text and, if asked for, a directory in its Exif directory."""
    first = directory([(COPYRIGHT, copyright), (EXIF, 0)], 8)
    place = 8 + len(first)
    first = directory([(COPYRIGHT, copyright), (EXIF, place)], 8)
    if not interop:
        return b"II*\0" + struct.pack("<I", 8) + first + directory([(0x9003, b"2020\0")], place)
    inner = directory([(INTEROP, 0)], place)
    inner = directory([(INTEROP, place + len(inner))], place)
    return (
        b"II*\0"
        + struct.pack("<I", 8)
        + first
        + inner
        + directory([(1, b"R98\0")], place + len(inner))
    )


def test_texts_and_directories_are_compared():
    """Of blocks as other formats store them, with and without the signature."""
    one, start = {"exif": block()}, b"Exif\0\0"
    assert exif_tags.is_held(one, {"exif": start + block()})
    assert exif_tags.is_held({}, {}) and exif_tags.is_held({}, one)
    assert not exif_tags.is_held(one, {})
    assert not exif_tags.is_held(one, {"exif": block(b"(c) J?ergen\0")})
    assert not exif_tags.is_held(one, {"exif": block(interop=False)})
    assert exif_tags.is_held(one, {"exif": block(b"(c) Juergen\0\0\0")})


@pytest.mark.parametrize("text, kept", [("(c) Juergen", True), ("\u00a9 J\u00fcrgen", False)])
def test_a_tiff_whose_text_a_png_does_not_hold(tmp_path, text, kept):
    """Pillow writes question marks: `decompress --rm` says so and keeps the file."""
    tags = Image.Exif()
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(path, tiffinfo={COPYRIGHT: "x" * 13})
    data = path.read_bytes().replace(b"x" * 13, text.encode().ljust(13, b"\0"))
    path.write_bytes(data)
    assert not tags and text.encode() in data
    assert call("compress", "--rm", path).exit_code == 0
    result = call("decompress", "--rm", tmp_path / "a.bbk")
    assert result.exit_code == 0 and ("exif" in result.stderr) != kept
    assert names(tmp_path) == (["a.png"] if kept else ["a.bbk", "a.png"])
    held = read_image(tmp_path / "a.png", "a.png").metadata
    assert bool(held) and (text.encode() in str(held).encode()) == kept
