"""The fallback parts of a file: what the prior does not code, as bytes one after the other.

    LEB128 length, metadata of all images      if the header names any (metadata.py)
    LEB128 length, image (codec.py)            each image that the prior does not code
    LEB128 length, alpha plane (codec.py)      of each image with alpha under the prior
    remainders (remainders)                  of each image of over 8 bits under the prior; the
                                               section of depths has their lengths
    rest: the start block of the first one     with a stack only (start.py)

In a file without a stack the last image has no length.  With a stack these bytes are its bottom,
the initial bits that bits-back borrows, so they cost no more than their own length.
"""

from typing import NamedTuple

import numpy as np

from bitsback.codecs.bitstream.container import Header
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import coder_name, decode_fallback
from bitsback.codecs.image import MODES, WITH_ALPHA, shape_of


def join_parts(packed: bytes, coded: list[bytes], last: bytes = b"") -> bytes:
    """packed: metadata, may be empty; coded: images and alpha planes; last: without lengths."""
    return b"".join(number(len(part)) + part for part in [packed] * bool(packed) + coded) + last


class Parts(NamedTuple):
    """packed: the metadata; samples: of images not under the prior; of each under it: alpha plane,
    None where there is none, and remainders, often b""; rest: the start block."""

    packed: bytes
    samples: list[np.ndarray]
    alphas: list[np.ndarray | None]
    remainders: list[bytes]
    rest: bytes


def split_parts(parts: bytes, header: Header) -> Parts:
    """The mirror of join_parts.  Errors: DamagedFile."""
    reader = Reader(parts)
    packed = reader.take(reader.number(len(parts))) if header.metadata else b""
    count, samples = header.fallback_count if header.model else len(header.entries), []
    for i, entry in enumerate(header.entries[:count]):
        without_length = not header.model and i + 1 == count
        left = len(parts) - reader.position
        part = reader.take(left if without_length else reader.number(len(parts)))
        shape = shape_of(entry.mode, entry.height, entry.width)
        samples.append(decode_fallback(part, shape, MODES[entry.mode][0]))
    alphas = [
        decode_fallback(
            reader.take(reader.number(len(parts))),
            (entry.height, entry.width),
            MODES[entry.mode][0],
        )
        if entry.mode in WITH_ALPHA
        else None
        for entry in header.entries[count:]
    ]
    remainders = [
        reader.take(deep.remainder_bytes) if deep else b""
        for deep in (header.depths if header.model else [])
    ]
    return Parts(packed, samples, alphas, remainders, parts[reader.position :])


def coder_names(parts: bytes, header: Header) -> list[str]:
    """Names of the coders of all images of a file without a stack.  Errors: DamagedFile."""
    reader = Reader(parts)
    if header.metadata:
        reader.take(reader.number(len(parts)))
    coded = [reader.take(reader.number(len(parts))) for _ in header.entries[1:]]
    return sorted({coder_name(part) for part in [*coded, parts[reader.position :]]})
