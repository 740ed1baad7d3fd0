"""metadata.py: unpack inverts pack and bounds memory; what a format holds is written and read
again.
"""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bitsback.codecs import encode_image
from bitsback.codecs.formats.image_files import image_bytes, read_image
from bitsback.codecs.formats.metadata import MAX_METADATA, TAGS, kinds, names, pack, unpack
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import ImageData
from bitsback.errors import DamagedFile, UnsupportedImage

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
finite, text = st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "icc": st.binary(max_size=50),
        "exif": st.binary(max_size=50),
        "xmp": st.binary(max_size=50),
        "dpi": st.tuples(finite, finite),
        "gamma": finite,
        "chromaticity": st.tuples(*[finite] * 8),
        "srgb": st.integers(0, 255),
        "text": st.lists(st.tuples(text, text, text, text, st.booleans())).map(tuple),
    },
)
levels = st.integers(0, 65535)


@st.composite
def looked(draw):
    """(mode, look) that an image can have."""
    if draw(st.booleans()):
        colour = {"transparency": st.tuples(levels, levels, levels)}
        return "RGB", draw(st.fixed_dictionaries({}, optional=colour))
    look, count = {}, draw(st.integers(0, 20))
    if draw(st.booleans()):
        look["palette"] = draw(st.binary(min_size=3 * count, max_size=3 * count))
        if draw(st.booleans()):
            look["palette_alpha"] = draw(st.binary(min_size=count, max_size=count))
    if draw(st.booleans()):
        look["transparency"] = draw(st.one_of(levels, st.binary(max_size=20)))
    return "P", look


@given(drawn=st.lists(st.tuples(looked(), metadata), min_size=1, max_size=4))
def test_unpack_inverts_pack(drawn):
    """For several images with any values of the items; no items take no bytes."""
    samples = {"RGB": PIXELS, "P": PIXELS[..., 0]}
    images = [ImageData(mode, samples[mode], look, others) for (mode, look), others in drawn]
    items = [(look, others) for (_, look), others in drawn]
    data = pack(images)
    assert unpack(data, len(images)) == items
    assert bool(data) == any(look or others for look, others in items)
    assert names(kinds(items)) == [
        tag for tag in TAGS if any(tag in look or tag in others for look, others in items)
    ]


def test_one_profile_of_many_images_is_stored_once():
    """A hundred images with the same profile take little more than one."""
    profile = np.random.default_rng(1).bytes(3000)
    one, many = (len(pack([ImageData("RGB", PIXELS, {}, {"icc": profile})] * n)) for n in (1, 100))
    assert 3000 < one < 3100 and many < one + 300


@pytest.mark.parametrize(
    ("mode", "look"),
    [
        ("P", {"palette": b"ab"}),
        ("P", {"palette": bytes(771)}),
        ("P", {"palette": bytes(6), "palette_alpha": b"1"}),
        ("P", {"palette_alpha": b""}),
        ("P", {"palette": [1, 2, 3]}),
        ("P", {"transparency": (1, 2, 3)}),
        ("L", {"transparency": b"abc"}),
        ("L", {"transparency": -5}),
        ("L", {"transparency": 65536}),
        ("L", {"transparency": "x"}),
        ("RGB", {"transparency": 5}),
        ("RGB", {"transparency": (1, 2)}),
    ],
    ids=str,
)
def test_a_look_that_nothing_could_show_is_refused(mode, look):
    """A file of it would pass every checksum, and could not be restored."""
    pixels = PIXELS if mode == "RGB" else np.ascontiguousarray(PIXELS[..., 0])
    with pytest.raises(UnsupportedImage, match="invalid"):
        encode_image(ImageData(mode, pixels, look))


@pytest.mark.parametrize(
    "metadata",
    [
        {"icc": 5},
        {"icc": 10**9},
        {"xmp": [1, 2]},
        {"exif": "text"},
        {"text": (("a", "b"),)},
        {"text": 3},
        {"dpi": (72.0,)},
        {"srgb": -1},
        {"srgb": 300},
    ],
    ids=str,
)
def test_metadata_of_another_kind_are_refused(metadata):
    """Not written as what bytes() makes of them: of 5, five zeros."""
    (key,) = metadata
    with pytest.raises(UnsupportedImage, match=f"{key}: no file can hold"):
        encode_image(ImageData("RGB", PIXELS, {}, metadata))


def test_too_much_is_refused():
    """More than the limit is refused when packing; the error names --strip."""
    with pytest.raises(UnsupportedImage, match="--strip"):
        pack([ImageData("RGB", PIXELS, {}, {"icc": bytes(MAX_METADATA + 1)})])


@pytest.mark.parametrize(
    "data",
    [
        b"\3abc",
        b"\0",
        b"\0\1",
        b"\0\1\x63\0",
        b"\0\1\3\5ab",
        b"\0\0\0",
        b"\1abc",
        b"\2abc",
        b"\0\1\6\3abc",
        b"\0\1\x0a\1\5",
        b"\0\1\x0a\6\1\0\1\xff\0\0",
        b"\0\2\3\1a\3\1b",
        b"\0\1\2\1\1",  # no transparent colour
        b"\0\1\2\2\2\1",  # a transparency of a third kind
        b"\0\1\2\6\1\1\2\3\4\5",  # five numbers
        b"\0\1\x09\2\1\1",  # bytes after an intent
        b"\0\1\x0a\6\1\2\0\0\0\0",  # a text of a third kind
        b"\0\1\x0a\7\1\1\0\0\0\0\0",  # bytes after a text
        b"\1" + zlib.compress(bytes(17 * 2**24)),
    ],
    ids=lambda d: repr(d[:8]),
)
def test_damage(data):
    """Unknown compression, unknown items, lengths beyond the end, bytes left over, a repeated item,
    far too large data: DamagedFile.
    """
    with pytest.raises(DamagedFile):
        unpack(data, 1)


def everything():
    """A still with all kinds of metadata, as a PNG has them."""
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "camera", 3
    return ImageData(
        "RGB",
        PIXELS,
        {},
        {
            "icc": b"not really a profile" * 9,
            "exif": exif.tobytes(),
            "xmp": b"<x:xmpmeta>\xc3\xa4</x:xmpmeta>",
            "dpi": (72.009, 144.018),
            "gamma": 0.45455,
            "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
            "text": (
                ("Title", "a", "", "", False),
                ("Long", "b" * 3000, "", "", False),
                ("Description", "\u00e4\u4e2d", "de", "Beschreibung", True),
            ),
        },
    )


def test_png_holds_everything():
    """Written to PNG and read again: every value, with Exif's orientation and two kinds of text."""
    image = everything()
    data, left_out = image_bytes(image, "PNG", "x.png")
    back = views(read_image(io.BytesIO(data), "x.png").metadata)
    assert not left_out and back.pop("exif")[-40:] == image.metadata["exif"][-40:]
    assert back == {key: value for key, value in image.metadata.items() if key != "exif"}


@pytest.mark.parametrize(
    "file_format, expected",
    [
        ("WEBP", ["dpi", "gamma", "chromaticity", "text"]),
        ("TIFF", ["gamma", "chromaticity", "text"]),
        ("BMP", ["icc", "exif", "xmp", "gamma", "chromaticity", "text"]),
        ("PPM", ["icc", "exif", "xmp", "dpi", "gamma", "chromaticity", "text"]),
    ],
)
def test_other_formats_name_what_they_cannot_hold(file_format, expected):
    """The names of lost metadata, and the rest is in the file."""
    image = everything()
    data, left_out = image_bytes(image, file_format, "x")
    back = views(read_image(io.BytesIO(data), "x").metadata)
    assert left_out == expected
    assert set(back) == set(image.metadata) - set(expected)
    assert all(back[key] == image.metadata[key] for key in set(back) & {"icc", "xmp"})


def test_srgb_and_comments():
    """The intent of an sRGB PNG; a GIF's comment becomes text."""
    out, info = io.BytesIO(), PngInfo()
    info.add(b"sRGB", b"\1")
    Image.fromarray(PIXELS).save(out, "PNG", pnginfo=info)
    image = read_image(io.BytesIO(out.getvalue()), "x")
    assert views(image.metadata) == {"srgb": 1}
    assert read_image(io.BytesIO(image_bytes(image, "PNG", "x")[0]), "x").metadata == image.metadata
    out = io.BytesIO()
    Image.fromarray(PIXELS[..., 0]).save(out, "GIF", comment=b"hello \xe4")
    assert read_image(io.BytesIO(out.getvalue()), "x").metadata["text"] == (
        ("Comment", "hello \u00e4", "", "", False),
    )


def test_exif_that_tiff_cannot_write_is_named():
    """The pixels are restored, and the invalid block is named."""
    _, left_out = image_bytes(
        ImageData("RGB", PIXELS, {}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1garbage"}), "TIFF", "x"
    )
    assert left_out == ["exif"]
