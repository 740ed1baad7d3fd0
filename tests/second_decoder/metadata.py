"""The metadata section: look and metadata of every image, as raw values (FORMAT.md)."""

import struct

from tests.second_decoder.errors import check
from tests.second_decoder.packing import unpack
from tests.second_decoder.png_chunks import kinds_of_chunks, read_chunks
from tests.second_decoder.reader import Reader
from tests.second_decoder.tiff_tags import kinds_of_tags, read_tags

TAGS = (
    "palette",
    "palette_alpha",
    "transparency",
    "icc",
    "exif",
    "xmp",
    "dpi",
    "gamma",
    "chromaticity",
    "srgb",
    "text",
    "png",
    "tiff",
)
LOOK = {"palette", "palette_alpha", "transparency"}
DOUBLES = {"dpi": 2, "gamma": 1, "chromaticity": 8}
MOST = 2**18  # texts, chunks and tags of a file


def read_metadata(section, entries, mask):
    """[(look, metadata)] of each image, {name: value}."""
    packing, packed = section[:1], section[1:]
    most = min(len(entries) * 2**24, 2**28)
    check(packing in (b"\0", b"\1", b"\2"), "an unknown packing")
    if packing == b"\0":
        check(len(packed) <= most, "too much metadata")
    else:
        packed = unpack(packed, packing == b"\2", most)
    reader, found, there, counted = Reader(packed), [], 0, 0
    for entry in entries:
        items = {}
        for _ in range(reader.n(len(TAGS))):
            tag = reader.fixed(1)
            check(tag < len(TAGS) and TAGS[tag] not in items, "an item of metadata")
            value, bits, many = read_value(TAGS[tag], reader.sized())
            items[TAGS[tag]], there, counted = value, there | bits, counted + many
        look = {name: value for name, value in items.items() if name in LOOK}
        found.append((look, {name: items[name] for name in items if name not in LOOK}))
    reader.end("the metadata")
    check(counted <= MOST, "too many texts, chunks and tags")
    check(there == mask, "the header's mask says otherwise")
    return found


def read_value(name, data):
    """(value, bits of the mask, how many texts, chunks or tags)."""
    bit = 1 << TAGS.index(name)
    if name == "png":
        chunks = read_chunks(data)
        return chunks, kinds_of_chunks(chunks), len(chunks)
    if name == "tiff":
        tags, count = read_tags(data)
        return tags, kinds_of_tags(tags), count
    reader = Reader(data)
    if name == "text":
        value = read_texts(reader)
    elif name == "transparency":
        value = read_transparency(reader)
    elif name == "srgb":
        value = reader.n(255)
    elif name in DOUBLES:
        value = struct.unpack(f"<{DOUBLES[name]}d", reader.take(8 * DOUBLES[name]))
        value = value[0] if name == "gamma" else value
    else:
        value = reader.rest()
    reader.end("an item of metadata")
    return value, bit, len(value) if name == "text" else 0


def read_transparency(reader):
    """An alpha for each index, or one number, or several (of a colour)."""
    which = reader.fixed(1)
    check(which < 2, "a transparency")
    if which == 0:
        return reader.rest()
    values = []
    while reader.left:
        values.append(reader.n(2**16))
    check(1 <= len(values) <= 4, "a transparency")
    return values[0] if len(values) == 1 else tuple(values)


def read_texts(reader):
    """((key, value, language, translated key, international), ...)."""
    flags, found = reader.take(reader.n(2**24)), []
    for flag in flags:
        check(flag < 2, "a flag of a text")
        found.append((*(read_text(reader) for _ in range(4)), bool(flag)))
    return tuple(found)


def read_text(reader):
    """Lone surrogates are three bytes each, as Python writes them."""
    try:
        return reader.sized().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        check(False, "a text that is no UTF-8")
