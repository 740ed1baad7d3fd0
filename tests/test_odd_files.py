"""Files that no encoder writes: the package and the second decoder agree which are damaged."""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz_cases import sealed
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.fallback import jxl_frames
from bitsback.errors import BitsbackError, DamagedFile, NotOurFile, StackEmpty, WrongModel
from tests.second_decoder import errors
from tests.second_decoder.decoder import decode_file
from tests.second_decoder.jxl_frames import check_frames

PIXEL = bytes([78, 204, 64])
PARTS = sorted((Path(__file__).parent / "golden").glob("v*/jxl/*.part"))
STORED = b"\x08\1\0\2" + PIXEL + b"\0"  # differences without any, LZMA2
KINDS = {
    DamagedFile: errors.Damaged,
    StackEmpty: errors.Damaged,
    NotOurFile: errors.NotOurFile,
    WrongModel: errors.WrongModel,
}


def outcome(data, model=None):
    """([(name, mode, look, metadata, bytes of samples)] or an error of the second decoder, by each
    of the two.
    """
    try:
        header, images = decode_images(data, model=model)
        ours = [
            (entry.name, one.mode, one.look, one.metadata, one.samples.tobytes())
            for entry, one in zip(header.entries, images, strict=True)
        ]
    except BitsbackError as error:
        ours = KINDS[type(error)]
    try:
        images = decode_file(data, [model.path.read_bytes()] if model else [])
        theirs = [
            (one.name, one.mode, one.look, one.metadata, one.samples.tobytes()) for one in images
        ]
    except errors.FileError as error:
        theirs = type(error)
    return ours, theirs


def check(data, good):
    """Both read the file, to the same image, or both refuse it."""
    ours, theirs = outcome(data)
    assert ours == theirs and isinstance(ours, list) == good


def zipped(samples, flags=0):
    return bytes([5, flags]) + zlib.compress(samples)


def single(
    kind=0, form=0, side=b"\1", samples=PIXEL, part=b"\5" + STORED, mask=0, items=None, sections=b""
):
    """A file of one pixel.  items: bytes of its metadata."""
    section = b"" if items is None else b"\0" + items
    digest = hashlib.blake2b(digest_size=8)
    digest.update(struct.pack("<II", 1, 1) + samples + section)
    mode = {2: "L", 4: "P", 5: "1"}.get(form)
    digest.update(mode.encode() if mode else b"")
    kind |= 4 * (items is not None) | 8 * bool(sections)
    head = b"\x8aBBK\x10" + bytes([kind]) + (b"" if items is None else number(mask))
    head += bytes([form]) + side + b"\1" + digest.digest()[:4] + sections
    told = b"" if items is None else number(len(section)) + section
    return sealed(head + told + part)


def test_numbers_and_forms():
    check(single(), True)
    check(single(side=b"\x81\0"), True)  # longer than need be
    check(single(side=b"\x81" + b"\x80" * 8 + b"\0"), True)
    check(single(side=b"\x81" + b"\x80" * 9 + b"\0"), False)
    check(single(side=b"\0"), False)
    for kind in (16, 17, 32, 128):
        check(single(kind), False)
    for form, good in ((0xE0, True), (20, False), (21, False), (23, False), (31, False)):
        check(single(form=form), good)
    for at in range(4):
        data = bytearray(single())
        data[at] ^= 1
        check(bytes(data), False)
    for count in range(26):
        check(single()[:count], False)


def test_parts():
    check(single(part=zipped(PIXEL)), True)
    check(single(part=zipped(PIXEL) + b"\0"), False)
    check(single(part=zipped(PIXEL + b"\0")), False)
    check(single(part=zipped(PIXEL[:2])), False)
    check(single(part=zipped(bytes([130, 204, 116]), 4)), True)
    check(single(form=2, samples=b"\7", part=zipped(b"\7", 4)), False)
    for flags in (16, 32, 128):
        check(single(part=zipped(PIXEL, flags)), False)
    check(single(form=5, samples=b"\1", part=zipped(b"\1")), True)
    check(single(form=5, samples=b"\2", part=zipped(b"\2")), False)
    check(single(part=b""), False)
    for coder in (0, 1, 2, 3, 4, 6, 7, 8, 255):
        check(single(part=bytes([coder]) + STORED), False)
    check(single(part=b"\1" + zlib.compress(b"\0" + PIXEL)), True)
    check(single(part=b"\1" + zlib.compress(b"\5" + PIXEL)), False)
    check(single(part=b"\1" + zlib.compress(b"\0" + PIXEL) + b"\0"), False)
    check(single(part=b"\1" + zlib.compress(b"\0" + PIXEL + b"\0")), False)
    for coder, bits in ((2, 1), (3, 2), (4, 4)):
        row = zlib.compress(b"\0" + bytes([255 << 8 - bits & 255]))
        check(single(form=4, samples=bytes([2**bits - 1]), part=bytes([coder]) + row), True)
        check(single(part=bytes([coder]) + row), False)


def item(tag, value):
    return bytes([tag]) + number(len(value)) + value


ITEMS = {  # bytes: (mask, whether they are read)
    b"\0": (1, False),
    b"\1" + item(0, b"abc"): (1, True),
    b"\1" + item(0, b""): (1, True),
    b"\1" + item(0, b"abc") + b"\0": (1, False),
    b"\1" + item(13, b"abc"): (1, False),
    b"\2" + item(3, b"x") * 2: (8, False),
    b"\2" + item(3, b"x") + item(11, b"\0"): (8 | 1 << 14, True),
    b"\1" + item(3, b"x"): (16, False),
    b"\1" + item(2, b"\0"): (4, True),
    b"\1" + item(2, b"\1\x81\0"): (4, True),
    b"\1" + item(2, b"\1\1\2\3\4"): (4, True),
    b"\1" + item(2, b"\1\1\2\3\4\5"): (4, False),
    b"\1" + item(2, b"\1"): (4, False),
    b"\1" + item(2, b"\2\1"): (4, False),
    b"\1" + item(2, b""): (4, False),
    b"\1" + item(6, bytes(16)): (1 << 6, True),
    b"\1" + item(6, bytes(15)): (1 << 6, False),
    b"\1" + item(6, bytes(17)): (1 << 6, False),
    b"\1" + item(9, b"\3"): (1 << 9, True),
    b"\1" + item(9, b"\3\0"): (1 << 9, False),
    b"\1" + item(9, b"\x80\2"): (1 << 9, False),
    b"\1" + item(10, b"\0"): (1 << 10, True),
    b"\1" + item(10, b"\1\1\1a\1b\0\0"): (1 << 10, True),
    b"\1" + item(10, b"\1\2\1a\1b\0\0"): (1 << 10, False),
    b"\1" + item(10, b"\1\0\1a\1b\0\0x"): (1 << 10, False),
    b"\1" + item(10, b"\1\0\1\xff\1b\0\0"): (1 << 10, False),
    b"\1" + item(10, b"\1\0\3\xed\xa0\x80\0\0\0"): (1 << 10, True),
}
CHUNKS = {  # contents of item 11
    b"\0": (14, True),
    b"\1\3\4abcd": (7, True),
    b"\1\0gAMA\4abcd": (7, True),
    b"\2\3\4abcd\3\4abcd": (7, True),
    b"\1\0vpAg\2ab": (14, True),
    b"\1\0text\2ab": (10, True),
    b"\1\0lost\2ab": (14, True),
    b"\1\0vpAG\2ab": (14, False),
    b"\1\0VpAg\2ab": (14, False),
    b"\1\0v1Ag\2ab": (14, False),
    b"\1\0IDAT\2ab": (14, False),
    b"\1\x43\4abcd": (7, True),
    b"\1\x63\4abcd": (7, False),
    b"\2\x43\4abcd\3\4abcd": (7, False),
    b"\1\x13\0": (14, True),
    b"\1\x14\1\2": (14, True),
    b"\1\x14\1\3": (14, False),
    b"\2\3\4abcd\x14\1\2": (7, False),
    b"\1\x1b\4abcd": (14, False),
    b"\1\3\4abcd\0": (7, False),
    b"\1\x0b\x09abcdefgh\1": (6, True),
    b"\1\x0b\x09abcdefgh\0": (16, True),
    b"\1\x11\x13XML:com.adobe.xmp\0x": (5, True),
    b"\1\x11\x12XML:com.adobe.xmpx": (10, True),
}
TAGS = {  # contents of item 12
    b"\0": (23, True),
    b"\1\0\1\1x": (23, True),
    b"\2\x09\1\1x\0\1\1x": (23, False),
    b"\2\x09\1\1x\1\1\1x": (23, True),
    b"\1\xfe\1\1\1x": (23, False),
    b"\1\x9a\2\5\2\1\1": (6, True),
    b"\1\x9a\2\5\1\1": (6, False),
    b"\1\x9a\2\x0e\1\1": (6, False),
    b"\1\x09\3\1\x80\x80\4": (23, False),
    b"\1\xe9\x8e\2\0\0": (4, True),
    b"\1\xe9\x8e\2\1\1x": (4, True),
    b"\1\xe9\x8e\2\0\1\x85\xc0\2\0\0": (4, True),
    b"\1\xa5\x90\2\0\1\x85\xc0\2\0\0": (4, False),
    b"\1\x85\xc0\2\0\0": (23, False),
    b"\1\xe9\x8e\2\0\1\xfe\1\1\1x": (4, True),
    b"\1\0\1\1x\0": (23, False),
}


@pytest.mark.parametrize(
    "items, mask, good",
    [
        *((items, mask, good) for items, (mask, good) in ITEMS.items()),
        *((b"\1" + item(11, chunks), 1 << bit, good) for chunks, (bit, good) in CHUNKS.items()),
        *((b"\1" + item(12, tags), 1 << bit, good) for tags, (bit, good) in TAGS.items()),
    ],
    ids=repr,
)
def test_metadata(items, mask, good):
    check(single(items=items, mask=mask), good)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_frames_of_jpeg_xl(path):
    """Altered headers of frames: both refuse the same ones before libjxl sees them."""
    (samples,) = np.load(path.with_suffix(".npz")).values()
    height, width, channels = (*samples.shape, 1)[:3]
    rng, good = np.random.default_rng(3), []
    for _ in range(600):
        frames = bytearray(path.read_bytes()[1:])
        for at in rng.integers(0, rng.choice([9, 16, len(frames)]), rng.integers(1, 4)):
            frames[at] ^= 1 << int(rng.integers(8))
        frames = bytes(frames[: int(rng.integers(2, 40)) if rng.integers(5) == 0 else None])
        try:
            jxl_frames.check_frames(frames, 0, height, width, 1 - channels % 2)
            ours = True
        except (ValueError, BitsbackError):
            ours = False
        try:
            check_frames(frames, (height, width, channels))
            theirs = True
        except errors.Damaged:
            theirs = False
        assert ours == theirs, frames[:40].hex()
        good.append(ours)
    assert 50 < sum(good) < 550


@pytest.mark.parametrize(
    "sections, good",
    [
        (b"\1\x81\3abc", True),
        (b"\1\x81\4a\n\nb", False),
        (b"\1\x81\2a\1", False),
        (b"\1\xc8\1a", True),
        (b"\1\xc8\0", False),
        (b"\2\x81\1a\xc8\1a", True),
        (b"\2\xc8\1a\x81\1a", False),
        (b"\2\xc8\1a\xc8\1a", False),
        (b"\1\1\1a", False),
        (b"\1\x80\1a", True),
        (b"\1\7\1a", False),
        (b"\1\0\1a", False),
    ],
    ids=repr,
)
def test_sections(sections, good):
    check(single(sections=sections), good)


def archive(*rows, text=None):
    """One pixel for each row of the index.  text: the index, if it is not the JSON of the rows."""
    text = text or json.dumps(rows, separators=(",", ":")).encode()
    index = zlib.compress(text) + struct.pack("<H", zlib.crc32(PIXEL) & 65535) * len(rows)
    digest = hashlib.blake2b(digest_size=8)
    for _ in rows:
        digest.update(struct.pack("<II", 1, 1) + PIXEL)
    part = b"\5" + STORED
    payload = (number(len(part)) + part) * (len(rows) - 1) + part
    head = b"\x8aBBK\x10\2" + number(len(index)) + number(len(rows)) + index
    return sealed(head + digest.digest() + payload)


@pytest.mark.parametrize(
    "name, good",
    [
        *((name, True) for name in ("a", "a..b", "a//b", "a/./b", " ", "a\nb", "\u00e4", "\udc80")),
        *((name, False) for name in ("\udcc3\udca4", "\ud800", "a" * 8300)),
        ("a" * 8100, True),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_names(name, good):
    check(archive([name, 1, 1, 420, 0, 0]), good)


@pytest.mark.parametrize(
    "row, good",
    [
        (["a", 1, 1, 511, 2**40 - 1, 0], True),
        (["a", 1, 1, 0, 1 - 2**40, 224], True),
        (["a", 1, 1, 512, 0, 0], False),
        (["a", 1, 1, -1, 0, 0], False),
        (["a", 1, 1, 0, 2**40, 0], False),
        (["a", 1, 1, 0, 1.5, 0], False),
        (["a", 1, 1, 0, True, 0], False),
        (["a", 1, 1, 0, 0, 23], False),
        (["a", 1, 1, 0, 0, -1], False),
        (["a", 0, 1, 0, 0, 0], False),
        (["a", 2, 1, 0, 0, 0], False),
        (["a", 1, 1, 0, 0], False),
        (["a", 1, 1, 0, 0, 0, 0], False),
        ([7, 1, 1, 0, 0, 0], False),
        ("a", False),
    ],
    ids=str,
)
def test_rows_of_an_index(row, good):
    check(archive(row), good)
    check(archive(["b", 1, 1, 0, 0, 0], row), good)


def test_indices():
    row = b'["a",1,1,0,0,0]'
    check(archive(0, text=b"[" + row + b"]"), True)
    for wrong in (row, b"[" + row, b"[]", b"[" + row + b"," + row + b"]", b"\xff", b"7"):
        check(archive(0, text=wrong), False)
    good = archive(["a", 1, 1, 0, 0, 0])
    for at in range(6, len(good) - 4):
        wrong = bytearray(good[:-4])
        wrong[at] ^= 16
        ours, theirs = outcome(sealed(wrong))
        assert ours == theirs, at
