"""Side information in a file: sections, each a tag, a length and bytes.

A tag of 128 or more may be ignored by a reader that does not know it; an unknown one below 128 is
critical: it changes what the pixels decode to, so the file is refused.  Critical sections that a
later version adds begin with their name, by which it is refused.  Tags rise, none occurs twice.
"""

from enum import IntEnum

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.errors import DamagedFile

IGNORABLE = 128  # tags from here on
MAX_SECTIONS = 256
LONGEST_NAME = 64  # bytes, of a critical section
MAX_NOT_KEPT = 2**12  # bytes of the names of what is not kept


class Tag(IntEnum):
    """Sections that this version knows."""

    BIAS_UPDATES = 1  # integer/bias_updates.py: a stack of its own
    FLAT_MAP = 2  # flat_map.py
    BLOCK_MEANS = 3  # block_means.py
    SHARPNESS = 4  # ans/colour_frequencies.py: one byte
    DEPTH = 5  # depths.py: of each 16-bit image
    NOT_KEPT = 129  # names of what the source files had and is not kept: text for `info`
    BLOCK_CHECKS = 255  # block_checks.py: always the last


KNOWN = frozenset(Tag)


def write_sections(sections: dict[int, bytes]) -> bytes:
    """{tag: bytes, at least one each} -> count, then tag, length and bytes of each."""
    body = b"".join(
        bytes([tag]) + number(len(data)) + data for tag, data in sorted(sections.items())
    )
    return number(len(sections)) + body


def read_sections(reader: Reader) -> dict[int, bytes]:
    """The mirror of write_sections, without the sections that may be ignored and are not known.

    Errors: DamagedFile, also for an unknown section that may not be ignored.
    """
    sections: dict[int, bytes] = {}
    before = -1
    for _ in range(reader.number(MAX_SECTIONS)):
        tag = reader.take(1)[0]
        data = bytes(reader.take(reader.number(reader.end)))
        if tag <= before or not data:
            raise DamagedFile("sections out of order, or an empty one")
        before = tag
        if tag in KNOWN:
            sections[tag] = data
        elif tag < IGNORABLE:
            raise DamagedFile(f"needs {_name(tag, data)}, which this program cannot read")
    if before < 0:
        raise DamagedFile("no sections where the header says that there are some")
    return sections


def _name(tag, data):
    """What a critical section that this version does not know calls itself."""
    try:
        reader = Reader(data)
        name = bytes(reader.take(reader.number(LONGEST_NAME))).decode("ascii")
    except (DamagedFile, UnicodeDecodeError):
        name = ""
    return f'"{name}" (section {tag})' if name.isprintable() and name else f"section {tag}"


def pack_names(names: tuple[str, ...]) -> bytes:
    """Names in printable ASCII, one a line, as many as there is room for."""
    text = "\n".join(names).encode("ascii", "replace")
    text = bytes(byte if byte == 10 or 32 <= byte < 127 else 63 for byte in text)  # "?"
    if len(text) > MAX_NOT_KEPT:
        text = text[: text.rfind(b"\n", 0, MAX_NOT_KEPT - 3) + 1] + b"..."
    return text


def read_names(text: bytes) -> tuple[str, ...]:
    """The mirror of pack_names.  Errors: DamagedFile."""
    names = tuple(text.decode("ascii", "replace").split("\n")) if text else ()
    plain = all(name and name.isascii() and name.isprintable() for name in names)
    if not plain or len(text) > MAX_NOT_KEPT:
        raise DamagedFile("names of what is not kept that are none")
    return names
