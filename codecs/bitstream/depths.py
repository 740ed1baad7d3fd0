"""What a file says of its 16-bit images under the prior: the section of depths.

For each of them: LEB128 1 + step, or 0 for SCALED, 1 for REPLICATED (depth.py); a byte, the bits;
if there are more than 8, LEB128 length of the remainders, which lie in the fallback parts.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.depth import COARSE_BITS, MOST, SAMPLE_BITS, Depth
from bitsback.errors import DamagedFile

MAX_BYTES = 2**36  # of the remainders of an image


class Deep(NamedTuple):
    """What a file says of a 16-bit image under the prior; remainder_bytes: what they take."""

    depth: Depth
    remainder_bytes: int


def pack(images: Sequence[Deep]) -> bytes:
    """The section of these images."""
    return b"".join(
        number(depth.step + 1)
        + bytes([depth.bits])
        + (number(size) if depth.remainder_bits else b"")
        for depth, size in images
    )


def unpack(data: bytes, count: int) -> list[Deep]:
    """The mirror of pack, for `count` images.  Errors: DamagedFile."""
    reader, found = Reader(data), []
    for _ in range(count):
        depth = Depth(step=reader.number(MOST + 1) - 1, bits=reader.take(1)[0])
        if not COARSE_BITS <= depth.bits <= SAMPLE_BITS:
            raise DamagedFile("a depth that is none")
        found.append(Deep(depth, reader.number(MAX_BYTES) if depth.remainder_bits else 0))
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the depths")
    return found
