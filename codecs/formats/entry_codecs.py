"""The list of a PNG's chunks and that of a TIFF's tags to bytes of a .bbk file, and back."""

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.formats import tags
from bitsback.codecs.formats.chunks import AFTER, KNOWN, Chunk, is_stored
from bitsback.codecs.formats.tags import SIZES, WORDS, Tag
from bitsback.errors import DamagedFile

PACKED, SHORT = {3, 4, 5, 13, 16, 18}, 16  # types packed as LEB128, in values of up to 16 words


def _finish(reader, what):
    if reader.position != reader.end:
        raise DamagedFile(f"bytes left over after the {what}")


# --- chunks ----------------------------------------------------------------------------------


def pack_chunks(entries: tuple[Chunk, ...]) -> bytes:
    """Chunks to bytes: their number, then of each its code in KNOWN | place << 5, the name if it is
    not in KNOWN, length, body.
    """
    out = bytearray(number(len(entries)))
    for name, place, body in entries:
        code = KNOWN.index(name) if name in KNOWN else 0
        out += bytes([code | place << 5]) + (b"" if code else name) + number(len(body)) + body
    return bytes(out)


def unpack_chunks(data: bytes, most: int) -> tuple[Chunk, ...]:
    """The inverse of pack_chunks, for at most `most` chunks.  Errors: DamagedFile."""
    reader = Reader(data)
    found: list[Chunk] = []
    for _ in range(reader.number(most)):
        code = reader.take(1)[0]
        if code & 31 >= len(KNOWN):
            raise DamagedFile("a chunk of an unknown code")
        name, place = KNOWN[code & 31] or bytes(reader.take(4)), code >> 5
        body = bytes(reader.take(reader.number(len(data))))
        ordered = place <= AFTER and (not found or place >= found[-1][1])
        depth = name != b"IHDR" or not found and body in (b"\2", b"\4")
        if not (is_stored(name) and ordered and depth):
            raise DamagedFile("a chunk that cannot be stored")
        found.append((name, place, body))
    _finish(reader, "chunks")
    return tuple(found)


# --- tags ------------------------------------------------------------------------------------


def count_tags(entries: tuple[Tag, ...]) -> int:
    """The number of tags in a list and in the directories within it."""
    return sum(1 + (count_tags(value) if kind == 0 else 0) for _, kind, value in entries)


def pack_tags(entries: tuple[Tag, ...]) -> bytes:
    """Tags to bytes: their number, then of each the difference to the previous tag, type, value.

    A value: a directory's tags; or the number of words and these, as LEB128 if they are few
    integers, which are mostly small.
    """
    out, before = bytearray(number(len(entries))), 0
    for tag, kind, value in entries:
        out += number(tag - before) + bytes([kind])
        before = tag
        if kind == 0:
            out += pack_tags(value)
            continue
        word = WORDS.get(kind, 1)
        count = len(value) // word
        out += number(count)
        if kind in PACKED and count <= SHORT:
            value = b"".join(map(number, np.frombuffer(value, f"<u{word}").tolist()))
        out += value
    return bytes(out)


def unpack_tags(data: bytes, most: int) -> tuple[Tag, ...]:
    """The inverse of pack_tags, for at most `most` tags a directory.  Errors: DamagedFile."""
    reader = Reader(data)
    found = _unpack_directory(reader, most, tags.FOLDERS, tags.STORAGE | tags.IMAGES)
    _finish(reader, "tags")
    return found


def _unpack_directory(reader, most, folders, storage):
    found, before = [], -1
    for _ in range(reader.number(most)):
        tag, kind = max(before, 0) + reader.number(2**16), reader.take(1)[0]
        known = kind in SIZES if kind else tag in folders
        if tag <= before or tag >= 2**16 or tag in storage or not known:
            raise DamagedFile("a tag that cannot be stored")
        before = tag
        if kind == 0:
            value = _unpack_directory(reader, most, folders[tag], ())
        else:
            value = _unpack_value(reader, kind)
        found.append((tag, kind, value))
    return tuple(found)


def _unpack_value(reader, kind):
    word = WORDS.get(kind, 1)
    count = reader.number(reader.end)
    if kind in PACKED and count <= SHORT:
        words = [reader.number(256**word - 1) for _ in range(count)]
        value = b"".join(value.to_bytes(word, "little") for value in words)
    else:
        value = bytes(reader.take(word * count))
    if len(value) % SIZES[kind]:
        raise DamagedFile("a tag with a fraction of a value")
    return value
