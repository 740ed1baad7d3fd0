"""jxl.py: lossless JPEG XLs of 8 and 16 bits are decoded exactly; lossy ones and those with
properties that cannot be stored are refused.
"""

import io
import struct
import sys

import imagecodecs as codecs
import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.bitstream.bits import Bits
from bitsback.codecs.fallback import jxl_head
from bitsback.codecs.formats import image_files, jxl
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import same
from bitsback.codecs.io import folders
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import LossySource, MissingPackage, UnsupportedImage

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)
COLOUR = codecs.jpegxl_encode(PIXELS, lossless=True)


def read(data):
    return read_image(io.BytesIO(data), "x.jxl")


def jpeg():
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "JPEG")
    return out.getvalue()


def box(name, body):
    return struct.pack(">I4s", 8 + len(body), name) + body


def boxed(*parts):
    return jxl.SIGNATURE + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(parts)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "shape", [(9, 11), (64, 48), (1, 1), pytest.param((30, 700), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("container", [False, True])
def test_lossless_files_are_read(dtype, channels, shape, container):
    """All encodings of sides, bare and in boxes: samples and mode are equal after a .bbk and its
    PNG.
    """
    samples = RNG.integers(
        0,
        np.iinfo(dtype).max,
        (*shape, channels)[: 2 if channels == 1 else 3],
        dtype,
        endpoint=True,
    )
    found = read(codecs.jpegxl_encode(samples, lossless=True, usecontainer=container))
    assert found.mode == jxl.MODES[channels, 8 * samples.itemsize] and np.array_equal(
        found.samples, samples
    )
    back = decode_image(encode_image(found))
    suffix, data, left_out = default_bytes(back, "x")
    assert (
        same(back, found)
        and suffix == ".png"
        and not left_out
        and np.array_equal(read(data).samples, samples)
    )
    gamma = 1.0 if dtype == "u2" else None  # imagecodecs declares 16 bits as linear
    assert views(read(data).metadata).get("gamma") == gamma
    assert views(found.metadata).get("gamma") == gamma


@pytest.mark.parametrize(
    "make",
    [
        lambda: codecs.jpegxl_encode(PIXELS, distance=1.0),
        lambda: codecs.jpegxl_encode(PIXELS[..., 0], level=80),
        lambda: codecs.jpegxl_encode_jpeg(jpeg()),
    ],
    ids=["distance", "level", "JPEG"],
)
def test_lossy_files_are_refused(make):
    """XYB colours, and a recompressed JPEG."""
    with pytest.raises(LossySource, match="x.jxl: JPEG XL .* loss"):
        read(make())


def test_a_recompressed_jpeg_without_its_box_is_refused():
    """VarDCT without XYB is recognised by the frame header if the box jbrd is missing."""
    data = codecs.jpegxl_encode_jpeg(jpeg())
    codestream, _, packed, _ = jxl._parts(io.BytesIO(data))
    assert packed
    with pytest.raises(UnsupportedImage, match="x.jxl: JPEG XL"):
        read(codestream)


def test_cut_boxes_and_data_after_the_end_are_named():
    """A box that is cut short hides those after it; the codestream's own end is known."""
    whole = boxed(box(b"jxlc", COLOUR), box(b"Exif", bytes(4) + b"MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    assert read(whole).lost == () and "exif" in read(whole).metadata
    for cut in (1, 10, 20):
        assert read(whole[:-cut]).lost == ("damaged parts",)
    longer = whole.replace(struct.pack(">I4s", 26, b"Exif"), struct.pack(">I4s", 27, b"Exif"))
    assert longer != whole and read(longer).lost == ("damaged parts",)
    assert read(COLOUR).lost == read(COLOUR + bytes(9)).lost == ()
    assert read(COLOUR + b"more").lost == ("data after the end",)
    assert read(boxed(box(b"jxlc", COLOUR + b"more"))).lost == ("data after the end",)
    assert read(boxed(box(b"jxlc", COLOUR)) + b"more").lost == ("damaged parts",)


def test_exif_and_xmp_are_kept():
    """Boxes beside a codestream in parts; an Exif orientation other than 1 is refused."""
    exif = Image.Exif()
    exif[0x10F] = "camera"
    block = exif.tobytes()[6:]
    parts = [
        box(b"jxlp", struct.pack(">I", 0) + COLOUR[:30]),
        box(b"jxlp", struct.pack(">I", 2**31 + 1) + COLOUR[30:]),
    ]
    found = read(
        boxed(
            box(b"Exif", bytes(4) + block),
            *parts,
            box(b"brob", b"xml " + codecs.brotli_encode(b"<xmp/>")),
        )
    )
    assert found.metadata == {"exif": b"Exif\0\0" + block, "xmp": b"<xmp/>"} and np.array_equal(
        found.samples, PIXELS
    )
    assert not found.lost
    more = read(
        boxed(
            box(b"Exif", bytes(4) + block),
            *parts,
            box(b"jumb", b"credentials"),
            box(b"Exif", bytes(4) + block),
            box(b"brob", b"c2pa" + codecs.brotli_encode(b"x")),
        )
    )
    assert more.lost == ("jumb", "Exif", "c2pa") and more.metadata.keys() == {"exif"}
    exif[0x112] = 6
    with pytest.raises(UnsupportedImage, match="x.jxl: .*orientation"):
        read(boxed(box(b"Exif", bytes(4) + exif.tobytes()[6:]), *parts))


def written(*fields):
    """The start of a codestream: (value, bits) fields, lowest bits first."""
    value = at = 0
    for number, count in fields:
        value, at = value | number << at, at + count
    return jxl.BARE + value.to_bytes(-(-at // 8), "little") + bytes(40)


SMALL = ((1, 1), (0, 5), (1, 3))  # 8x8
EIGHT = ((0, 1), (0, 2))  # bits per sample
PLAIN = ((0, 1), (0, 1))  # not all defaults, no extra fields
REST = ((1, 1), (0, 2), (0, 1), (1, 1))  # 16-bit buffers, no extra channel, no XYB, sRGB
COLOURS = (*PLAIN, *EIGHT, (1, 1), (0, 2), (0, 1), (0, 1))  # up to ColourEncoding.want_icc
ENUMERATED = (*COLOURS, (0, 1), (0, 2), (1, 2))  # RGB, white point D65
EXTRA_CHANNEL = (*PLAIN, *EIGHT, (1, 1), (1, 2), (0, 1))  # one, up to its type
HEADS = {  # by a part of the reason
    "XYB": (SMALL, (1, 1)),
    "orientation": (SMALL, (0, 1), (1, 1), (5, 3), (0, 3), *EIGHT, *REST),
    "an animation": (SMALL, (0, 1), (1, 1), (0, 3), (0, 1), (2, 2)),
    "a preferred size": (SMALL, (0, 1), (1, 1), (0, 3), (1, 1), *SMALL, (0, 2), *EIGHT, *REST),
    "10 bits": (SMALL, *PLAIN, (0, 1), (1, 2), *REST),
    "floating-point": (SMALL, *PLAIN, (1, 1), (1, 2), (4, 4), *REST),
    "3 extra": (SMALL, *PLAIN, *EIGHT, (1, 1), (2, 2), (1, 4)),
    "not an alpha": (SMALL, *EXTRA_CHANNEL, (1, 2), *EIGHT, (0, 2), (0, 2), (0, 1), (0, 1), (1, 1)),
    "premultiplied": (
        SMALL,
        *EXTRA_CHANNEL,
        (0, 2),
        *EIGHT,
        (0, 2),
        (0, 2),
        (1, 1),
        (0, 1),
        (1, 1),
    ),
    "profile": (SMALL, *COLOURS, (1, 1), (0, 2)),
    "primaries": (SMALL, *ENUMERATED, (2, 2), (7, 4)),
    "transfer": (SMALL, *ENUMERATED, (1, 2), (0, 1), (2, 2), (14, 4), (0, 2)),
    "VarDCT": (SMALL, *PLAIN, *EIGHT, *REST, (0, 2), (1, 1)),
}


@pytest.mark.parametrize("kind", HEADS)
def test_heads_that_are_refused(kind):
    """Headers written by the specification: each is refused with its reason."""
    small, *rest = HEADS[kind]
    head = jxl_head.read_head(written(*small, *rest))
    assert (head.height, head.width) == (8, 8) and kind in (head.unsupported or head.loss or "")
    with pytest.raises(UnsupportedImage, match=f"x.jxl: .*{kind}"):
        read(written(*small, *rest))


def test_sides_of_a_size_header():
    """Multiples of eight, with a ratio or an explicit width, and 30-bit sides."""
    assert jxl_head._sides(Bits(written((1, 1), (3, 5), (0, 3), (7, 5))[2:])) == (32, 64)
    assert jxl_head._sides(Bits(written((1, 1), (14, 5), (5, 3))[2:])) == (120, 120 * 16 // 9)
    assert jxl_head._sides(
        Bits(written((0, 1), (1, 2), (4999, 13), (0, 3), (3, 2), (2**29, 30))[2:])
    ) == (5000, 2**29 + 1)


def test_damage_is_refused():
    """Cut and altered bytes: an image or UnsupportedImage; too large ones by their header."""
    for position in range(len(COLOUR)):
        for data in (
            COLOUR[:position],
            COLOUR[:position] + bytes([COLOUR[position] ^ 255]) + COLOUR[position + 1 :],
        ):
            try:
                assert read(data).samples.size
            except UnsupportedImage as error:
                assert str(error).startswith("x.jxl: ")
    with pytest.raises(UnsupportedImage, match="more than Pillow's limit"):
        read(written((0, 1), (3, 2), (2**29, 30), (1, 3), *PLAIN, *EIGHT, *REST))


def test_without_imagecodecs(monkeypatch):
    """The error names the package to install."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingPackage, match="x.jxl: .*imagecodecs"):
        read(COLOUR)


def test_folders_are_searched_for_them(tmp_path):
    """-r finds .jxl files."""
    (tmp_path / "x.jxl").write_bytes(COLOUR)
    assert folders.below([tmp_path], True, image_files.IMAGE_SUFFIXES)[0] == [
        (tmp_path / "x.jxl", tmp_path)
    ]
