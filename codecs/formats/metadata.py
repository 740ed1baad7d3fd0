"""Palette, transparency and metadata (profile, Exif, XMP, resolution, text) of images, as bytes.

Metadata of a PNG or TIFF are stored unchanged as its chunks (chunks.py) or tags (tags.py), under
one key; views.py converts them for other formats.  Metadata of other files are stored as Pillow
reads them.

In memory these are ImageData.look and ImageData.metadata; in a file one section for all images:

    1       compression: 0 none, 1 deflate, 2 LZMA
    ...     for each image: LEB128 number of items, then for each item
            1 tag, LEB128 length, value

Real numbers are little-endian doubles, so that the values that Pillow read are restored exactly.
"""

import lzma
import struct
import zlib
from collections.abc import Iterable, Sequence

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.differences import FILTERS, inflate
from bitsback.codecs.formats import chunks, tags
from bitsback.codecs.formats.entry_codecs import (
    count_tags,
    pack_chunks,
    pack_tags,
    unpack_chunks,
    unpack_tags,
)
from bitsback.codecs.image import ImageData
from bitsback.errors import DamagedFile, UnsupportedImage

MAX_METADATA = 2**24  # bytes of one image's items, uncompressed
TOGETHER = 16 * MAX_METADATA  # the same of all images of an archive
TEXTS = 2**18  # texts, chunks and tags in a file: in memory an empty one takes 100 bytes
ROOM = MAX_METADATA - 2**16  # bytes of chunks or tags read from one file: leaves room for a palette
MOST_LISTED = 100  # names in a message about metadata that a format cannot hold
LOOK = ("palette", "palette_alpha", "transparency")  # items 0, 1, 2: never stripped
METADATA = ("icc", "exif", "xmp", "dpi", "gamma", "chromaticity", "srgb", "text")
WHOLE = ("png", "tiff")  # items 11, 12: all chunks, all tags
TAGS = LOOK + METADATA + WHOLE
# bits of the mask in a file's header
KINDS = (
    *(*LOOK, *METADATA, "lost", "cICP", "sBIT", "png", "bKGD", "pHYs", "tIME", "mDCV", "cLLI"),
    *("hIST", "sPLT", "PLTE", "tiff", "iptc", "photoshop", "geotiff"),
)
DOUBLES = {"dpi": 2, "gamma": 1, "chromaticity": 8}  # numbers of doubles


# --- names ---------------------------------------------------------------------------------


def labels(metadata: dict) -> list[str]:
    """The names of all metadata, for display: keys, and names of chunks and tags."""
    found: list[str] = []
    for key, value in metadata.items():
        if key == "png":
            found += chunks.names(value)
        elif key == "tiff":
            found += tags.names(value)
        else:
            found.append(key)
    return found


def sizes(metadata: dict) -> dict[str, int]:
    """{name: bytes before compression} of all metadata as a file stores them, for display."""
    found: dict[str, int] = {}
    for key, value in metadata.items():
        for one in [[entry] for entry in value] if key in WHOLE else [value]:
            (name,) = labels({key: one})
            name = name if name in found or len(found) < MOST_LISTED else "others"
            found[name] = found.get(name, 0) + len(_write_value(key, one))
    return found


def missing(metadata: dict, written: dict) -> list[str]:
    """Names of an image's metadata that a written file does not hold, or holds in another form."""
    for key in WHOLE:
        if key in metadata and key in written:
            present = set(written[key])
            left = [entry for entry in metadata[key] if entry not in present]
            return _few(labels({key: left})) if left else []
    present = set(labels(written))
    return _few([name for name in labels(metadata) if name not in present])


def _few(names):
    """The first MOST_LISTED names and the number of the others."""
    more = len(names) - MOST_LISTED
    return names[:MOST_LISTED] + [f"{more} others"] if more > 0 else names


# --- dicts -> bytes and back -----------------------------------------------------------------


def _write_value(key, value):
    if key in DOUBLES:
        return struct.pack(f"<{DOUBLES[key]}d", *(value if DOUBLES[key] > 1 else (value,)))
    if key == "srgb":
        return number(*bytes([value]))  # of one byte, else ValueError
    if key == "transparency":  # bytes: one alpha per index; integers: the transparent colour
        if isinstance(value, bytes):
            return b"\0" + value
        return b"\1" + b"".join(map(number, value if isinstance(value, tuple) else (value,)))
    if key in WHOLE:
        return pack_chunks(value) if key == "png" else pack_tags(value)
    if key == "text":
        if any(len(item) != 5 for item in value):
            raise ValueError("texts are keyword, language, keyword there, text, whether compressed")
        parts = [part.encode("utf-8", "surrogatepass") for item in value for part in item[:4]]
        flags = bytes(item[4] for item in value)
        return number(len(flags)) + flags + b"".join(number(len(part)) + part for part in parts)
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("not bytes")  # of a number, bytes() makes zeros
    return bytes(value)


def _read_value(key, data, most_texts):
    if key in DOUBLES:
        values = struct.unpack(f"<{DOUBLES[key]}d", data)
        return values[0] if DOUBLES[key] == 1 else values
    if key in WHOLE:
        return (unpack_chunks if key == "png" else unpack_tags)(data, most_texts)
    if key not in ("srgb", "transparency", "text"):
        return data
    reader = Reader(data)
    read = {"srgb": _read_srgb, "transparency": _read_transparency, "text": _read_texts}[key]
    value = read(reader, most_texts)
    if reader.position != len(data):
        raise DamagedFile("bytes left over after an item of metadata")
    return value


def _read_srgb(reader, _):
    return reader.number(255)


def _read_transparency(reader, _):
    """An alpha for each index; or one to four numbers, the transparent colour."""
    kind = reader.take(1)[0]
    if kind == 0:
        return reader.take(reader.end - reader.position)
    values = []
    while reader.position < reader.end and len(values) < 4:
        values.append(reader.number(2**16))
    if kind != 1 or not values:
        raise DamagedFile("a transparency of an unknown kind")
    return values[0] if len(values) == 1 else tuple(values)


def _read_texts(reader, most):
    flags = reader.take(reader.number(most))
    if flags and max(flags) > 1:
        raise DamagedFile("a text of an unknown kind")
    parts = [
        reader.take(reader.number(reader.end)).decode("utf-8", "surrogatepass")
        for _ in range(4 * len(flags))
    ]
    return tuple((*parts[4 * i : 4 * i + 4], bool(flag)) for i, flag in enumerate(flags))


def kinds(items: Iterable[tuple[dict, dict]]) -> int:
    """The mask for a file's header of images' [(look, metadata)]: bit i for KINDS[i]."""
    mask = 0
    for look, others in items:
        for key in (*look, *others):
            found = labels({key: others[key]}) if key in WHOLE else [key]
            for name in found:
                mask |= 1 << KINDS.index(name if name in KINDS and name != "lost" else key)
    return mask


def names(mask: int) -> list[str]:
    """The names of a mask's bits, for `info`."""
    return [kind for i, kind in enumerate(KINDS) if mask >> i & 1]


def _pieces(metadata):
    """The number of texts, chunks and tags."""
    texts, entries = metadata.get("text", ()), metadata.get("png", ())
    return len(texts) + len(entries) + count_tags(metadata.get("tiff", ()))


def pack(images: Sequence[ImageData]) -> bytes:
    """Look and metadata of images as bytes, b"" if there are none.

    Errors: UnsupportedImage if they exceed the limits, or are of another kind than a file's.
    """
    parts = []
    for image in images:
        items = {**image.look, **image.metadata}
        part = number(len(items))
        for key, value in items.items():
            try:
                tag, data = TAGS.index(key), _write_value(key, value)
            except (AttributeError, TypeError, ValueError, struct.error):
                raise UnsupportedImage(f"{key}: no file can hold {str(value)[:40]!r}") from None
            part += bytes([tag]) + number(len(data)) + data
        if len(part) > MAX_METADATA:
            raise UnsupportedImage(
                f"more than {MAX_METADATA // 2**20} MiB of metadata; --strip drops it"
            )
        parts.append(part)
    if not any(image.look or image.metadata for image in images):
        return b""
    data = b"".join(parts)
    if len(data) > TOGETHER or sum(_pieces(image.metadata) for image in images) > TEXTS:
        raise UnsupportedImage(
            f"more than {TOGETHER // 2**20} MiB of metadata or {TEXTS} texts, "
            f"chunks and tags in all; --strip drops them"
        )
    return min(
        [
            b"\0" + data,
            b"\1" + zlib.compress(data, 9),
            b"\2" + lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS),
        ],
        key=len,
    )


def unpack(data: bytes, count: int) -> list[tuple[dict, dict]]:
    """The inverse of pack: [(look, metadata)] of `count` images.  Errors: DamagedFile."""
    if not data:
        return [({}, {}) for _ in range(count)]
    if data[0] > 2:
        raise DamagedFile("the metadata are compressed in an unknown way")
    unpacked = data[1:]
    if data[0]:
        unpacked = inflate(unpacked, min(count * MAX_METADATA, TOGETHER), data[0] == 2)
    reader, found, texts = Reader(unpacked), [], TEXTS
    try:
        for _ in range(count):
            items = {}
            for _ in range(reader.number(len(TAGS))):
                key = TAGS[reader.take(1)[0]]
                if key in items:
                    raise DamagedFile("an item of metadata is repeated")
                items[key] = _read_value(key, reader.take(reader.number(len(unpacked))), texts)
            texts -= _pieces(items)
            look = {key: value for key, value in items.items() if key in LOOK}
            found.append((look, {key: items[key] for key in items if key not in LOOK}))
    except (IndexError, struct.error, UnicodeDecodeError):
        raise DamagedFile("the metadata do not unpack") from None
    if reader.position != len(unpacked):
        raise DamagedFile("bytes left over after the metadata")
    return found
