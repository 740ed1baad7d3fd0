"""chunks.py: all ancillary chunks of a PNG are restored byte for byte, in place and order; those
that cannot be are named.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats import chunks, entry_codecs, metadata
from bitsback.codecs.formats.image_files import image_bytes, read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import same
from bitsback.errors import DamagedFile, UnsupportedImage

HERE = Path(__file__).parent
SUITES = [
    HERE / "images" / "formats",
    Path(os.environ.get("BITSBACK_DATA") or HERE.parents[1] / "shared" / "data")
    / "formats"
    / "pngsuite",
]
RNG = np.random.default_rng(5)
PALETTE = RNG.bytes(3 * 5)
CRITICAL = (b"IHDR", b"IDAT", b"IEND")
# (depth, colour type) and bytes of a row of 4 pixels
KINDS = {
    "1": (1, 0, 1),
    "L2": (2, 0, 1),
    "L4": (4, 0, 2),
    "L": (8, 0, 4),
    "I;16": (16, 0, 8),
    "RGB": (8, 2, 12),
    "RGB;16": (16, 2, 24),
    "P": (4, 3, 2),
    "LA": (8, 4, 8),
    "LA;16": (16, 4, 16),
    "RGBA": (8, 6, 16),
    "RGBA;16": (16, 6, 32),
}


def png(kind="RGB", before=(), between=(), after=(), tail=b"", palette=PALETTE):
    """A 4x3 PNG by hand.  before, between, after: chunks [(name, body)] relative to palette and
    samples.
    """
    depth, colour, row = KINDS[kind]
    rows = b"".join(
        b"\0" + (bytes([0x01, 0x23]) if kind == "P" else RNG.bytes(row)) for _ in range(3)
    )
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 3, depth, colour, 0, 0, 0)), *before]
    parts += [(b"PLTE", palette)] if kind == "P" else []
    parts += [*between, (b"IDAT", zlib.compress(rows)), *after, (b"IEND", b"")]
    return chunks.SIGNATURE + b"".join(chunk(*part) for part in parts) + tail


def stored(data, **options):
    """(ImageData, PNG written after a .bbk file, names of metadata it lacks)."""
    image = read_image(io.BytesIO(data), "x.png")
    back = decode_image(encode_image(image, verify=True))
    assert same(back, image)
    written, left = image_bytes(back, "PNG", "y.png")
    return image, written, left


def extras(data):
    """All chunks except header, samples and end; and the names, which show
    where the samples are.
    """
    names = [name for name, _ in chunks.chunks_of(data) if name not in (b"IHDR", b"IEND")]
    names = [name for i, name in enumerate(names) if name != b"IDAT" or name not in names[:i]]
    return [(name, body) for name, body in chunks.chunks_of(data) if name not in CRITICAL], names


EXIF = Image.Exif()
EXIF[0x10F] = "camera"
ICC = b"sRGB\0\0" + zlib.compress(bytes(range(200)), 1)
EVERY = [
    (b"iCCP", ICC),
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", *range(8))),
    (b"cICP", b"\x09\x10\0\1"),
    (b"mDCV", bytes(range(24))),
    (b"cLLI", struct.pack(">II", 10000000, 5000)),
    (b"sRGB", b"\1"),
    (b"sBIT", b"\5\6\5"),
    (b"pHYs", struct.pack(">IIB", 3, 4, 0)),
    (b"sPLT", b"mine\0\x08" + bytes(12)),
    (b"tIME", struct.pack(">H5B", 2026, 2, 3, 4, 5, 6)),
    (b"eXIf", EXIF.tobytes()[6:]),
    (b"tEXt", b"Title\0one"),
    (b"tEXt", b"Title\0two"),
    (b"zTXt", b"Long\0\0" + zlib.compress(b"a" * 99, 1)),
    (b"iTXt", b"Title\0\0\0de\0Titel\0\xff\xfe not UTF-8"),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
    (b"bKGD", bytes(6)),
    (b"oFFs", bytes(9)),
    (b"pCAL", b"name\0" + bytes(12)),
    (b"sCAL", b"\1" + b"1\0" + b"2"),
    (b"sTER", b"\0"),
    (b"vpAg", bytes(9)),
    (b"PLTE", bytes(range(9))),
    (b"hIST", bytes(6)),
]


@pytest.mark.parametrize(
    "name, body", EVERY, ids=lambda v: v.decode() if len(v) == 4 and v.isalpha() else ""
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_every_chunk_alone(name, body, place):
    """Each kind, before and after the samples where allowed: the same bytes in the same place, and
    `info` names it.
    """
    if name == b"PLTE" and place == "after":
        pytest.skip("the standard has it before the samples")
    data = png(**{place: [(name, body)]})
    image, written, left = stored(data)
    assert image.metadata == {
        "png": ((name, chunks.BEFORE if place == "before" else chunks.AFTER, body),)
    }
    assert extras(written) == extras(data) and not left and not image.lost
    (said,) = metadata.names(metadata.kinds([({}, image.metadata)]))
    known = chunks.NAMES.get(name) or (name.decode() if name.decode() in metadata.KINDS else "png")
    assert said == ("xmp" if b"XML" in body else known)


@pytest.mark.parametrize("kind", KINDS)
def test_all_chunks_at_once_in_order(kind):
    """In every mode of PNG, at all three places: order, repetitions, bytes, palette and depth are
    restored.
    """
    plain = [entry for entry in EVERY if entry[0] not in (b"PLTE", b"sBIT", b"bKGD", b"hIST")]
    own = [(b"bKGD", {"P": b"\3"}.get(kind, b"\0\1" if KINDS[kind][1] in (0, 4) else bytes(6)))]
    own += [(b"hIST", bytes(10))] if kind == "P" else []
    data = png(
        kind,
        before=plain[:9],
        between=own + plain[9:15],
        after=plain[15:] + [(b"tEXt", b"Title\0three")],
    )
    image, written, left = stored(data)
    assert extras(written) == extras(data) and not left and not image.lost
    if kind != "P":
        assert written[24:26] == data[24:26]  # depth and colour type, for which bKGD counts
    assert np.array_equal(*(np.array(Image.open(io.BytesIO(one))) for one in (written, data)))


TRANSPARENT = {
    "1": b"\0\1",
    "L2": b"\0\2",
    "L4": b"\0\7",
    "L": b"\0\x99",
    "I;16": b"\x12\x34",
    "RGB": b"\0\1\0\2\0\3",
    "P": b"\1\2\3",
    "RGB;16": b"\0\1\0\2\0\3",
    "LA": b"\0\1",
}


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("where", range(3))
def test_transparency_keeps_its_place(kind, where):
    """The chunk tRNS, part of ImageData.look, keeps its place among other chunks and its bytes."""
    others = [
        (b"bKGD", b"\0" if kind == "P" else bytes(6) if "RGB" in kind else bytes(2)),
        (b"pHYs", bytes(9)),
    ]
    others.insert(where, (b"tRNS", TRANSPARENT[kind]))
    data = png(kind, before=[(b"gAMA", bytes(4))], between=others)
    image, written, left = stored(data)
    gray_as_rgb = [
        (name, b"" if name == b"tRNS" and kind == "1" else body)
        for name, body in extras(written)[0]
    ]  # of 1 bit only the last one counts
    assert (
        gray_as_rgb
        == [
            (name, b"" if name == b"tRNS" and kind == "1" else body)
            for name, body in extras(data)[0]
        ]
        and not left
    )
    assert np.array_equal(
        *(np.array(Image.open(io.BytesIO(one)).convert("RGBA")) for one in (written, data))
    )


@pytest.mark.parametrize("depth", [2, 4])
def test_the_transparent_level_of_few_bits_without_chunks(depth):
    """Samples and their transparent level are both scaled to 8 bits; Pillow scales the samples
    only.
    """
    data = png(f"L{depth}", before=[(b"tRNS", b"\0\2")])
    image = read_image(io.BytesIO(data), "x").stripped()
    written, _ = image_bytes(image, "PNG", "y")
    assert written[24] == 8 and dict(chunks.chunks_of(written))[b"tRNS"] == bytes(
        [0, 2 * chunks.STEPS[depth]]
    )


def test_palette_entries_and_their_number_are_restored():
    """Palettes smaller than the depth allows and larger than used; a gray 4-bit image with a
    background keeps its depth.
    """
    for entries in (4, 5, 9, 16):
        data = png("P", between=[(b"hIST", bytes(2 * entries))], palette=RNG.bytes(3 * entries))
        assert dict(extras(stored(data)[1])[0])[b"PLTE"] == dict(extras(data)[0])[b"PLTE"]


# --- what cannot be kept ---------------------------------------------------------------------


def wrong(name, body):
    return chunk(name, body)[:-1] + b"?"


def false_samples():
    """A PNG whose samples unpack, and are not those that their chunk's checksum is of."""
    data = png()
    end = data.index(b"IDAT") - 4
    end += 12 + int.from_bytes(data[end : end + 4], "big")
    return data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:]


@pytest.mark.parametrize(
    "data, lost",
    [
        (png(before=[(b"prVW", b"x")]), ["prVW"]),
        (png(before=[(b"dSIG", b"x")]), ["dSIG"]),
        (png(after=[(b"ab2f", b"x")]), ["chunk 61623266"]),
        (png(after=[(b"ABCd", b"x")]), ["ABCd"]),
        (png(tail=b"more"), ["data after the end"]),
        (png()[:-12] + wrong(b"tEXt", b"a\0b") + chunk(b"IEND", b""), ["tEXt (wrong checksum)"]),
        (false_samples(), ["IDAT (wrong checksum)"]),
        (png("P", after=[(b"PLTE", PALETTE)]), ["PLTE"]),
        (png(before=[(b"prVW", b"x")] * 2, tail=b"x"), ["prVW", "data after the end"]),
        (png(before=[(b"iDOT", bytes(28))]), []),
    ],
    ids=[
        "unsafe",
        "signature",
        "no letters",
        "critical",
        "tail",
        "checksum",
        "samples",
        "second palette",
        "two",
        "storage",
    ],
)
def test_chunks_that_cannot_be_stored_are_named(data, lost):
    """Their names are in ImageData.lost and in the header, where they cost nothing else; the rest
    is stored.
    """
    image = read_image(io.BytesIO(data), "x.png")
    assert list(image.lost) == lost and not image.metadata
    assert list(decode_image(encode_image(image, verify=True)).lost) == lost
    damage = tuple(name for name in lost if name.startswith("IDAT"))
    assert image.stripped().lost == damage  # --strip leaves metadata out, and damage is none


def test_chunks_beyond_the_limits_are_named(monkeypatch):
    """A chunk that is too long, and the first of too many; the others are stored."""
    data = png(
        before=[(b"tEXt", b"a\0" + b"x" * 900)], after=[(b"pHYs", bytes(9)), (b"gAMA", bytes(4))]
    )
    kept, lost = chunks.read_chunks(io.BytesIO(data), {}, 500, 9)
    assert [name for name, *_ in kept] == [b"pHYs", b"gAMA"] and lost == ("tEXt",)
    kept, lost = chunks.read_chunks(io.BytesIO(data), {}, 5000, 1)
    assert [name for name, *_ in kept] == [b"tEXt"] and lost == ("pHYs", "gAMA")


def test_compressed_chunks_are_stored_compressed():
    """A chunk that inflates to a gigabyte is never inflated on its way through a .bbk to a PNG."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    entries = ((b"zTXt", chunks.BEFORE, b"a\0\0" + bomb), (b"iCCP", chunks.BEFORE, b"a\0\0" + bomb))
    assert metadata.unpack(
        metadata.pack([type("S", (), {"look": {}, "metadata": {"png": entries}})]), 1
    ) == [({}, {"png": entries})]
    assert views({"png": entries}) == {}
    with pytest.raises(UnsupportedImage):  # Pillow refuses to read an image with such a text
        read_image(io.BytesIO(png(before=[(b"zTXt", b"a\0\0" + bomb)])), "x.png")


# --- lists -----------------------------------------------------------------------------------


names = st.one_of(
    st.sampled_from([name for name in chunks.KNOWN[1:] if name != b"IHDR"]),
    st.from_regex(rb"[a-z][A-Za-z][A-Z][a-z]", fullmatch=True),
)
lists = st.lists(st.tuples(names, st.integers(0, 2), st.binary(max_size=30)), max_size=9).map(
    lambda found: tuple(sorted(found, key=lambda e: e[1]))
)


@given(entries=lists, depth=st.sampled_from([None, b"\2", b"\4"]))
def test_any_list_is_packed_and_unpacked(entries, depth):
    """Known and unknown names, all places in order, any bodies."""
    entries = ((b"IHDR", 0, depth),) * bool(depth) + entries
    assert entry_codecs.unpack_chunks(entry_codecs.pack_chunks(entries), 10) == entries


@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from(
                [b"pHYs", b"gAMA", b"cICP", b"tIME", b"eXIf", b"sPLT", b"vpAg", b"hIST", b"mDCV"]
            ),
            st.integers(0, 2),
            st.binary(min_size=9, max_size=20),
        ),
        max_size=9,
    )
)
def test_any_list_goes_through_a_file(entries):
    """Random lists in an image with a palette are restored in the written file."""
    places = [
        [(name, body) for name, where, body in entries if where == place] for place in range(3)
    ]
    data = png("P", *places)
    image, written, left = stored(data)
    assert extras(written) == extras(data) and not left and not image.lost


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        b"\1\2",
        b"\1\2\5ab",
        b"\1\x60gAMA\0",
        b"\1\x63\0",
        b"\2\x43\0\3\0",
        b"\1\0IDAT\0",
        b"\1\0fdAT\0",
        b"\1\x1bprVw\0",
        b"\1\x1fprVw\0",
        b"\1\0prVW\0",
        b"\1\0a1cd\0",
        b"\1\x14\1\3",
        b"\2\x14\1\2\x14\1\2",
        b"\1\3\0x",
        b"\5",
    ],
    ids=repr,
)
def test_invalid_lists(data):
    """Cut short, unknown or unordered places, forbidden chunks, an invalid depth, bytes left over,
    too many chunks.
    """
    with pytest.raises(DamagedFile):
        entry_codecs.unpack_chunks(data, 4)


def test_a_crafted_list_does_not_spoil_the_pixels():
    """A list that makes an invalid PNG is left out and named, and the pixels are right."""
    image = read_image(io.BytesIO(png("RGB")), "x")
    for entries in (
        ((b"acTL", 0, struct.pack(">II", 2, 0)), (b"fcTL", 0, bytes(26))),
        ((b"gAMA", 0, b""),),
        ((b"IHDR", 0, b"\4"), (b"bKGD", 0, bytes(2))),
    ):
        written, left = image_bytes(
            type(image)(image.mode, image.samples, {}, {"png": entries}), "PNG", "y"
        )
        assert left and np.array_equal(read_image(io.BytesIO(written), "y").samples, image.samples)


# --- what other formats and Pillow see -------------------------------------------------------


def test_views_are_what_pillow_reads():
    """Profile, Exif, XMP, resolution, gamma, intent and text of the chunks, for conversion to other
    formats, which name what they cannot hold.
    """
    profile, phys = bytes(range(200)), struct.pack(">IIB", 2835, 2835, 1)
    data = png(
        before=[entry for entry in EVERY if entry[0] not in (b"pHYs", b"PLTE", b"hIST")]
        + [(b"pHYs", phys)]
    )
    image = read_image(io.BytesIO(data), "x")
    found = views(image.metadata)
    assert (
        found["icc"] == profile
        and found["dpi"] == pytest.approx((72.009, 72.009))
        and found["xmp"] == b"<x/>"
        and found["gamma"] == 0.45455
    )
    assert [text[:2] for text in found["text"]][-1] == ("Long", "a" * 99) and found[
        "exif"
    ].endswith(EVERY[11][1])
    for file_format, held in (
        ("WEBP", {"icc", "exif", "xmp"}),
        ("TIFF", {"icc", "exif", "xmp", "dpi"}),
        ("BMP", {"dpi"}),
    ):
        written, left = image_bytes(image, file_format, "y")
        assert set(left) == set(metadata.labels(image.metadata)) - held
        if "icc" in held:
            assert views(read_image(io.BytesIO(written), "y").metadata)["icc"] == profile


def test_typical_metadata_cost_no_more_than_as_values():
    """Resolution, gamma, chromaticities, intent and text take no more bytes as chunks than as
    numbers and texts; a bare file takes none.
    """
    text = [(b"tEXt", b"Software\0bitsback of 2026"), (b"tEXt", b"Title\0a image")]
    for entries in (
        [(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))],
        [(b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0")],
        [
            (b"gAMA", struct.pack(">I", 45455)),
            (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        ],
        text,
    ):
        image = read_image(io.BytesIO(png(before=entries)), "x")
        values = type(image)(image.mode, image.samples, {}, views(image.metadata))
        assert len(metadata.pack([image])) <= len(metadata.pack([values]))
    assert metadata.pack([read_image(io.BytesIO(png()), "x")]) == b""


FILES = [path for suite in SUITES if suite.is_dir() for path in sorted(suite.glob("*.png"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_png_suite(path):
    """Every accepted file is restored with all chunks byte for byte and in order."""
    data = path.read_bytes()
    try:
        image = read_image(path, path)
    except UnsupportedImage:
        return
    written, left = image_bytes(image, "PNG", "y.png")
    assert extras(written) == extras(data) or image.lost
    named = ("IDAT (wrong checksum)",) if "xcsn0g01" in path.name else ()
    assert not left and image.lost == named


@pytest.mark.parametrize("body", [b"\0\0", b"\0\1", b"\0\2", b"\0\3", b"\xff\xfe"])
@pytest.mark.parametrize("more", [(), ((b"tEXt", b"a\0b"),)])
def test_the_transparent_level_of_two(body, more):
    """Of an image of 1 bit the lowest bit of tRNS counts, and it comes back as 0 or 1, with other
    chunks and without, as imagecodecs' libpng sees it.
    """
    data = png("1", [(b"tRNS", body), *more])
    image, written, left = stored(data)
    assert image.look == {"transparency": 255 * (body[1] & 1)} and not left
    assert (b"tRNS", bytes([0, body[1] & 1])) in chunks.chunks_of(written)
    assert all(part in chunks.chunks_of(written) for part in more)


@pytest.mark.parametrize("name", [b"IHDR", b"tEXt"])
def test_a_wrong_checksum_before_the_samples_is_told(name):
    """Pillow only says that it does not know the file; one without any chunk stays unknown."""
    data = png(before=[(b"tEXt", b"a\0b")])
    at = data.index(name) - 4
    at += 11 + int.from_bytes(data[at : at + 4], "big")
    told = f"^x.png: damaged image .{name.decode()} is altered or cut short"
    with pytest.raises(UnsupportedImage, match=told):
        read_image(io.BytesIO(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]), "x.png")
    with pytest.raises(UnsupportedImage, match="not an image that Pillow can read"):
        read_image(io.BytesIO(data[:12]), "x.png")
