"""Damaged files for benchmarks/fuzz.py: cut, bits flipped, numbers and lanes altered, noise."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fuzz_cases import Case, sealed
from bitsback.codecs import encode_image, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Header
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.image import MODES, ImageData
from bitsback.coder.model import Model
from bitsback.errors import UnsupportedImage


def truncations(name: str, data: bytes, images: list[ImageData]) -> Iterator[Case]:
    """Every shorter length; with a correct checksum too, within a stack every 61st length.

    Those are decoded, which takes time.
    """
    header, payload = container.read(data)
    for length in range(len(data)):
        yield Case("cut short", name, data[:length], images)
        if length >= 6 and (
            not header.model or length < len(data) - len(payload) or length % 61 == 0
        ):
            yield Case("cut short, right CRC", name, sealed(data[:length]), images)


def flips(
    name: str, data: bytes, images: list[ImageData], rng: np.random.Generator, body: int = 60
) -> Iterator[Case]:
    """Every bit of the header and `body` bits of the rest; also with a correct checksum."""
    length = len(data) - len(container.read(data)[1]) - 4
    bits = [
        *range(8 * length),
        *sorted(set(rng.integers(8 * length, 8 * len(data), body).tolist())),
    ]
    for bit in bits:
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        yield Case("one bit", name, bytes(altered), images)
        if bit < 8 * (len(data) - 4):
            yield Case("one bit, right CRC", name, sealed(altered[:-4]), images)


def lanes(
    name: str, data: bytes, images: list[ImageData], rng: np.random.Generator, model: Model
) -> Iterator[Case]:
    """A file under the prior whose lanes, or the words below them, are others.

    Every bit of the closing, every length up to its end and some of the words'; states that no
    encoder left, lanes in another order, more of them; words lost, added or moved.
    """
    header, payload = container.read(data)
    painted = [np.zeros(size, np.uint8) for size in header.sizes]
    _, message, *_ = prior_codec.open_stack(header, payload, model, painted)
    words = payload[len(payload) - 4 * message.count :]
    closing = len(payload) - len(words)
    altered = []
    for bit in range(8 * closing):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        altered.append(bytes(flipped))
    altered += [payload[:n] for n in (*range(closing + 9), *range(closing, len(payload), 399))]
    for lane in range(len(message)):
        for state in (2**31, 2**32, 2**63 - 1, int(rng.integers(2**31, 2**63))):
            other = message.copy()
            other.state[lane] = state
            altered.append(other.to_bytes())
    head = payload[:closing]
    altered += [head + moved for moved in (words[4:], words + words, bytes(4) + words, words[::-1])]
    wider = message.copy()
    wider.widen(len(message) + 1)
    altered.append(wider.to_bytes())
    if len(message) > 1:
        wider.restore(message)
        wider.state = message.state[::-1].copy()
        altered.append(wider.to_bytes())
    for other in altered:
        yield Case("lanes, right CRC", name, container.write(header, other), images)


def tables(data: bytes, images: list[ImageData], rng: np.random.Generator) -> Iterator[Case]:
    """An archive in groups with another table, or whose groups are others.

    Every bit and every length of the table, with a right CRC too; hostile numbers of groups, images
    and bytes; groups in another order, twice, empty, nested, or of one image.
    """
    name, found = "groups", container.read_groups(data)
    table, head = data[: found[0].begin], data[:6]
    bodies = [group.of(data) for group in found]
    for bit in range(8 * len(table)):
        altered = bytearray(table)
        altered[bit // 8] ^= 1 << bit % 8
        yield Case("table, one bit", name, bytes(altered) + data[len(table) :], images)
        resealed = sealed(altered[:-4]) + data[len(table) :]
        yield Case("table, right CRC", name, resealed, images)
    for length in (*range(len(table) + 30), *rng.integers(0, len(data), 20).tolist()):
        yield Case("table, cut short", name, data[:length], images)
    for _ in range(60):
        rows = [[group.images, group.size] for group in found]
        for value in rng.choice([0, 1, 2, 5, 127, 2**14, 2**24, 2**31, 2**40, 2**41], 2):
            rows[int(rng.integers(len(rows)))][int(rng.integers(2))] = int(value)
        count = int(rng.choice([0, 1, 2, len(rows), len(rows) + 1, 2**20, 2**21]))
        told = head + number(count) + b"".join(number(n) for row in rows for n in row)
        yield Case("table, right CRC", name, sealed(told) + b"".join(bodies), images)
    one = encode_image(images[0])
    for groups in (
        [(4, bodies[1]), (4, bodies[0])],
        [(4, bodies[0])] * 3,
        [(1, b""), (4, bodies[0])],
        [(len(images), data), (4, bodies[0])],
        [(1, one), (1, one)],
    ):
        yield Case("groups of other kinds", name, container.write_groups(groups))


def random_bytes(rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Noise: by itself, after the magic, and with a correct checksum after a kind that exists."""
    for _ in range(count):
        noise = rng.bytes(int(rng.integers(0, 200)))
        yield Case("random bytes", "noise", noise)
        yield Case("random bytes", "noise after the magic", container.MAGIC + noise)
        head = container.MAGIC + bytes([container.VERSION, int(rng.integers(0, 17))])
        yield Case("random bytes, right CRC", "noise after a kind", sealed(head + noise))


def _altered(header: Header, rng: np.random.Generator) -> dict[str, Any]:
    """One or two altered fields: hostile values of every number of a Header."""
    value = int(
        rng.choice([0, 1, 2, 3, 7, 8, 255, 2**12, 2**20, 2**24, 2**31, int(rng.integers(0, 2**40))])
    )
    entry, others = header.entries[0], header.entries[1:]
    choices: list[dict[str, Any]] = [
        {"metadata": value},
        {"metadata": header.metadata ^ 1 << int(rng.integers(0, 27))},
        {"digest": bytes(len(header.digest))},
        {"entries": (replace(entry, width=max(value, 1)), *others)},
        {"entries": (replace(entry, height=max(value, 1)), *others)},
        {
            "entries": (
                replace(entry, mode=[*MODES][value % len(MODES)], gray_as_rgb=False),
                *others,
            )
        },
        {"entries": header.entries[::-1]},
        {
            "entries": (
                replace(entry, gray_as_rgb=not entry.gray_as_rgb and entry.mode in ("RGB", "RGBA")),
                *others,
            )
        },
        {"entries": header.entries * 3},
    ]
    if header.archive:
        choices += [
            {"entries": (replace(entry, check=value & 0xFFFF), *others)},
            {"entries": (replace(entry, mtime=value - 2**39), *others)},
            {"entries": (replace(entry, permissions=value), *others)},
            {"fallback_count": value},
        ]
    if header.model:
        which = int(rng.integers(0, len(header.segments)))
        segment = (int(rng.integers(0, 3)), value)
        choices += [
            {"model": "0" * 16},
            {"sections": {**header.sections, int(rng.integers(1, 5)): rng.bytes(value % 40 + 1)}},
            {"sections": {}},
            {"credit_bytes": value},
            {"flips": value % 4},
            {"start": tuple(rng.permutation([0, value % 99, 8]).tolist())},
            {"segments": (*header.segments[:which], segment, *header.segments[which + 1 :])},
            {"segments": (*header.segments, segment)},
            {"segments": header.segments[:-1]},
            {"top": tuple(rng.integers(-(2**15), 2**15, 6).tolist())},
            {
                "top": tuple(
                    int(n)
                    for pair in zip(rng.integers(-999, 999, 3), rng.integers(0, 113, 3))
                    for n in pair
                )
            },
        ]
    changes: dict[str, Any] = {}
    for _ in range(int(rng.integers(1, 3))):
        changes |= choices[int(rng.integers(0, len(choices)))]
    return changes


def numbers(
    name: str, data: bytes, images: list[ImageData], rng: np.random.Generator, count: int
) -> Iterator[Case]:
    """`count` files with altered header numbers; those that cannot be written are left out."""
    header, payload = container.read(data)
    for _ in range(count):
        try:
            yield Case(
                "numbers, right CRC",
                name,
                container.write(replace(header, **_altered(header, rng)), payload),
                images,
            )
        except (OverflowError, ValueError, UnsupportedImage):
            continue
