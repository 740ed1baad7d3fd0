"""container.py: read is the mirror of write; anything else is NotOurFile or DamagedFile."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.codecs import decode
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import (
    MAGIC,
    MAX_PIXELS,
    MAX_SIDE,
    VERSION,
    Entry,
    Header,
    pixel_digest,
    read,
    read_header,
    write,
)
from bitsback.codecs.bitstream.depths import Deep, pack
from bitsback.codecs.bitstream.header import SOURCES, LaneRule
from bitsback.codecs.bitstream.index import read_index, write_index
from bitsback.codecs.bitstream.sections import Tag, pack_names, read_names
from bitsback.codecs.depth import Depth
from bitsback.codecs.image import DEEP, MODES
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage

sides = st.one_of(st.integers(1, 300), st.integers(1, MAX_SIDE))
sizes = st.tuples(sides, sides).filter(lambda size: size[0] * size[1] <= MAX_PIXELS // 8)
segments = st.tuples(st.integers(0, 2), st.integers(1, 2**20))
modes, sources, times = (
    st.sampled_from(list(MODES)),
    st.sampled_from(SOURCES),
    st.integers(-(2**39), 2**39),
)
depths_of_images = st.builds(Depth, st.integers(8, 16), st.integers(-1, 2**16 - 1))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def headers(draw):
    """(Header, payload): plain or stack, one image or an archive."""
    archive, stack = draw(st.booleans()), draw(st.booleans())
    if archive:
        entries = tuple(
            Entry(w, h, *more)
            for (w, h), *more in draw(
                st.lists(
                    st.tuples(
                        sizes,
                        names,
                        st.integers(0, 0o777),
                        st.integers(0, 2**16 - 1),
                        modes,
                        sources,
                        times,
                    ),
                    min_size=1,
                    max_size=8,
                )
            )
        )
    else:
        entries = (Entry(*draw(sizes), mode=draw(modes), source=draw(sources)),)
    payload = draw(st.binary(max_size=60))
    header = Header(
        entries,
        draw(
            st.binary(min_size=8, max_size=8)
            if archive or stack
            else st.binary(min_size=4, max_size=4)
        ),
        archive,
        draw(st.integers(0, 2**27 - 1)) & ~(2**11),
        lost=tuple(draw(st.lists(st.from_regex(r"[ -~]{1,9}", fullmatch=True), max_size=3))),
    )
    if stack:
        top = draw(st.tuples(*[st.integers(-(2**15), 2**15), st.integers(0, 112)] * 3))
        header = replace(
            header,
            model=draw(st.binary(min_size=8, max_size=8)).hex(),
            sections=draw(
                st.dictionaries(st.integers(1, 4), st.binary(min_size=1, max_size=20), max_size=4)
            ),
            credit_bytes=draw(st.integers(0, len(payload))),
            fallback_count=draw(st.integers(0, len(entries) - 1)),
            flips=draw(st.integers(0, 3)),
            start=(
                draw(st.integers(0, len(entries))),
                draw(st.integers(0, 5000)),
                draw(st.integers(0, 5000)),
            ),
            lanes=LaneRule(draw(st.integers(1, 2**24)), draw(st.integers(1, 4096))),
            segments=tuple(draw(st.lists(segments, min_size=1, max_size=6))),
            top=top,
        )
        deep = [entry.mode in DEEP for entry in entries[header.fallback_count :]]
        if any(deep):
            depths = pack([Deep(draw(depths_of_images), 0)] * sum(deep))
            header = replace(header, sections={**header.sections, int(Tag.DEPTH): depths})
    return header, payload


@given(file=headers())
def test_read_gives_what_write_was_given(file):
    """read(write(header, payload)) == (header, payload), and read_header is its first half."""
    data = write(*file)
    assert read(data) == file and read_header(data) == file[0]


def small_files():
    """One file of each kind."""
    one, many = (
        (Entry(5, 3),),
        (
            Entry(5, 3, "a.png", 0o600, 7),
            Entry(4, 4, "b/ä.png", 0o644, 65535, "P", "GIF", 1700000000),
        ),
    )
    stack = {
        "model": "0123456789abcdef",
        "sections": {2: b"flat", 4: b"\1"},
        "credit_bytes": 11,
        "flips": 2,
        "start": (0, 1, 2),
        "lanes": LaneRule(300, 7),
        "segments": ((1, 2), (0, 1)),
        "top": (-3, 70, 0, 112, 500, 0),
    }
    return {
        "plain": write(Header(one, b"abcd"), b"payload"),
        "stack": write(Header(one, b"abcdefgh", **stack), b"some payload"),
        "plain archive": write(Header(many, b"abcdefgh", True), b"payload"),
        "stack archive": write(Header(many, b"abcdefgh", True, **stack), b"some payload"),
    }


@pytest.mark.parametrize("kind", small_files())
def test_every_truncation_is_refused(kind):
    """A file cut anywhere is NotOurFile or DamagedFile; with a whole magic always DamagedFile."""
    data = small_files()[kind]
    for length in range(len(data)):
        with pytest.raises(NotOurFile if length < 4 else DamagedFile):
            read(data[:length])


@pytest.mark.parametrize("kind", small_files())
def test_every_flipped_bit_is_refused(kind):
    """A flipped bit is NotOurFile (in magic and major version) or DamagedFile, never a header."""
    data = small_files()[kind]
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotOurFile if bit < 32 or 36 <= bit < 40 else DamagedFile):
            read(bytes(altered))


@pytest.mark.parametrize("kind", small_files())
@pytest.mark.parametrize("junk", [b"\0", b"x", b"\0" * 4, b"more and more"])
def test_junk_around_a_file_is_refused(kind, junk):
    """Bytes appended are DamagedFile, bytes put before are NotOurFile."""
    data = small_files()[kind]
    with pytest.raises(DamagedFile):
        read(data + junk)
    with pytest.raises(NotOurFile):
        read(junk + data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x8a",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"RIFF",
        MAGIC[:3] + b"L" + bytes(40),
        bytes(100),
    ],
)
def test_foreign_bytes_are_not_ours(data):
    """Whatever does not begin with the magic is NotOurFile."""
    with pytest.raises(NotOurFile):
        read(data)


def sealed(body):
    """Any body with the magic, the version and a right CRC: a liar's file."""
    data = MAGIC + bytes([VERSION]) + body
    return data + zlib.crc32(data).to_bytes(4, "little")


def leb(value, more=0):
    """LEB128, with `more` needless bytes."""
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value | 128, *[128] * (more - 1), 0] if more else [*out, value])


@pytest.mark.parametrize(
    "width, height",
    [
        (0, 5),
        (5, 0),
        (MAX_SIDE + 1, 1),
        (1, MAX_SIDE + 1),
        (2**16, 2**16),
        (2**40, 1),
        (2**70, 2**70),
    ],
)
def test_lying_sizes_are_damage(width, height):
    """Sizes of 0, beyond a side's or the pixels' limit are refused before memory is allocated."""
    with pytest.raises(DamagedFile):
        read(sealed(b"\0\0" + leb(width) + leb(height) + b"abcdpayload"))


def test_the_largest_honest_size_is_read():
    """A side of 2^24 and 2^31 pixels are read (and refused later, by the payload)."""
    assert read(sealed(b"\0\0" + leb(MAX_SIDE) + leb(MAX_PIXELS // MAX_SIDE) + b"abcd"))[
        0
    ].entries == (Entry(MAX_SIDE, MAX_PIXELS // MAX_SIDE),)


@pytest.mark.parametrize(
    "change",
    [
        {"credit_bytes": 10**6},
        {"flips": 4},
        {"start": (2, 0, 0)},
        {"start": (0, MAX_SIDE + 1, 0)},
        {"start": (0, 0, MAX_SIDE + 1)},
        {"segments": ((0, 2**26),)},
        {"top": (0, 113, 0, 0, 0, 0)},
        {"top": (0, -1, 0, 0, 0, 0)},
        {"top": (2**15 + 1, 0, 0, 0, 0, 0)},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_damage(change):
    """Each number of a stack has a range; a file outside it is refused though its CRC is right."""
    header, payload = read(small_files()["stack"])
    with pytest.raises(DamagedFile):
        read(write(replace(header, **change), payload))


@pytest.mark.parametrize("kind", [16, 32, 64, 128, 255])
def test_unknown_kinds_are_damage(kind):
    """Bits of the kind that mean nothing yet are refused."""
    with pytest.raises(DamagedFile):
        read(sealed(bytes([kind, 0, 5, 3]) + bytes(40)))


@pytest.mark.parametrize("form", [len(MODES) + 2, 31, 31 | 32])
def test_unknown_modes_are_damage(form):
    """A form whose mode this program does not know is refused."""
    read(sealed(bytes([0, 0, 5, 3]) + bytes(40)))
    with pytest.raises(DamagedFile, match="mode"):
        read(sealed(bytes([0, form, 5, 3]) + bytes(40)))


def test_a_plain_image_costs_17_bytes():
    """Magic, version, kind, form, two sizes, digest and CRC, for sides of less than 128 pixels."""
    assert len(write(Header((Entry(100, 90),), b"abcd"), b"")) == 17


@given(body=st.binary(max_size=80))
def test_any_body_is_read_or_is_damage(body):
    """A right magic, version and CRC around anything: a Header or an error of ours, no other."""
    try:
        header, payload = read(sealed(body))
    except (DamagedFile, NotOurFile):
        return
    assert header.entries and payload in body


INDEXES = [
    "",
    "{}",
    "[]",
    "[1]",
    "[[]]",
    "[" * 3000,
    "nan",
    '"a"',
    '[["a",1,1,420]]',
    '[["a",1,1,420,0,0,1]]',
    "[[1,1,1,420,0,0]]",
    '[["a",1.5,1,420,0,0]]',
    '[["a","1",1,420,0,0]]',
    '[["a",true,1,420,0,0]]',
    '[["a",0,1,420,0,0]]',
    '[["a",-1,1,420,0,0]]',
    '[["a",1,99999999999,420,0,0]]',
    '[["a",1,1,null,0,0]]',
    '[["a",1,1,420,null,0]]',
    '[["a",1,1,420,1e3,0]]',
    '[["a",1,1,420,9999999999999,0]]',
    '[["a",1,1,420,0,-1]]',
    '[["a",1,1,420,0,31]]',
    '[["a",1,1,420,0,256]]',
    '[["a",1,1,420,0,"0"]]',
    '[["a",1,1,420,0,0],["b",1,1,420,0,0]]',
]


@pytest.mark.parametrize("text", INDEXES, ids=lambda text: text[:20] or "empty")
def test_any_index_is_damage_unless_it_is_one(text):
    """An index of wrong shapes, types or sizes is DamagedFile."""
    index = zlib.compress(text.encode()) + b"\0\0"
    with pytest.raises(DamagedFile):
        read(sealed(b"\2" + leb(len(index)) + leb(1) + index + bytes(8)))


def test_an_index_that_is_a_bomb_is_damage():
    """Sixteen megabytes in a few kilobytes, for one image: not unpacked."""
    index = (
        zlib.compress(b"[" + b" " * 2**24 + json.dumps(["a", 2, 3, 420, 99, 1]).encode() + b"]")
        + b"\5\0"
    )
    with pytest.raises(DamagedFile):
        read(sealed(b"\2" + leb(len(index)) + leb(1) + index + bytes(8)))


def test_an_honest_index_is_read():
    """The same file with a right index is read: the test above refuses for the right reason."""
    index = zlib.compress(json.dumps([["a", 2, 3, 420, 99, 1]]).encode()) + b"\5\0"
    assert read(sealed(b"\2" + leb(len(index)) + leb(1) + index + bytes(8)))[0].entries == (
        Entry(2, 3, "a", 420, 5, "RGBA", "PNG", 99),
    )


def test_digest_tells_size_and_pixels_apart():
    """The digest changes with any pixel, with the shape, and with where an image ends."""
    flat = np.arange(36, dtype=np.uint8)
    images = [
        [flat.reshape(3, 4, 3)],
        [flat.reshape(4, 3, 3)],
        [flat.reshape(3, 4, 3)[:, ::-1].copy()],
        [flat.reshape(2, 6, 3)],
        [flat[:18].reshape(3, 2, 3), flat[18:].reshape(3, 2, 3)],
        [flat[:18].reshape(2, 3, 3), flat[18:].reshape(2, 3, 3)],
    ]
    digests = {pixel_digest(some) for some in images}
    assert len(digests) == len(images) and all(len(digest) == 8 for digest in digests)
    assert pixel_digest(images[0], 4) == pixel_digest(images[0])[:4]
    assert pixel_digest([np.asfortranarray(flat.reshape(3, 4, 3))]) == pixel_digest(images[0])


def test_dims_count_every_sample():
    """dims is as many samples a pixel as the mode has, over all images."""
    assert (
        Header(
            (Entry(5, 3), Entry(2, 2), Entry(1, 7, mode="L"), Entry(1, 1, mode="CMYK")), b""
        ).dims
        == 3 * (15 + 4) + 7 + 4
    )
    assert container.number(300) == leb(300)


def test_names_of_what_was_lost_are_bounded():
    """Hundreds of names are cut to the limit, with "..." at the end; invalid names are damage."""
    names = tuple(f"chunk {i:08x}" for i in range(900))
    found = read(write(Header((Entry(1, 1),), b"abcd", lost=names), b""))[0].lost
    assert 100 < len(found) < 900 and found[:-1] == names[: len(found) - 1] and found[-1] == "..."
    for text in (b"", b"a\n\nb", b"\xff", b"a" * (2**12 + 1)):
        with pytest.raises(DamagedFile):
            read(with_sections(leb(1) + bytes([129]) + leb(len(text)) + text))


def with_sections(body):
    """A file of one pixel, coded by the fallback codec, with a body of sections."""
    data = bytearray(write(Header((Entry(1, 1),), b"abcd"), b"")[:-4])
    data[5] |= container.SECTIONS
    data += body
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def test_unknown_sections_are_passed_over_or_refused():
    """Tags from 128 on may be ignored; an unknown one below is refused, and the error names it."""
    text = leb(5) + b"chunk"
    header, payload = read(with_sections(leb(3) + b"\x80\2ab" + b"\x81" + text + b"\xfe\1x"))
    assert header.lost == ("chunk",) and not header.sections and not payload
    for tag in (0, 6, 127):
        with pytest.raises(DamagedFile, match=f"needs section {tag}, which this program"):
            read(with_sections(leb(1) + bytes([tag]) + b"\1a"))


@pytest.mark.parametrize(
    "body",
    [
        leb(0),
        leb(1),
        leb(1) + b"\x80\0",
        leb(1) + b"\x80\5abc",
        leb(2) + b"\x81\1a\x80\1b",
        leb(2) + b"\x80\1a\x80\1b",
        leb(257) + b"\x80\1a",
        leb(1) + b"\2\1a",
        leb(1) + b"\x80" + leb(2**40),
    ],
    ids=lambda body: body[:6].hex(),
)
def test_sections_that_lie_are_damage(body):
    """None, empty ones, cut short, out of order, twice, too many, of a prior without a stack."""
    with pytest.raises(DamagedFile):
        read(with_sections(body))


def test_an_unknown_section_changes_nothing_else(tiny_model, prior_file, photograph):
    """A file of a later version with a section that may be ignored decodes to the same pixels."""
    pixels = photograph(56, 56)
    header, payload = read(prior_file(pixels))
    sections = {**header.sections, 200: b"from the future"}
    data = write(replace(header, sections=sections), payload)
    assert np.array_equal(decode(data, model=tiny_model), pixels)
    with pytest.raises(DamagedFile, match="section 9,"):
        decode(
            write(replace(header, sections={**header.sections, 9: b"x"}), payload),
            model=tiny_model,
        )


@pytest.mark.parametrize(
    "field, wrong", [("permissions", (-1, 0o1000)), ("mtime", (2**40, -(2**40)))]
)
def test_permissions_and_times_have_limits(field, wrong):
    """An index cannot be written with others, and one that holds them is damage."""
    for value in wrong:
        with pytest.raises(UnsupportedImage, match="a: permissions or a time"):
            write_index((replace(Entry(1, 1, "a"), **{field: value}),))
        row = ["a", 1, 1, 0o644, 0, 0]
        row[3 if field == "permissions" else 4] = value
        with pytest.raises(DamagedFile):
            read_index(zlib.compress(json.dumps([row]).encode()) + bytes(2), 1)


def test_names_of_what_is_not_kept_are_printable():
    """Others are written as question marks, and are damage where a file has them."""
    assert pack_names(("a\x1bb", "é")) == b"a?b\n?"
    assert read_names(b"a?b\n?") == ("a?b", "?")
    for text in (b"a\x1bb", b"a\x7f", b"\xc3", b"a\n\nb", b"\n"):
        with pytest.raises(DamagedFile):
            read_names(text)
