"""codecs/FORMAT.md against the program: its examples, registries and constants, read out of it."""

import importlib
import re
import struct
import zlib

import numpy as np
import pytest

from bitsback.codecs import Encoder, decode
from bitsback.codecs.bitstream import container, header, table
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.fallback import codec, differences
from bitsback.codecs.formats import chunks, entry_codecs, metadata, tags
from bitsback.codecs.image import DEEP, GRAYS, MODES, UNDER_PRIOR, WITH_ALPHA, ImageData
from bitsback.codecs.segment_layout import DOWN, RIGHT, WHOLE
from bitsback.errors import DamagedFile
from tests.specification import (
    ARITHMETIC,
    FORMAT,
    ROOT,
    Walk,
    cell,
    inflated,
    section,
    tables,
    walk,
)

GOLDEN = sorted((ROOT / "tests" / "golden" / "v1.0").rglob("*.bbk"))


def example(title):
    """(rows of an example, the path that its text names or None)."""
    text = section(FORMAT, title)
    path = re.search(r"`(tests/golden/[\w/.]+)`", text)
    (rows,) = tables(text)
    return rows, path and ROOT / path[1]


def compare(rows, data):
    """Every row is a field of the file, in order, and all of them are the file."""
    walked = walk(data)
    for (field, shown, value, _), (name, part, read) in zip(rows, walked, strict=True):
        assert field == name and value == cell(part, read), (field, name, value)
        assert shown == (f"({len(part)} bytes)" if "(" in shown else part.hex(" ")), field


@pytest.mark.parametrize("title", ["15.1", "15.3"])
def test_an_example_is_the_golden_file(title):
    """Fields, bytes and values of the table are those of the file that the text names."""
    rows, path = example(title)
    compare(rows, path.read_bytes())


def test_the_archive_is_what_the_encoder_writes():
    """The bytes of the table decode to the images that the text describes, and those are coded to
    the same fields: all but the packed index and the checksum, which depend on zlib's version."""
    rows, _ = example("15.2")
    data = bytes.fromhex("".join(shown for _, shown, _, _ in rows))
    compare(rows, data)
    images = [
        ImageData("L", np.array([[3, 255]], np.uint8), source="PNG"),
        ImageData(
            "P",
            np.array([[0, 1], [2, 1]], np.uint8),
            {"palette": bytes([0, 0, 0, 255, 0, 0, 0, 0, 255]), "transparency": 2},
            source="GIF",
        ),
    ]
    found, decoded = decode_images(data)
    for image, other in zip(images, decoded, strict=True):
        assert image.mode == other.mode and np.array_equal(image.samples, other.samples)
        assert image.look == other.look and image.source == other.source
    again = walk(Encoder().encode_many(images, found.entries))
    depends = ("index length", "index", "CRC-32")
    assert [row[:1] + row[2:] for row in again if row[0] not in depends] == [
        row[:1] + row[2:] for row in walk(data) if row[0] not in depends
    ]
    assert [row[2] for row in again if row[0] == "index"] == [
        value for field, _, value, _ in rows if field == "index"
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_all_bytes_of_a_golden_file_are_fields(path):
    data = path.read_bytes()
    assert b"".join(field for _, field, _ in walk(data)) == data


def test_block_checksums_are_as_the_document_says():
    """A payload of two blocks: `walk` compares each with its checksum."""
    noise = np.random.default_rng(3).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    head = container.Header((container.Entry(160, 160),), container.pixel_digest([noise], 4))
    payload = bytes([codec.DIFFERENCES, 0]) + zlib.compress(noise.transpose(2, 0, 1).tobytes(), 0)
    data = container.write(head, payload)
    names = [name for name, _, _ in walk(data)]
    assert names.count("CRC-32 of a block") == 2 and "CRC-32 of the head" in names
    assert np.array_equal(decode(data), noise)


def test_a_longer_number_is_the_same_number():
    """Section 1.3: up to ten bytes; the fewest are written; more, or a value out of range, no."""
    assert (
        Reader(b"\x80\x00").number(5) == 0 and Reader(b"\x85" + 8 * b"\x80" + b"\0").number(5) == 5
    )
    for data in (b"\x85" + 9 * b"\x80" + b"\0", b"\x06", b"\x80", b""):
        with pytest.raises(DamagedFile):
            Reader(data).number(5)
    assert [Reader(bytes([i])).signed(2) for i in range(5)] == [0, -1, 1, -2, 2]


def constants():
    return [(row[0].strip("`"), row[1]) for row in tables(section(FORMAT, "13. Limits"))[0]]


def constants_of_the_arithmetic():
    rows = tables(section(ARITHMETIC, "15. Conformance"))[1]
    return [(row[0].strip("`"), row[1]) for row in rows]


@pytest.mark.parametrize("name, value", [*constants(), *constants_of_the_arithmetic()])
def test_a_constant_has_the_value_of_the_document(name, value):
    module, _, constant = f"bitsback.{name}".rpartition(".")
    assert re.fullmatch(r"[\d^ -]+", value)
    assert getattr(importlib.import_module(module), constant) == eval(value.replace("^", "**"))


def test_all_limits_are_in_the_table():
    """Every MAX_ of the modules that read a file's numbers is there."""
    listed = {name for name, _ in constants()}
    modules = "container depths index sections stack_numbers table block_checks".split()
    for short in modules:
        module = importlib.import_module(f"bitsback.codecs.bitstream.{short}")
        own = [name for name in vars(module) if name.startswith("MAX_")]
        for name in own:
            same = {f"codecs.bitstream.{other}.{name}" for other in modules}
            assert same & listed, f"{short}.{name}"


def columns(text):
    """{first row's number: cells below} of tables that run across, header row included."""
    found = {}
    for lines in re.findall(r"((?:^\|.*\n)+)", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in lines.split("\n")
        ]
        rows = [row for row in rows if row[0] and set("".join(row)) - set("-")]
        for i, number in enumerate(rows[0][1:], 1):
            if number.isdigit():
                found[int(number)] = [row[i] for row in rows[1:]]
    return found


def test_modes_and_kinds_of_files_are_the_programs():
    """Numbers, names, types, channels, what lies under the prior and what has alpha."""
    rows = tables(section(FORMAT, "3.3 One image"))[1]
    modes = [*MODES, *header.GRAY_AS_RGB]
    assert [(int(number), name) for number, name, *_ in rows] == list(enumerate(modes))
    for number, mode, kind, channels, prior, alpha, _ in rows:
        dtype = np.dtype(MODES[mode][0])
        assert (kind, int(channels)) == (f"{dtype.kind}{dtype.itemsize}", MODES[mode][1]), mode
        gray = mode in GRAYS or int(number) >= len(MODES)
        assert prior == ("gray" if gray else "yes" if mode in UNDER_PRIOR else ""), mode
        assert (alpha == "yes") == (mode in WITH_ALPHA), mode
        assert mode not in DEEP or kind == "u2"
    sources = columns(section(FORMAT, "3.3 One image"))
    assert [sources[i][0].replace("any other", "") for i in range(8)] == list(header.SOURCES)


def test_numbers_of_bits_sections_and_segments_are_the_programs():
    bits = {name: int(bit) for bit, name, _ in tables(section(FORMAT, "3.2 `kind`"))[0]}
    grouped = bits.pop("GROUPED")
    assert grouped == table.GROUPED
    assert bits == {name: getattr(container, name) for name in bits} and len(bits) == 4
    rows = tables(section(FORMAT, "4. Sections"))[1]
    assert {name: int(tag) for tag, name, *_ in rows} == {tag.name: tag.value for tag in Tag}
    kinds = {name: int(kind) for kind, name, *_ in tables(section(FORMAT, "9. Segments"))[0]}
    assert kinds == {"WHOLE": WHOLE, "DOWN": DOWN, "RIGHT": RIGHT}


def test_coders_are_the_programs():
    rows = tables(section(FORMAT, "7. The fallback codec"))[0]
    assert len(rows) == 8
    assert all(getattr(codec, name) == int(number) for number, name, *_ in rows)
    told = re.search(
        r"Bits of way: (\d) LEFT, (\d) UP, (\d) CHANNELS.*, (\d) LZMA", section(FORMAT, "7.3")
    )
    ways = differences.LEFT, differences.UP, differences.CHANNELS, differences.LZMA
    assert tuple(map(int, told.groups())) == ways


def test_numbers_of_metadata_are_the_programs():
    """Tags of items, codes of chunks, types of a TIFF's tags, tags not stored, bits of the mask."""
    rows = tables(section(FORMAT, "8.2 Items"))[0]
    assert [(int(tag), name) for tag, name, _ in rows] == list(enumerate(metadata.TAGS))
    codes = columns(section(FORMAT, "8.3 Chunks"))
    assert {code: name.encode() for code, (name,) in codes.items()} == dict(
        list(enumerate(chunks.KNOWN))[1:]
    )
    text = section(FORMAT, "8.4 Tags")
    types = columns(text)
    assert {kind: int(size) for kind, (_, size, _) in types.items()} == tags.SIZES
    assert {kind: int(word) for kind, (*_, word) in types.items()} == {
        kind: tags.WORDS.get(kind, 1) for kind in tags.SIZES
    }
    words = " ".join(text.split())
    packed = re.search(r"Up to (\d+) words of the types ([\d, and]+) are an n", words)
    assert int(packed[1]) == entry_codecs.SHORT
    assert set(map(int, re.findall(r"\d+", packed[2]))) == entry_codecs.PACKED
    assert numbers(re.search(r"storage of samples \(([\d, -]+)\)", words)[1]) == tags.STORAGE
    rows = tables(section(FORMAT, "8.5 The mask"))[0]
    assert [(int(bit), name) for bit, name, _ in rows] == list(enumerate(metadata.KINDS))
    tagged = {tag: name for _, name, what in rows for tag in numbers(tags_in(what))}
    assert tagged == tags.NAMES
    chunked = {
        chunk.encode(): name
        for _, name, what in rows
        for chunk in re.findall(r"(?<!\w)(?:chunks? |other )([a-zA-Z]{4})\b", what)
        if chunk.encode() in chunks.NAMES
    }
    assert chunked.items() <= chunks.NAMES.items() and len(chunked) >= 6


def test_bits_of_the_mask_are_as_the_document_says():
    """Each chunk and tag that the table names sets the bit of its row alone."""
    checked = 0
    for bit, name, what in tables(section(FORMAT, "8.5 The mask"))[0]:
        for tag in numbers(tags_in(what)):
            directory = ((tag, 0, ()),) if tag in tags.FOLDERS else ((tag, 1, b"1"),)
            assert metadata.kinds([({}, {"tiff": directory})]) == 1 << int(bit), tag
            checked += 1
        found = re.findall(r"(?:chunks? |, )([a-z]?[A-Z]+[A-Za-z]+)\b", what.split("; tag")[0])
        if "this chunk" in what:
            found = [name]
        for chunk in found:
            body = {"iTXt": b"XML:com.adobe.xmp\0", "pHYs": bytes(8) + b"\1"}.get(chunk, b"1")
            entries = ((chunk.encode(), 0, body),)
            assert metadata.kinds([({}, {"png": entries})]) == 1 << int(bit), chunk
            checked += 1
    assert checked == 41
    others = {b"pHYs": 16, b"iTXt": 10, b"oFFs": 14, b"tRNS": 14, b"IHDR": 14, b"vpAg": 14}
    others |= {b"exif": 4, b"srgb": 9, b"text": 10, b"tiff": 23, b"iptc": 24, b"lost": 14}
    for chunk, bit in others.items():
        assert metadata.kinds([({}, {"png": ((chunk, 0, b"\2"),)})]) == 1 << bit, chunk
    for directory in ((), ((40000, 1, b"1"),)):
        assert metadata.kinds([({}, {"tiff": directory})]) == 1 << 23


def test_items_of_metadata_are_as_the_document_says():
    """Values of items 0 to 10, byte by byte."""
    look = {"palette": b"abc", "palette_alpha": b"\7", "transparency": b"\5\6"}
    others = {
        "icc": b"icc",
        "exif": b"exif",
        "xmp": b"xmp",
        "dpi": (72.0, 96.5),
        "gamma": 0.45455,
        "chromaticity": tuple(i / 8 for i in range(8)),
        "srgb": 3,
        "text": (("key", "v\u00e9", "", "", False), ("k", "\udc80", "en", "t", True)),
    }
    samples = np.zeros((1, 1), np.uint8)
    packed = metadata.pack([ImageData("P", samples, look, others)])
    found = dict(walked_items(packed))
    doubles = struct.pack("<11d", 72.0, 96.5, 0.45455, *others["chromaticity"])
    text = b"\2\0\1" + b"\3key\3v\xc3\xa9\0\0" + b"\1k\3\xed\xb2\x80\2en\1t"
    expected = [b"abc", b"\7", b"\0\5\6", b"icc", b"exif", b"xmp", doubles[:16], doubles[16:24]]
    assert found == dict(enumerate([*expected, doubles[24:], b"\3", text]))
    pixels = np.zeros((1, 1, 3), np.uint8)
    colour = metadata.pack([ImageData("RGB", pixels, {"transparency": (1, 300, 0)})])
    assert walked_items(colour) == [(2, b"\1\1\xac\2\0")]


def test_chunks_and_tags_are_as_the_document_says():
    """Values of items 11 and 12, byte by byte."""
    samples = np.zeros((2, 3), np.uint8)
    chunks_of = ((b"gAMA", 0, b"1234"), (b"tRNS", 0, b""), (b"vpAg", 2, b"xy"))
    image = ImageData("L", samples, {"transparency": 5}, {"png": chunks_of})
    expected = b"\3" + b"\x03\x041234" + b"\x13\0" + b"\x40vpAg\2xy"
    assert walked_items(metadata.pack([image])) == [(2, b"\1\5"), (11, expected)]
    exif = (0x8769, 0, ((0x9003, 2, b"now\0"),))
    tags_of = ((282, 5, b"\x2c\1\0\0\1\0\0\0"), (297, 3, bytes([0, 0, 1, 0])), exif)
    (item,) = walked_items(metadata.pack([ImageData("L", samples, {}, {"tiff": tags_of})]))
    w = Walk(item[1])
    assert item[0] == 12 and w.n("count") == 3
    for tag, words in (([282, 5, 2], [300, 1]), ([15, 3, 2], [0, 1])):
        assert [w.n("tag"), w.u("type"), w.n("count")] == tag
        assert [w.n("word"), w.n("word")] == words
    assert [w.n("tag"), w.u("type"), w.n("tags inside")] == [0x8769 - 297, 0, 1]
    assert [w.n("tag"), w.u("type"), w.n("count"), w.take("bytes", 4)] == [0x9003, 2, 4, b"now\0"]
    assert w.position == len(w.data)


def walked_items(packed):
    """[(tag, value)] of the one image of a metadata section."""
    w = Walk(inflated(packed[0], packed[1:]))
    items = [(w.u("item tag"), w.take("value", w.n("item length"))) for _ in range(w.n("count"))]
    assert w.position == len(w.data)
    return items


def tags_in(what):
    """What the table of kinds says after "tag" or "tags"."""
    return (re.search(r"\btags? (\d[\d, -]*)", what) or ["", ""])[1]


def numbers(text):
    """{all numbers of} "1, 4-6"."""
    found = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_the_registries_end_where_the_tables_do():
    """Section 12.3 names the last number that is assigned in each registry."""
    rows = {
        name: (assigned, free) for name, _, assigned, free, _ in tables(section(FORMAT, "12.3"))[0]
    }
    last = {
        "modes": len(MODES) + len(header.GRAY_AS_RGB) - 1,
        "kinds of source file": len(header.SOURCES) - 1,
        "critical sections": max(tag for tag in Tag if tag < 128),
        "ignorable sections": max(Tag),
        "coders": codec.NARROW,
        "metadata tags": len(metadata.TAGS) - 1,
        "codes of chunks": len(chunks.KNOWN) - 1,
        "bits of `metadata`": len(metadata.KINDS) - 1,
        "kinds of segment": RIGHT,
        "bits of way": differences.LZMA,
        "bits of `kind`": table.GROUPED,
        "packings": 2,
    }
    assert {name: max(numbers(assigned)) for name, (assigned, _) in rows.items()} == last
    for name, (assigned, free) in rows.items():
        assert not numbers(assigned) & numbers(free), name
