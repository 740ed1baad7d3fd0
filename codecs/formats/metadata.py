"""What an image carries besides samples: palette and transparency, profiles, Exif, XMP, resolution, text.

What came from a PNG or TIFF is kept as it was there, chunks (chunks.py) or tags (tags.py), under
one key; views.py makes of them what other formats hold, as Pillow reads it.  What came from other
files is kept as Pillow reads it.

In memory two dicts, `look` and `metadata` of an ImageData; in a file one section for all images:

    1       how it is packed: 0 not, 1 deflate, 2 LZMA
    ...     for each image: LEB128 number of items, then for each item
            1 tag, LEB128 length, value

Numbers are little-endian doubles, so that what Pillow read comes back exactly.
"""

import lzma
import struct
import zlib

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.differences import FILTERS, inflate
from bitsback.codecs.formats import chunks, tags
from bitsback.errors import DamagedFile, UnsupportedImage

MAX_METADATA = 2**24  # bytes of one image's items, unpacked
TOGETHER = 16 * MAX_METADATA  # ... of all images of an archive
TEXTS = 2**18  # texts, chunks, tags in a file: empty ones take 100 times their bytes
ROOM = MAX_METADATA - 2**16  # bytes of chunks or tags taken from one file: a palette still fits
MOST_NAMES = 100  # of metadata that a format does not hold
LOOK = ("palette", "palette_alpha", "transparency")  # tags 0, 1, 2: not metadata, never stripped
METADATA = ("icc", "exif", "xmp", "dpi", "gamma", "chromaticity", "srgb", "text")
WHOLE = ("png", "tiff")  # tags 11, 12: chunks, tags
TAGS = LOOK + METADATA + WHOLE
# bits of a header's mask; "lost" is container.LOST
KINDS = (
    *LOOK,
    *METADATA,
    "lost",
    "cICP",
    "sBIT",
    "png",
    "bKGD",
    "pHYs",
    "tIME",
    "mDCV",
    "cLLI",
    "hIST",
    "sPLT",
    "PLTE",
    "tiff",
    "iptc",
    "photoshop",
    "geotiff",
)
DOUBLES = {"dpi": 2, "gamma": 1, "chromaticity": 8}


# --- names ---------------------------------------------------------------------------------


def told(metadata: dict) -> list[str]:
    """Names of all that there is, for people: keys, and what chunks and tags are called."""
    found, inner = [], {"png": chunks.names, "tiff": tags.names}
    for key, value in metadata.items():
        found += inner[key](value) if key in inner else [key]
    return found


def missing(metadata: dict, written: dict) -> list[str]:
    """Names of what an image carries and a file made of it does not, or in another form."""
    for key in WHOLE:
        if key in metadata and key in written:
            there = set(written[key])
            left = [entry for entry in metadata[key] if entry not in there]
            return _few(told({key: left})) if left else []
    there = set(told(written))
    return _few([name for name in told(metadata) if name not in there])


def _few(names):
    """No more names than a line can have."""
    more = len(names) - MOST_NAMES
    return names[:MOST_NAMES] + [f"{more} others"] if more > 0 else names


# --- dicts -> bytes and back -----------------------------------------------------------------


def _value(key, value):
    if key in DOUBLES:
        return struct.pack(f"<{DOUBLES[key]}d", *(value if DOUBLES[key] > 1 else (value,)))
    if key == "srgb":
        return number(value)
    if key == "transparency":  # bytes: one alpha an index; numbers: the one transparent colour
        return (
            b"\0" + value
            if isinstance(value, bytes)
            else b"\1" + b"".join(map(number, value if isinstance(value, tuple) else (value,)))
        )
    if key in WHOLE:
        return chunks.pack_chunks(value) if key == "png" else tags.pack_tags(value)
    if key == "text":
        parts = [part.encode("utf-8", "surrogatepass") for item in value for part in item[:4]]
        flags = bytes(item[4] for item in value)
        return number(len(flags)) + flags + b"".join(number(len(part)) + part for part in parts)
    return bytes(value)


def _read_value(key, data, most_texts):
    if key in DOUBLES:
        values = struct.unpack(f"<{DOUBLES[key]}d", data)
        return values[0] if DOUBLES[key] == 1 else values
    if key in WHOLE:
        return (chunks.unpack_chunks if key == "png" else tags.unpack_tags)(data, most_texts)
    reader = Reader(data)
    if key == "srgb":
        return reader.number(255)
    if key == "transparency":
        if reader.take(1) == b"\0":
            return data[1:]
        values = []
        while reader.position < len(data):
            values.append(reader.number(2**16))
            if len(values) > 4:
                raise DamagedFile("a transparent colour of too many numbers")
        return values[0] if len(values) == 1 else tuple(values)
    if key == "text":
        flags = reader.take(reader.number(most_texts))
        items = [
            [
                reader.take(reader.number(len(data))).decode("utf-8", "surrogatepass")
                for _ in range(4)
            ]
            for _ in flags
        ]
        return tuple((*item, bool(flag)) for item, flag in zip(items, flags))
    return data


def kinds(items) -> int:
    """The mask of [(look, metadata)] of images: bit i for KINDS[i]."""
    mask = 0
    for look, others in items:
        for key in (*look, *others):
            found = told({key: others[key]}) if key in WHOLE else [key]
            for name in found:
                mask |= 1 << KINDS.index(name if name in KINDS and name != "lost" else key)
    return mask


def names(mask: int) -> list[str]:
    """What `info` says of the bits of `kinds`."""
    return [kind for i, kind in enumerate(KINDS) if mask >> i & 1]


def _pieces(metadata):
    texts, entries = metadata.get("text", ()), metadata.get("png", ())
    return len(texts) + len(entries) + tags.count(metadata.get("tiff", ()))


def pack(images) -> bytes:
    """Look and metadata of images -> bytes; none at all -> b"".  Errors: UnsupportedImage where they are too large."""
    parts = []
    for image in images:
        items = {**image.look, **image.metadata}
        part = number(len(items))
        for key, value in items.items():
            data = _value(key, value)
            part += bytes([TAGS.index(key)]) + number(len(data)) + data
        if len(part) > MAX_METADATA:
            raise UnsupportedImage(
                f"more than {MAX_METADATA // 2**20} MiB of metadata; --strip leaves it out"
            )
        parts.append(part)
    if not any(image.look or image.metadata for image in images):
        return b""
    data = b"".join(parts)
    if len(data) > TOGETHER or sum(_pieces(image.metadata) for image in images) > TEXTS:
        raise UnsupportedImage(
            f"more than {TOGETHER // 2**20} MiB of metadata or {TEXTS} texts, "
            f"chunks and tags in all; --strip leaves them out"
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
    """The mirror of pack: [(look, metadata)] of `count` images.  Errors: DamagedFile."""
    if not data:
        return [({}, {}) for _ in range(count)]
    if data[0] > 2:
        raise DamagedFile("the metadata are packed in an unknown way")
    unpacked = (
        data[1:]
        if data[0] == 0
        else inflate(data[1:], min(count * MAX_METADATA, TOGETHER), data[0] == 2)
    )
    reader, found, texts = Reader(unpacked), [], TEXTS
    try:
        for _ in range(count):
            items = {}
            for _ in range(reader.number(len(TAGS))):
                key = TAGS[reader.take(1)[0]]
                if key in items:
                    raise DamagedFile("an item of metadata twice")
                items[key] = _read_value(key, reader.take(reader.number(len(unpacked))), texts)
            texts -= _pieces(items)
            found.append(
                (
                    {k: v for k, v in items.items() if k in LOOK},
                    {k: v for k, v in items.items() if k not in LOOK},
                )
            )
    except (IndexError, struct.error, UnicodeDecodeError):
        raise DamagedFile("the metadata do not unpack") from None
    if reader.position != len(unpacked):
        raise DamagedFile("bytes left over after the metadata")
    return found
