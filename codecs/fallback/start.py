"""The start: what the fallback codec codes of the images under the prior, as their first credit."""

from collections.abc import Sequence

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.fallback.codec import decode_fallback, encode_part
from bitsback.codecs.fallback.parts import join_parts
from bitsback.errors import DamagedFile

PATIENT = 2**11  # pixels of the start block up to which the fallback codec tries everything


def fallback_parts(images: Sequence[np.ndarray], start: Sequence[int]) -> bytes:
    """Fallback coding of what `start` covers: whole images, and a part of the next one.

    images: (H, W, C) uint8; start: (image, rows, columns), as segment_layout's.
    """
    image, rows, columns = start
    parts = [encode_part(np.ascontiguousarray(pixels)) for pixels in images[:image]]
    if rows:
        part = np.ascontiguousarray(images[image][:rows, :columns])
        parts.append(encode_part(part, rows * columns < PATIENT))
    return join_parts(b"", parts[:-1], parts[-1] if parts else b"")


def unpack_fallback_parts(data: bytes, images: Sequence[np.ndarray], start: Sequence[int]) -> None:
    """The mirror of fallback_parts: writes into `images`.  Errors: DamagedFile."""
    image, rows, columns = start
    reader, count = Reader(data), image + bool(rows)
    for i in range(count):
        length = reader.number(len(data)) if i + 1 < count else len(data) - reader.position
        part = images[i][:rows, :columns] if i == image else images[i]
        part[:] = decode_fallback(reader.take(length), part.shape)
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the fallback parts")
