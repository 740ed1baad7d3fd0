"""Tags of a TIFF that are kept as they are (FORMAT.md, TIFF tags)."""

from tests.second_decoder.errors import check
from tests.second_decoder.reader import Reader

WORD = {  # bytes of a type's word, and words of a value
    1: (1, 1),
    2: (1, 1),
    3: (2, 1),
    4: (4, 1),
    5: (4, 2),
    6: (1, 1),
    7: (1, 1),
    8: (2, 1),
    9: (4, 1),
    10: (4, 2),
    11: (4, 1),
    12: (8, 1),
    13: (4, 1),
    16: (8, 1),
    17: (8, 1),
    18: (8, 1),
}
AS_NUMBERS = {3, 4, 5, 13, 16, 18}  # SHORT, LONG, RATIONAL, IFD, LONG8, IFD8
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
STORAGE = {
    *range(254, 260),
    262,
    266,
    273,
    *(277, 278, 279, 284, 288, 289, 292, 293, 317, 320),
    *range(322, 326),
    *(330, 338, 339, 347),
    *range(512, 522),
    530,
}
BITS = {  # of the header's mask
    34675: 3,
    **dict.fromkeys((270, 271, 272, 274, 305, 306, 315, 33432, EXIF, GPS), 4),
    700: 5,
    282: 6,
    283: 6,
    296: 6,
    33723: 24,
    34377: 25,
    **dict.fromkeys((33550, 33922, 34264, 34735, 34736, 34737), 26),
}
OTHER = 23


def read_tags(data):
    """(((tag, type, value), ...), how many in all); value: bytes, or the tags of a directory."""
    reader = Reader(data)
    found, count = directory(reader, None)
    reader.end("the tags")
    return found, count


def directory(reader, of):
    """of: the tag whose directory this is, None at the top."""
    found, tag, total = [], 0, 0
    for _ in range(reader.n(2**18)):
        more = reader.n(2**16)
        check(more or not found, "a tag occurs twice")
        tag, kind = tag + more, reader.fixed(1)
        check(tag < 2**16 and not (of is None and tag in STORAGE), "a tag of storage")
        total += 1
        if kind == 0:
            inner = (EXIF, GPS) if of is None else (INTEROPERABILITY,) if of == EXIF else ()
            check(tag in inner, "a directory in the wrong place")
            value, count = directory(reader, tag)
            total += count
        else:
            value = read_words(reader, kind)
        found.append((tag, kind, value))
    return tuple(found), total


def read_words(reader, kind):
    check(kind in WORD, "an unknown type of a tag")
    size, words = WORD[kind]
    count = reader.n(2**32)
    check(count % words == 0, "half a number")
    if kind in AS_NUMBERS and count <= 16:
        return b"".join(reader.n(256**size - 1).to_bytes(size, "little") for _ in range(count))
    return reader.take(count * size)


def kinds_of_tags(tags):
    bits = 0
    for tag, _, _ in tags:
        bits |= 1 << BITS.get(tag, OTHER)
    return bits or 1 << OTHER
