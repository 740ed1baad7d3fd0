"""Changes below a layer of compression, for the long run of benchmarks/fuzz.py; right checksums.

Metadata are stored unpacked, an index is packed again, and the digest is that of what is inside.
"""

import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.fuzz_cases import Case, Files, sealed
from benchmarks.fuzz_mutations import changed
from bitsback.codecs import checksums
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.fallback.parts import join_parts
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import ImageData
from bitsback.errors import BitsbackError


def _stored(packed: bytes) -> bytes:
    """What is inside packed metadata."""
    if packed[0] == 2:
        return metadata.inflate(packed[1:], metadata.TOGETHER, True)
    return zlib.decompress(packed[1:]) if packed[0] else packed[1:]


def changed_metadata(
    images: list[ImageData], rng: np.random.Generator, count: int
) -> Iterator[Case]:
    """`count` files of one of the images each, whose metadata are changed, with a right digest."""
    inside = [_stored(metadata.pack([image])) for image in images]
    coded = [encode_fallback(image.samples) for image in images]
    for _ in range(count):
        which = int(rng.integers(len(images)))
        image, other = images[which], inside[int(rng.integers(len(images)))]
        begun = inside[which] if rng.random() < 0.8 else other
        packed = b"\0" + bytes(changed(begun, len(begun), rng, 0))
        try:
            mask = metadata.kinds(metadata.unpack(packed, 1))
        except BitsbackError:
            mask = metadata.kinds([(image.look, image.metadata)])
        if mask:
            digest = checksums.file_digest([image], packed, 4)
            entry = Entry(image.width, image.height, mode=image.mode)
            header = Header((entry,), digest, metadata=mask)
            data = container.write(header, join_parts(packed, [], coded[which]))
            yield Case("metadata, right digest", image.mode, data)


def changed_index(files: Files, rng: np.random.Generator, count: int) -> Iterator[Case]:
    """`count` archives whose index says other things; the rest is as it was."""
    data, images = files["fallback archive"]
    reader = Reader(data, 6)
    if data[5] & container.METADATA:
        reader.number(container.MAX_MASK)
    begin, length = reader.position, reader.number(2**20)
    many = reader.number(99)
    index, rest = reader.take(length), data[reader.position : -4]
    text = zlib.decompressobj().decompress(index)
    for _ in range(count):
        packed = zlib.compress(bytes(changed(text, len(text), rng, 0)), 1) + index[-2 * many :]
        told = many if rng.random() < 0.9 else int(rng.integers(0, 2 * many))
        head = data[:begin] + number(len(packed)) + number(told)
        yield Case("index, right CRC", "fallback archive", sealed(head + packed + rest), images)
