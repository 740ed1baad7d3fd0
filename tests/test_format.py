"""codecs/FORMAT.md against the program: golden files by a parser written from the document."""

import hashlib
import json
import lzma
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import MODES, ImageData
from tests import numpy_decoder

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = sorted((ROOT / "tests" / "golden" / "v1.0").rglob("*.bbk"))
SINGLE = [path for path in GOLDEN if path.parent.name != "archives"]


class Bytes:
    """Takes fixed and LEB128 numbers off the front."""

    def __init__(self, data):
        self.left = data

    def take(self, count):
        assert len(self.left) >= count
        out, self.left = self.left[:count], self.left[count:]
        return out

    def n(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    def z(self):
        n = self.n()
        return n // 2 if n % 2 == 0 else -(n + 1) // 2


def parse(data):
    """The facts of a file, by FORMAT.md."""
    assert (
        int.from_bytes(data[-4:], "little") == zlib.crc32(data[:-4]) and data[:5] == b"\x8aBBK\x10"
    )
    left = Bytes(data[5:-4])
    kind = left.take(1)[0]
    facts = {"archive": bool(kind & 2), "metadata": left.n() if kind & 4 else 0, "lost": ()}
    if facts["archive"]:
        length, count = left.n(), left.n()
        index = left.take(length)
        cut = length - 2 * count
        facts["rows"] = json.loads(zlib.decompress(index[:cut]))
        facts["checks"] = [
            int.from_bytes(index[cut + 2 * i : cut + 2 * i + 2], "little") for i in range(count)
        ]
    else:
        form = left.take(1)[0]
        facts["rows"], facts["checks"] = [["", left.n(), left.n(), 0o644, 0, form]], [0]
    facts["digest"] = left.take(8 if kind & 3 else 4)
    if kind & 1:
        facts["model"], facts["credit_bytes"] = left.take(8).hex(), left.n()
        facts["fallback_count"] = left.n() if facts["archive"] else 0
        facts["flips"], facts["start"] = left.n(), (left.n(), left.n(), left.n())
        facts["lanes"] = (left.n(), left.n())
        facts["segments"] = tuple(
            (code % 3, code // 3) for code in [left.n() for _ in range(left.n())]
        )
        facts["top"] = tuple(left.z() for _ in range(6))
    facts["sections"] = {}
    for _ in range(left.n() if kind & 8 else 0):
        tag = left.take(1)[0]
        facts["sections"][tag] = left.take(left.n())
    facts["sections"].pop(255, None)
    if 129 in facts["sections"]:
        facts["lost"] = tuple(facts["sections"].pop(129).decode("ascii").split("\n"))
    return facts, left.left


def compare(data):
    facts, payload = parse(data)
    header, expected = container.read(data)
    assert payload == expected
    for (name, width, height, permissions, mtime, form), check, entry in zip(
        facts.pop("rows"), facts.pop("checks"), header.entries, strict=True
    ):
        assert (name, width, height, permissions, mtime, form, check) == (
            entry.name,
            entry.width,
            entry.height,
            entry.permissions,
            entry.mtime,
            entry.form,
            entry.check,
        )
    for key, value in facts.items():
        assert getattr(header, key) == value, key
    return header, payload


def items(section):
    """{tag: value} of the one image of a metadata section, by FORMAT.md."""
    packing, packed = section[0], section[1:]
    filters = [{"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": 2**22}]
    left = Bytes(
        packed
        if packing == 0
        else zlib.decompress(packed)
        if packing == 1
        else lzma.decompress(packed, lzma.FORMAT_RAW, filters=filters)
    )
    found = {}
    for _ in range(left.n()):
        tag = left.take(1)[0]
        found[tag] = left.take(left.n())
    assert not left.left
    return found


def test_chunks_and_tags_are_as_the_document_says():
    """The metadata of a PNG and of a TIFF, byte by byte."""
    image = ImageData(
        "L",
        np.zeros((2, 3), np.uint8),
        {"transparency": 5},
        {"png": ((b"gAMA", 0, b"1234"), (b"tRNS", 0, b""), (b"vpAg", 2, b"xy"))},
        lost=("prVW", "data after the end"),
    )
    header, payload = compare(encode_image(image))
    assert header.lost == image.lost and header.metadata == 1 << 2 | 1 << 7 | 1 << 14
    left = Bytes(payload)
    found = items(left.take(left.n()))
    assert found == {2: b"\1\5", 11: b"\3" + b"\x03\x041234" + b"\x13\0" + b"\x40vpAg\2xy"}
    exif = (0x8769, 0, ((0x9003, 2, b"now\0"),))
    image = ImageData(
        "L",
        np.zeros((2, 3), np.uint8),
        {},
        {"tiff": ((282, 5, b"\x2c\1\0\0\1\0\0\0"), (297, 3, bytes([0, 0, 1, 0])), exif)},
    )
    _, payload = compare(encode_image(image))
    left = Bytes(payload)
    left = Bytes(items(left.take(left.n()))[12])
    assert left.n() == 3 and [left.n(), left.take(1), left.n(), left.n(), left.n()] == [
        282,
        b"\5",
        2,
        300,
        1,
    ]
    assert [left.n(), left.take(1), left.n(), left.n(), left.n()] == [15, b"\3", 2, 0, 1]
    assert [left.n(), left.take(1), left.n(), left.n(), left.take(1), left.n(), left.take(4)] == [
        0x8769 - 297,
        b"\0",
        1,
        0x9003,
        b"\2",
        4,
        b"now\0",
    ] and not left.left


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_are_as_the_document_says(path):
    """Every number of the header and where the payload begins; of each group of an archive."""
    data = path.read_bytes()
    found = numpy_decoder.groups(data) if path.parent.name == "archives" else [(1, data)]
    for count, group in found:
        assert len(compare(group)[0].entries) == count


def test_archives_are_as_the_document_says(tiny_model):
    """An archive with a stack and metadata: index, checks, plain images, and the rest."""
    from benchmarks import fuzz_cases

    files = fuzz_cases.good_files(tiny_model, np.random.default_rng(5))
    header, _ = compare(files["prior archive"][0])
    assert header.archive and header.model and header.metadata and len(header.entries) == 4
    assert not compare(files["fallback archive"][0])[0].model


def test_differences_and_digest_are_as_the_document_says():
    """Golden files coded by differences, decoded as the document says; the digest over them."""
    found = 0
    for path in SINGLE:
        (facts, payload), (_, width, height, _, _, form) = (
            parse(path.read_bytes()),
            parse(path.read_bytes())[0]["rows"][0],
        )
        if form % 32 >= len(MODES):  # gray as three equal colours: under the prior
            continue
        mode = list(MODES)[form % 32]
        if (
            "model" in facts
            or facts["metadata"]
            or payload[0] != 5
            or mode not in ("RGB", "I;16", "F")
        ):
            continue
        dtype, channels = {"RGB": ("<u1", 3), "I;16": ("<u2", 1), "F": ("<u4", 1)}[mode]
        way, size = payload[1], np.dtype(dtype).itemsize
        filters = [{"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": 2**22}]
        planes = (
            lzma.decompress(payload[2:], lzma.FORMAT_RAW, filters=filters)
            if way & 8
            else zlib.decompress(payload[2:])
        )
        planes = (
            np.frombuffer(planes, "u1").reshape(channels, size, height, width).astype(np.uint64)
        )
        x = sum(planes[:, i] << np.uint64(8 * i) for i in range(size)).transpose(1, 2, 0)
        x = np.cumsum(x, 0) if way & 2 else x
        x = np.cumsum(x, 1) if way & 1 else x
        if way & 4:
            x = np.stack([x[..., 0] + x[..., 1], x[..., 1], x[..., 2] + x[..., 1]], -1)
        samples = (x % 2 ** (8 * size)).astype(dtype)
        digest = hashlib.blake2b(
            width.to_bytes(4, "little")
            + height.to_bytes(4, "little")
            + samples.tobytes()
            + (b"" if mode == "RGB" else mode.encode()),
            digest_size=8,
        )
        assert digest.digest()[:4] == facts["digest"], path.name
        if mode == "RGB":
            assert np.array_equal(samples, np.array(Image.open(path.with_suffix(".png"))))
        found += 1
    assert found >= 2
