"""The fields of a .bbk file one after the other, written from codecs/FORMAT.md alone.

`walk` names every byte of a file; `tables` reads the tables of a document.
"""

import json
import lzma
import re
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMAT = (ROOT / "codecs" / "FORMAT.md").read_text(encoding="utf-8")
ARITHMETIC = (ROOT / "bitsback" / "ARITHMETIC.md").read_text(encoding="utf-8")
LZMA2 = [{"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": 2**22}]


def section(document, title):
    """The text of a section: from its heading to the next of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}.*\n", document, re.MULTILINE)
    rest = document[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(text):
    """[[cells of a row of the body]] of each table; `|` within a cell is written `\\|`."""
    found, before = [], ""
    for line in text.splitlines():
        if not line.startswith("|"):
            before = ""
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not before:
            found.append([])
        elif set(line) - set("|-"):
            found[-1].append(cells)
        before = line
    return found


class Walk:
    """Takes the fields off the front of data; `rows` has (name, bytes, value) of each."""

    def __init__(self, data):
        self.data, self.position, self.rows = data, 0, []

    def _row(self, name, count, value):
        begin, self.position = self.position, self.position + count
        assert self.position <= len(self.data), name
        self.rows.append((name, self.data[begin : self.position], value))
        return value

    def take(self, name, count):
        return self._row(name, count, self.data[self.position : self.position + count])

    def u(self, name, count=1):
        field = self.data[self.position : self.position + count]
        return self._row(name, count, int.from_bytes(field, "little"))

    def n(self, name):
        value = length = 0
        while True:
            byte = self.data[self.position + length]
            value |= (byte & 127) << 7 * length
            length += 1
            if byte < 128:
                return self._row(name, length, value)

    def z(self, name):
        value = self.n(name)
        value = value // 2 if value % 2 == 0 else -(value + 1) // 2
        self.rows[-1] = (*self.rows[-1][:2], value)
        return value

    def crc(self, name, data):
        assert self.u(name, 4) == zlib.crc32(data), name


def inflated(packing, data):
    """1 zlib, 2 LZMA, 0 as it is."""
    if packing == 2:
        return lzma.decompress(data, lzma.FORMAT_RAW, filters=LZMA2)
    return zlib.decompress(data) if packing else data


def numbers_of(table):
    """{number: row} of a registry, whose first column has the numbers."""
    return {int(row[0]): row for row in table}


MODES = numbers_of(tables(section(FORMAT, "3.3 One image"))[1])
TAGS = numbers_of(tables(section(FORMAT, "4. Sections"))[1])


def alpha(form):
    """Whether an image under the prior has an alpha plane."""
    return MODES[form & 31][5] == "yes"


def channels(form):
    """Channels under the prior."""
    return 1 if MODES[form & 31][4] == "gray" else 3


def walk(data):
    """[(field, bytes, value)] of a whole file; the bytes joined are the file."""
    if data[5] != 16:
        return group(data)
    w = Walk(data)
    head(w)
    sizes = []
    for _ in range(w.n("group count")):
        w.n("images")
        sizes.append(w.n("size"))
    w.crc("CRC-32", data[: w.position])
    for size in sizes:
        w.rows += group(w.data[w.position : w.position + size])
        w.position += size
    assert w.position == len(data)
    return w.rows


def head(w):
    assert w.take("magic", 4) == b"\x8aBBK"
    assert w.u("version") >> 4 == 1
    return w.u("kind")


def group(data):
    w = Walk(data)
    kind = head(w)
    stack, archive = kind & 1, kind & 2
    if kind & 4:
        w.n("metadata")
    images = index(w) if archive else [(w.u("form"), w.n("width"), w.n("height"))]
    w.take("digest", 8 if stack or archive else 4)
    fallback = stack_numbers(w, archive) if stack else len(images)
    checks = sections(w, images[fallback:]) if kind & 8 else None
    payload = data[w.position : -4]
    if checks:
        size, found = 1 << checks[0], checks[1]
        blocks = [payload[i : i + size] for i in range(0, len(payload), size)]
        assert [zlib.crc32(block) for block in blocks] == found
    if stack:
        w.take("payload", len(payload))
    else:
        parts(w, kind & 4, len(images), len(data) - 4)
    w.crc("CRC-32", data[:-4])
    assert w.position == len(data)
    return w.rows


def index(w):
    length, count = w.n("index length"), w.n("C")
    text = zlib.decompress(w.data[w.position : w.position + length - 2 * count]).decode()
    w._row("index", length - 2 * count, text)
    for _ in range(count):
        w.u("check", 2)
    return [(row[5], row[1], row[2]) for row in json.loads(text)]


def stack_numbers(w, archive):
    w.take("model", 8)
    w.n("credit_bytes")
    fallback = w.n("fallback_count") if archive else 0
    for name in ("flips", "start image", "start rows", "start columns"):
        w.n(name)
    for name in ("lanes.samples", "lanes.most"):
        w.n(name)
    for _ in range(w.n("segment count")):
        w.n("segment")
    for colour in "RGB":
        w.z(f"mean32 {colour}")
        w.z(f"scale {colour}")
    return fallback


def sections(w, under_prior):
    """Walks the sections; (block bits, checksums of the payload's blocks), or None."""
    sizes = [(height, width, channels(form)) for form, width, height in under_prior]
    for _ in range(w.n("section count")):
        tag = w.u("tag")
        end = w.n("length") + w.position
        if tag == 2:
            for _, _, count in sizes:
                flat_map(w, count)
        elif tag == 3:
            for i, size in enumerate(sizes):
                if (not i or size != sizes[i - 1]) and (length := w.n("length of the steps")):
                    coded(w, length)
        elif tag == 4:
            w.u("sharpness")
        elif tag == 5:
            for form, _, _ in under_prior:
                if MODES[form & 31][2] == "u2":
                    w.n("step + 1")
                    if w.u("bits") > 8:
                        w.n("remainder_bytes")
        elif tag == 129:
            w._row("names", end - w.position, w.data[w.position : end].decode("ascii"))
        elif tag == 255:
            bits = w.u("block bits")
            w.crc("CRC-32 of the head", w.data[: w.position])
            found = [w.u("CRC-32 of a block", 4) for _ in range((end - w.position) // 4)]
            assert w.position == end
            return bits, found
        else:
            w.take("contents", end - w.position)
        assert w.position == end


def flat_map(w, count):
    end = w.n("length of the map") + w.position
    if end > w.position:
        for _ in range(count):
            w.take("values", w.n("value count"))
        coded(w, end - w.position)


def coded(w, length):
    """An image by the fallback codec."""
    end = w.position + length
    coder = w.u("coder")
    if coder == 7:
        coder = w.u("coder")
    if coder == 5:
        way = w.u("way")
        w._row("packed", end - w.position, inflated(2 if way & 8 else 1, w.data[w.position : end]))
    else:
        w.take("coded bytes", end - w.position)


def parts(w, has_metadata, count, end):
    """The fallback parts of a file without a stack."""
    if has_metadata:
        metadata(w, w.n("length of the metadata"), count)
    for i in range(count):
        coded(w, w.n("length of the image") if i + 1 < count else end - w.position)


def metadata(w, length, count):
    packing = w.u("packing")
    packed = w.data[w.position : w.position + length - 1]
    if packing:
        w._row("packed", length - 1, inflated(packing, packed))
        return
    for _ in range(count):
        for _ in range(w.n("item count")):
            w.u("item tag")
            w.take("value", w.n("item length"))


def cell(field, value):
    """How a field's value stands in an example: empty where it is the bytes themselves."""
    if isinstance(value, bytes):
        return "" if value == field else value.hex(" ")
    return str(value)
