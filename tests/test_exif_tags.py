"""exif_tags.py: Exif that another format holds only in part is told, and nothing is removed."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.formats import exif_tags
from bitsback.codecs.formats.image_files import image_bytes, read_image
from tests.by_hand import tiff
from tests.commands import call, names

TAGS = {256: 11, 257: 9, 258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 278: 9}
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


def values(entries, order, tag=EXIF, more=b""):
    """An Exif block with a directory of (tag, type, value of more than 4 bytes).

    more: a second directory.
    """
    place = 26
    behind = place + 6 + 12 * len(entries)
    fields, data = struct.pack(order + "H", len(entries)), b""
    for number, kind, value in entries:
        size = len(value)
        fields += struct.pack(order + "HHII", number, kind, size, behind + len(data))
        data += value + bytes(size % 2)
    inner = fields + bytes(4) + data
    first = struct.pack(order + "HHHII", 1, tag, 4, 1, place)
    first += struct.pack(order + "I", place + len(inner) if more else 0)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "I", 8) + first + inner + more


NOTE = (0x927C, 7, b"MKN\0" + bytes(range(30)))
COMMENT = (0x9286, 7, b"ASCII\0\0\0hello")
WIDE = (0x9286, 7, b"UNICODE\0\0H\0i")
PIXELS = np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8)


def saved(path, block=None, **options):
    Image.fromarray(PIXELS).save(path, exif=block and b"Exif\0\0" + block, **options)
    return path


def test_values_without_a_type_are_compared():
    """Their bytes, their type, and their byte order where that matters."""
    one = {"exif": values([NOTE, COMMENT], "<")}
    assert exif_tags.is_held(one, {"exif": values([NOTE, COMMENT], "<")})
    assert not exif_tags.is_held(one, {"exif": values([(0x927C, 1, NOTE[2]), COMMENT], "<")})
    assert not exif_tags.is_held(one, {"exif": values([NOTE, (*COMMENT[:2], b"other")], "<")})
    assert not exif_tags.is_held(one, {"exif": values([NOTE, COMMENT], ">")})
    assert exif_tags.is_held({"exif": values([COMMENT], "<")}, {"exif": values([COMMENT], ">")})
    wide = {"exif": values([WIDE], "<")}
    assert not exif_tags.is_held(wide, {"exif": values([WIDE], ">")})


@pytest.mark.parametrize("order", "<>")
def test_exif_is_written_with_its_types(tmp_path, order):
    """From a PNG to a TIFF and back, without being named; a maker's note in the other byte order is
    named.
    """
    entries = [COMMENT] if order == ">" else [NOTE, COMMENT]
    block = values(entries, order)
    source = saved(tmp_path / "a.png", block, dpi=(300, 300), icc_profile=b"a profile")
    image = read_image(source, "a.png")
    data, left = image_bytes(image, "TIFF", "a.tif")
    assert not left
    (tmp_path / "a.tif").write_bytes(data)
    again = read_image(tmp_path / "a.tif", "a.tif")
    assert not again.lost
    found = {tag: (kind, value) for tag, kind, value in again.metadata["tiff"]}
    assert found[EXIF][1] == tuple(entries) and found[0x8773] == (7, b"a profile")
    assert found[0x11A][0] == 5
    back, left = image_bytes(again, "PNG", "b.png")
    (tmp_path / "b.png").write_bytes(back)
    assert not left and values(entries, "<") in back
    noted = read_image(saved(tmp_path / "c.png", values([NOTE], order)), "c.png")
    assert image_bytes(noted, "TIFF", "c.tif")[1] == (["exif"] if order == ">" else [])


def test_a_thumbnail(tmp_path):
    """A TIFF of one image cannot hold that of Exif, WebP can."""
    place = 26 + 6 + 12 + len(COMMENT[2]) + len(COMMENT[2]) % 2
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, place + 30, 514, 4, 1, 9, 0) + b"thumbnail"
    image = read_image(saved(tmp_path / "a.png", values([COMMENT], "<", more=second)), "a.png")
    assert image_bytes(image, "TIFF", "a.tif")[1] == ["exif"]
    assert image_bytes(image, "WEBP", "a.webp")[1] == []
    other = {"exif": values([COMMENT], "<", more=second[:-1] + b"!")}
    assert not exif_tags.is_held(image.metadata, other)
    assert call("compress", "--rm", tmp_path / "a.png").exit_code == 0
    result = call("decompress", "--rm", tmp_path / "a.bbk", "-o", tmp_path / "a.tif")
    assert result.exit_code == 1 and "exif" in result.stderr
    assert names(tmp_path) == ["a.bbk", "a.tif"]


@pytest.mark.parametrize(
    "entry, kept",
    [(NOTE, False), (COMMENT, True), (WIDE, False), ((0x927C, 7, b"Nikon\0\2\x10\0\0MM"), True)],
    ids=["note", "text", "UTF-16", "its own order"],
)
def test_a_big_endian_tiff(entry, kept):
    """What depends on its byte order would be read wrongly in the restored, little-endian file."""
    out = tiff(PIXELS.tobytes(), TAGS, ">")
    (place,) = struct.unpack_from(">I", out, 4)
    (count,) = struct.unpack_from(">H", out, place)
    listed = out[place + 2 : place + 2 + 12 * count]
    field = struct.pack(">HHII", EXIF, 4, 1, len(out) + 26)
    inner = values([entry], ">")[26:]
    shifted = bytearray(out + bytes(26) + inner)
    struct.pack_into(">I", shifted, len(out) + 26 + 10, len(out) + 26 + 18)
    new = len(shifted)
    shifted += struct.pack(">H", count + 1) + listed + field + bytes(4)
    struct.pack_into(">I", shifted, 4, new)
    found = read_image(io.BytesIO(bytes(shifted)), "x.tif")
    assert (EXIF, 0, (entry,)) in found.metadata["tiff"]
    assert found.lost == (() if kept else ("exif (byte order)",))


@pytest.mark.parametrize("text", ["(c) Juergen", "\u00a9 J\u00fcrgen"])
def test_a_tiff_whose_text_is_not_ascii(tmp_path, text):
    """A PNG gets its bytes as they are; Pillow would write question marks."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(path, tiffinfo={COPYRIGHT: "x" * 13})
    data = path.read_bytes().replace(b"x" * 13, text.encode().ljust(13, b"\0"))
    path.write_bytes(data)
    assert text.encode() in data and call("compress", "--rm", path).exit_code == 0
    result = call("decompress", "--rm", tmp_path / "a.bbk")
    assert result.exit_code == 0 and "exif" not in result.stderr
    assert names(tmp_path) == ["a.png"] and text.encode() in (tmp_path / "a.png").read_bytes()
