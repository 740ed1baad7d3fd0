"""tags.py: a written TIFF has the tags of the one that was read: type, count and bytes, as tifffile
reads them.
"""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.formats import entry_codecs, metadata, tags
from bitsback.codecs.formats.image_files import image_bytes, read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import ImageData, same
from bitsback.errors import DamagedFile

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 7, 3), dtype=np.uint8)
IPTC = b"\x1c\x02\x05\0\x05Title\x1c\x02\x50\0\2me"
EXTRA = [
    (33723, 7, len(IPTC), IPTC, True),
    (34377, 7, 12, b"8BIM\4\4\0\0\0\0\0\0", True),
    (700, 1, 4, b"<x/>", True),
    (34675, 7, 9, b"a profile", True),
    (33550, 12, 3, (1.5, 2.5, 0.0), True),
    (34735, 3, 4, (1, 1, 0, 0), True),
    (34737, 2, 0, "WGS 84|", True),
    (65000, 4, 40, tuple(range(40)), True),
    (65001, 10, 1, (-3, 7), True),
    (65002, 11, 2, (0.25, -1.0), True),
    (65003, 8, 3, (-1, 0, 1), True),
    (65004, 17, 1, -(2**40), True),
    (269, 2, 0, "a name", True),
    (297, 3, 2, (0, 1), True),
]
KEPT = {tag for tag, *_ in EXTRA} | {270, 305, 282, 283, 296}


def tiff(byteorder="<", bigtiff=False, extra=EXTRA, **options):
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    with tifffile.TiffWriter(out, bigtiff=bigtiff, byteorder=byteorder) as writer:
        writer.write(
            PIXELS,
            photometric="rgb",
            extratags=extra,
            description="what it shows",
            software="a test",
            resolution=(300, 200),
            resolutionunit="INCH",
            metadata=None,
            **options,
        )
    return out.getvalue()


def listed(data):
    """{tag: (type, count, value)} of a TIFF as tifffile reads it."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return {
            tag.code: (int(tag.dtype), tag.count, tag.value)
            for tag in file.pages[0].tags
            if tag.code not in tags.STORAGE
        }


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"bigtiff": True}, {"compression": "zlib", "tile": (16, 16)}],
    ids=["little", "big-endian", "BigTIFF", "tiles"],
)
def test_tags_are_restored_in_a_tiff(options):
    """IPTC, Photoshop, XMP, profile, GeoTIFF and private tags of every type, through a .bbk; tags
    about layout are the new file's.
    """
    data = tiff(**options)
    image = read_image(io.BytesIO(data), "x.tif")
    assert (
        not image.lost and set(image.metadata) == {"tiff"} and np.array_equal(image.samples, PIXELS)
    )
    back = decode_image(encode_image(image, verify=True))
    written, left = image_bytes(back, "TIFF", "y.tif")
    assert not left and listed(written) == listed(data) and set(listed(written)) == KEPT
    assert same(read_image(io.BytesIO(written), "y"), image)


def test_exif_directories_are_restored():
    """Exif and GPS directories with all their tags, the maker note too."""
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "camera"
    exif.get_ifd(0x8769)[0x9003], exif.get_ifd(0x8769)[0x927C] = (
        "2026:01:02 03:04:05",
        b"maker's own \0\1\2",
    )
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (1.0, 2.0, 3.5)
    for folder in (0x8769, 0x8825):
        exif[folder] = exif.get_ifd(folder)
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "TIFF", exif=exif)
    image = read_image(io.BytesIO(out.getvalue()), "x")
    assert not image.lost
    found = {tag: (kind, value) for tag, kind, value in image.metadata["tiff"]}
    assert (
        found[0x8769][0] == 0
        and {tag for tag, *_ in found[0x8769][1]} == {0x9003, 0x927C}
        and found[0x8825][0] == 0
    )
    written, left = image_bytes(decode_image(encode_image(image)), "TIFF", "y")
    assert not left and same(read_image(io.BytesIO(written), "y"), image)
    kept = Image.open(io.BytesIO(written)).getexif()
    assert kept.get_ifd(0x8769)[0x927C] == b"maker's own \0\1\2" and kept.get_ifd(0x8825)[2] == (
        1.0,
        2.0,
        3.5,
    )


def test_other_formats_hold_a_part_and_name_the_rest():
    """PNG holds profile, XMP, Exif and resolution; the rest is named, by the standard's names of
    tags.
    """
    image = read_image(io.BytesIO(tiff()), "x")
    written, left = image_bytes(image, "PNG", "y")
    assert set(left) == {
        "iptc",
        "photoshop",
        "geotiff",
        "DocumentName",
        "PageNumber",
        *(f"tag {n}" for n in range(65000, 65005)),
    }
    back = views(read_image(io.BytesIO(written), "y").metadata)
    assert (
        back["icc"] == b"a profile"
        and back["xmp"] == b"<x/>"
        and back["dpi"] == pytest.approx((300, 200), rel=1e-4)
    )
    exif = Image.Exif()
    exif.load(back["exif"])
    assert exif[270] == "what it shows"
    found = metadata.names(metadata.kinds([({}, image.metadata)]))
    assert set(found) == {"icc", "exif", "xmp", "dpi", "tiff", "iptc", "photoshop", "geotiff"}


def by_hand(entries, more=b""):
    """A gray TIFF of one pixel with further entries (tag, type, count, 4 bytes)."""
    own = [
        (256, 3, 1, b"\1\0\0\0"),
        (257, 3, 1, b"\1\0\0\0"),
        (258, 3, 1, b"\x08\0\0\0"),
        (259, 3, 1, b"\1\0\0\0"),
        (262, 3, 1, b"\1\0\0\0"),
        (273, 4, 1, b"\x08\0\0\0"),
        (277, 3, 1, b"\1\0\0\0"),
        (278, 3, 1, b"\1\0\0\0"),
        (279, 4, 1, b"\1\0\0\0"),
    ]
    listing = b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(own + entries))
    return (
        b"II*\0"
        + struct.pack("<I", 10)
        + b"\x63\0"
        + struct.pack("<H", len(own + entries))
        + listing
        + bytes(4)
        + more
    )


@pytest.mark.parametrize(
    "entry, lost",
    [
        ((65000, 7, 100, b"\xff\xff\0\0"), "tag 65000 (damaged or too long)"),
        ((65000, 7, 2**31, bytes(4)), "tag 65000 (damaged or too long)"),
        ((65000, 99, 1, bytes(4)), "tag 65000 (damaged or too long)"),
        ((330, 4, 1, b"\x0a\0\0\0"), "SubIFDs"),
        ((65000, 13, 1, b"\x0a\0\0\0"), "tag 65000"),
        ((400, 4, 1, b"\x0a\0\0\0"), "tag 400"),
        ((34665, 4, 1, b"\x0a\0\0\0"), "exif (damaged or too long)"),
        ((34853, 4, 1, b"\xff\xff\xff\xff"), "exif (damaged or too long)"),
    ],
    ids=["beyond", "huge", "type", "images", "directory", "parameters", "loop", "nowhere"],
)
def test_tags_that_cannot_be_stored_are_named(entry, lost):
    """Missing values, unknown types, directories that contain themselves and further images are
    named; the rest is stored.
    """
    image_kept, named = tags.read_tags(
        io.BytesIO(by_hand([entry, (65001, 3, 1, b"\7\0\0\0")])), 1000, 100
    )
    assert named == (lost,) and image_kept == ((65001, 3, b"\7\0"),)
    image = read_image(io.BytesIO(by_hand([(65000, 7, 100, b"\xff\xff\0\0")])), "x.tif")
    assert image.lost == ("tag 65000 (damaged or too long)",)


def test_limits_of_tags():
    """Bytes and numbers of tags are bounded: many tags that share one large value cannot fill
    memory.
    """
    data = by_hand([(65000 + i, 7, 900, b"\x0a\0\0\0") for i in range(9)], bytes(900))
    kept, lost = tags.read_tags(io.BytesIO(data), 2000, 100)
    assert len(kept) == 2 and len(lost) == 7
    assert len(tags.read_tags(io.BytesIO(data), 2**20, 3)[0]) == 3
    assert tags.read_tags(io.BytesIO(b"MM\0*"), 10, 10) == ((), ("tags",))


def test_names_of_missing_tags_are_bounded():
    """A PNG made of a TIFF with thousands of private tags: 100 names and the
    number of the others.
    """
    image = ImageData(
        "RGB", PIXELS, {}, {"tiff": tuple((tag, 1, b"x") for tag in range(50000, 55000))}
    )
    left = image_bytes(image, "PNG", "y")[1]
    assert len(left) == 101 and left[-1] == "4900 others"


# those of IFD are places of directories, which are no values
values = st.sampled_from([kind for kind in sorted(tags.SIZES) if not tags.points(0, kind)]).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.integers(0, 40).flatmap(
            lambda count: st.binary(
                min_size=count * tags.SIZES[kind], max_size=count * tags.SIZES[kind]
            )
        ),
    )
)
ordinary = st.integers(1000, 32000)
flat = st.dictionaries(ordinary, values, max_size=6).map(
    lambda found: tuple((tag, *found[tag]) for tag in sorted(found))
)


@given(entries=flat, exif=flat, interoperability=flat, gps=flat)
def test_any_list_is_packed_and_unpacked_and_written(entries, exif, interoperability, gps):
    """Every type and count, directories within directories; a TIFF written with the list has the
    list.
    """
    inner = *exif, (0xA005, 0, interoperability)
    entries = *entries, (0x8769, 0, inner), (0x8825, 0, gps)
    assert entry_codecs.unpack_tags(entry_codecs.pack_tags(entries), 99) == entries
    assert entry_codecs.count_tags(entries) == len(entries) + len(inner) + len(
        interoperability
    ) + len(gps)
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "TIFF")
    assert tags.read_tags(io.BytesIO(tags.with_tags(out.getvalue(), entries)), 2**20, 2**10) == (
        entries,
        (),
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        b"\1\x81\2\3\1\0",
        b"\1\xe8\7\x63\0",
        b"\2\xe8\7\1\0\0\1\0",
        b"\1\xe8\7\5\1\0",
        b"\1\xe8\7\0\0",
        b"\0x",
        b"\x09",
        b"\1\xe8\7\7\x7f",
        b"\1\xff\xff\x03\1\0\0",
    ],
    ids=repr,
)
def test_invalid_lists(data):
    """Cut short, tags about layout, unknown types, unordered tags, fractions of values, misplaced
    directories, bytes left over, too many tags.
    """
    with pytest.raises(DamagedFile):
        entry_codecs.unpack_tags(data, 8)
