"""Flat blocks: where a channel keeps one value over 4x4 samples, as clipped highlights, deep blacks and backgrounds do.

The prior learns from noise that such a place is nearly certain, and nearly costs up to a bit a sample at the finest
levels.  So they are told before all else, as one small image of fallback codec whose samples say, for each block and
channel, which of a few values it keeps; what is told is then known when a segment is decoded (context.Context.free).
On the stack: 8 bits a byte, above the segments.

    for each image under the prior: LEB128 length of the rest, 0 if nothing is told; for each channel, LEB128 count of its values
    and these, ascending, a byte each; the blocks (plain.py), sample 0 for none, 1 for the first value, ...
"""

from typing import NamedTuple

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback
from bitsback.errors import DamagedFile

SIDE = 4  # samples of a block's side
FEWEST = 24  # blocks of one value; fewer are more to tell than they save
MAX_VALUE = 255  # values of a channel
PATIENT = 2**14  # samples of the small image for which all is tried
WORTH = 0.6  # bits a sample that a flat block saves, about


class Flats(NamedTuple):
    """What is told of one image.  blocks: (rows, columns, channels) uint8, 0 or 1 + index of a value; values: a tuple a channel."""

    blocks: np.ndarray
    values: tuple


def grid(height, width):
    """Rows and columns of blocks; those at the edge may be smaller."""
    return -(-height // SIDE), -(-width // SIDE)


def found(pixels):
    """(H, W, C) uint8 -> Flats, or None where there are too few."""
    height, width, channels = pixels.shape
    rows, columns = grid(height, width)
    padded = np.pad(
        pixels, ((0, rows * SIDE - height), (0, columns * SIDE - width), (0, 0)), mode="edge"
    )
    split = padded.reshape(rows, SIDE, columns * SIDE, channels)
    low, high = (
        some.reshape(rows, columns, SIDE, channels) for some in (split.min(1), split.max(1))
    )
    low, high = low.min(2), high.max(2)
    flat = low == high
    blocks, values = np.zeros(low.shape, np.uint8), []
    for c in range(channels):
        counts = np.bincount(low[..., c][flat[..., c]], minlength=256)
        kept = np.sort(
            np.argsort(-counts, kind="stable")[: min(MAX_VALUE, np.count_nonzero(counts >= FEWEST))]
        )
        symbols = np.zeros(256, np.uint8)
        symbols[kept] = np.arange(1, len(kept) + 1)
        blocks[..., c] = symbols[low[..., c]] * flat[..., c]
        values.append(tuple(kept.tolist()))
    return Flats(blocks, tuple(values)) if any(values) else None


def _packed(flats):
    if flats is None:
        return number(0)
    body = b"".join(
        number(len(values)) + bytes(values) for values in flats.values
    ) + encode_fallback(flats.blocks, flats.blocks.size < PATIENT)
    return number(len(body)) + body


def told(images):
    """[(H, W, C) uint8] -> (bytes that tell the flat blocks that pay for it, list of masks); (b"", None) where none do.

    Masks: (H, W, C) bool each, True where a sample is not told; None for an image of which nothing is.
    """
    parts, masks = [], []
    for pixels in images:
        flats = found(pixels)
        part = _packed(flats)
        if flats is not None and 8 * len(part) > WORTH * SIDE**2 * np.count_nonzero(flats.blocks):
            flats, part = None, _packed(None)
        parts.append(part)
        masks.append(None if flats is None else painted(flats, np.empty_like(pixels)))
    return (b"".join(parts), masks) if any(mask is not None for mask in masks) else (b"", None)


def painted(flats, pixels):
    """Writes what is told into `pixels` (H, W, C) uint8; (H, W, C) bool, what is not told."""
    free = np.ones(pixels.shape, bool)
    for c, values in enumerate(flats.values):
        samples = (
            flats.blocks[..., c]
            .repeat(SIDE, 0)
            .repeat(SIDE, 1)[: pixels.shape[0], : pixels.shape[1]]
        )
        free[..., c] = samples == 0
        pixels[..., c] = np.where(
            samples == 0, pixels[..., c], np.array((0, *values), np.uint8)[samples]
        )
    return free


def read(data, images):
    """The mirror of told: paints `images`, returns the masks.  Errors: DamagedFile."""
    reader, masks = Reader(data), []
    for pixels in images:
        length = reader.number(len(data))
        if not length:
            masks.append(None)
            continue
        end, values = reader.position + length, []
        for _ in range(pixels.shape[2]):
            values.append(tuple(reader.take(reader.number(MAX_VALUE))))
        if reader.position > end or any(list(some) != sorted(set(some)) for some in values):
            raise DamagedFile("flat blocks that cannot be read")
        blocks = decode_fallback(
            reader.take(end - reader.position), (*grid(*pixels.shape[:2]), pixels.shape[2])
        )
        if any(blocks[..., c].max() > len(some) for c, some in enumerate(values)):
            raise DamagedFile("a flat block of no value")
        masks.append(painted(Flats(blocks, tuple(values)), pixels))
    if reader.position != len(data) or all(mask is None for mask in masks):
        raise DamagedFile("flat blocks that cannot be read")
    return masks
