"""Mutated files for the long run of benchmarks/fuzz.py: a few changes of bytes, then a right CRC.

Most changes are in the header, where bytes have meanings: numbers, versions, kinds, sections.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks.fuzz_cases import Case, Files, sealed
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.bitstream.version import VERSION

BYTES = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 63, 64, 127, 128, 129, 192, 254, 255)
NUMBERS = [n + d for n in (0, 7, 14, 16, 21, 24, 28, 31, 32, 35, 40, 63) for d in (0, 1)]
SEALED = 0.9  # share of the mutated files whose CRC is right
IN_HEADER = 0.6  # share of the changes that are in the first bytes
UNKNOWN = (6, 7, 9, 17, 100, 127, 128, 200, 254, 255)  # tags of sections
NAMES = (b"", b"tone curves", b"\0", b"\xff\xfe", b"x" * 64, b"x" * 65, b"\x1b[2J", b" ")

Change = Callable[[bytearray, int, np.random.Generator], None]


def _flip(data, at, rng):
    data[at] ^= 1 << int(rng.integers(8))


def _set(data, at, rng):
    data[at] = BYTES[int(rng.integers(len(BYTES)))]


def _add(data, at, rng):
    data[at] = (data[at] + int(rng.integers(-9, 10))) & 255


def _random(data, at, rng):
    count = int(rng.integers(1, 9))
    data[at : at + count] = rng.bytes(min(count, len(data) - at))


def _insert(data, at, rng):
    data[at:at] = rng.bytes(int(rng.integers(1, 9)))


def _delete(data, at, rng):
    del data[at : at + int(rng.integers(1, 9))]


def _repeat(data, at, rng):
    piece = data[at : at + int(rng.integers(1, 33))]
    data[at:at] = piece * int(rng.integers(1, 5))


def _number(data, at, rng):
    """A LEB128 number near a power of two, in place of the one that stands there or not."""
    exponent = NUMBERS[int(rng.integers(len(NUMBERS)))]
    written = number(max(0, (1 << exponent) + int(rng.integers(-2, 3))))
    end = at
    while end < len(data) and data[end] & 128:
        end += 1
    data[at : min(end + 1, len(data)) if rng.random() < 0.7 else at] = written


def _cut(data, at, rng):
    del data[at:]


CHANGES: tuple[Change, ...] = (
    _flip, _set, _add, _random, _insert, _delete, _repeat, _number, _number, _cut,
)  # fmt: skip


def changed(data: bytes, head: int, rng: np.random.Generator, first: int = 4) -> bytearray:
    """1 to 4 changes of the bytes from `first` on, mostly one, more of them before `head`."""
    out = bytearray(data)
    for _ in range(min(4, int(rng.geometric(0.6)))):
        end = min(head, len(out)) if rng.random() < IN_HEADER else len(out)
        if end > first:
            change = CHANGES[int(rng.integers(len(CHANGES)))]
            change(out, int(rng.integers(first, end)), rng)
    return out


def mutations(
    files: Files,
    names: list[str],
    rng: np.random.Generator,
    count: int,
    share: float = SEALED,
) -> Iterator[Case]:
    """`count` mutated files of these names; some get the end of another one.

    share: of them, whose CRC is right.
    """
    heads = {name: _head(files[name][0]) for name in names}
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        data, images = files[name]
        body = changed(data[:-4], heads[name], rng)
        if rng.random() < 0.05 and len(body) >= heads[name]:  # the digest stays that of `images`
            other = files[names[int(rng.integers(len(names)))]][0]
            at = int(rng.integers(heads[name], len(body) + 1))
            body[at:] = other[int(rng.integers(len(other))) : -4]
        right = rng.random() < share
        if rng.random() < 0.05 and len(body) > 4:
            body[4] = VERSION + int(rng.integers(1, 16)) if rng.random() < 0.7 else rng.bytes(1)[0]
        kind = "mutated, right CRC" if right else "mutated"
        yield Case(kind, name, sealed(body) if right else bytes(body) + data[-4:], images)


def _head(data):
    """The bytes of the header, or of the table of an archive in groups and one header."""
    groups = container.read_groups(data)
    first = groups[0].of(data)
    return groups[0].begin + len(first) - len(container.read(first)[1]) - 4


def unknown_parts(
    files: Files, names: list[str], rng: np.random.Generator, count: int
) -> Iterator[Case]:
    """Sections and lanes that this version's encoder does not write, of its version and later ones.

    Every section that may be ignored must be: such a file decodes as before.
    """
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        header, payload = container.read(files[name][0])
        tag = UNKNOWN[int(rng.integers(len(UNKNOWN)))]
        called = NAMES[int(rng.integers(len(NAMES)))]
        content = number(len(called)) + called + rng.bytes(int(rng.integers(0, 40)))
        if rng.random() < 0.7:
            header = replace(header, sections=header.sections | {tag: content})
        if header.model and rng.random() < 0.3:
            samples = int(rng.choice([1, 2, 255, 1024, 2**16, 2**24, 2**24 + 1]))
            most = int(rng.choice([1, 2, 8, 4095, 4096, 4097]))
            header = replace(header, lanes=LaneRule(samples, most))
        data = bytearray(container.write(header, payload)[:-4])
        data[4] += int(rng.integers(0, 3))
        yield Case("unknown parts, right CRC", name, sealed(data), files[name][1])
