"""The index of an archive: name, size, permissions, time and form of each image, as zlib of JSON.

After it a 16-bit checksum of each image's samples, two bytes each.
"""

import json
import zlib
from collections.abc import Iterator

from bitsback.codecs.bitstream.header import Entry, read_form
from bitsback.codecs.bitstream.names import is_name
from bitsback.errors import DamagedFile, UnsupportedImage

MAX_INDEX = 2**26  # bytes of an index, unpacked
MAX_ROW = 2**13  # characters of one image's row in it
MAX_PERMISSIONS = 0o777
MAX_TIME = 2**40  # seconds from 1970, in both directions


def write_index(entries: tuple[Entry, ...]) -> bytes:
    """The packed index and the checksums.  Errors: UnsupportedImage where names are too long."""
    rows = []
    for e in entries:
        row = [e.name, e.width, e.height, e.permissions, e.mtime, e.form]
        if not 0 <= e.permissions <= MAX_PERMISSIONS or abs(e.mtime) >= MAX_TIME:
            raise UnsupportedImage(f"{e.name}: permissions or a time that an index cannot hold")
        line = json.dumps(row, separators=(",", ":"), ensure_ascii=False)
        rows.append(line.encode(errors="backslashreplace"))  # lone surrogates as JSON's \udcXX
        if len(rows[-1].decode()) > MAX_ROW:
            raise UnsupportedImage(f"{e.name}: the name is too long for an archive's index")
    checks = b"".join(e.check.to_bytes(2, "little") for e in entries)
    text = b"[" + b",".join(rows) + b"]"
    if len(text) > MAX_INDEX:
        raise UnsupportedImage(
            f"names and sizes of {len(entries)} images are more than an archive's index can hold; "
            "make several archives"
        )
    return zlib.compress(text, 9) + checks


def read_index(index: bytes, count: int) -> tuple[Entry, ...]:
    """The mirror of write_index, for `count` images.  Errors: DamagedFile."""
    packed, checks = index[: len(index) - 2 * count], index[len(index) - 2 * count :]
    unpacker = zlib.decompressobj()
    try:
        if len(checks) != 2 * count:
            raise ValueError("too short")
        text = unpacker.decompress(packed, min(MAX_INDEX, 2 + count * MAX_ROW)).decode()
        rows = enumerate(_rows(text, count))
        return tuple(_entry(row, checks[2 * i : 2 * i + 2]) for i, row in rows)
    except (zlib.error, ValueError, TypeError, RecursionError):
        raise DamagedFile("the index does not unpack") from None


def _rows(text: str, count: int) -> Iterator[list]:
    """The rows of an index one at a time: JSON read as a whole takes a hundred times its own room.

    Errors: ValueError.
    """
    decoder, position = json.JSONDecoder(), 0
    for i in range(count):
        if text[position : position + 1] != ("," if i else "["):
            raise ValueError("not an array")
        row, length = decoder.raw_decode(text[position + 1 : position + 1 + MAX_ROW])
        yield row
        position += 1 + length
    if text[position:] != "]":
        raise ValueError("more rows than images")


def _entry(row: list, check: bytes) -> Entry:
    """Errors: ValueError, TypeError, DamagedFile."""
    name, width, height, permissions, mtime, form = row
    numbers = {type(n) for n in (width, height, permissions, mtime)}
    if type(name) is not str or numbers != {int} or abs(mtime) >= MAX_TIME:
        raise ValueError("wrong types")
    if not is_name(name) or not 0 <= permissions <= MAX_PERMISSIONS:
        raise ValueError("no name, or no permissions")
    checked = int.from_bytes(check, "little")
    return Entry(width, height, name, permissions, checked, mtime=mtime, **read_form(form))
