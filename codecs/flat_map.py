"""The flat map: blocks of 4x4 samples in which a channel keeps one value.

Clipped highlights, deep blacks and backgrounds are such.  The prior learns from noise that a block
is nearly certain, and nearly costs up to a bit a sample at the finest levels.  So the map is stored
as one small image by the fallback codec, whose samples say, for each block and channel, which of a
few values it keeps; these samples are known when a segment is decoded (coder/context.py).

    for each image under the prior: LEB128 length of the rest, 0 if it has no map; for each channel,
    LEB128 count of its values and these, ascending, a byte each; the blocks (fallback/codec.py),
    sample 0 for a block that is not flat, 1 for the first value, ...
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_part
from bitsback.errors import DamagedFile

SIDE = 4  # samples of a block's side
FEWEST = 24  # blocks of one value: fewer cost more than they save
MAX_VALUES = 255  # values of a channel
PATIENT = 2**14  # samples of a map that the fallback codec tries all its coders on
WORTH = 0.6  # bits a sample that a flat block saves, about

Masks = list[np.ndarray | None]  # (H, W, C) bool of each image, True where a sample is coded


class FlatMap(NamedTuple):
    """The flat blocks of one image.

    blocks: (rows, columns, channels) uint8, 0 or 1 + index of a value; values: a tuple a channel.
    """

    blocks: np.ndarray
    values: tuple[tuple[int, ...], ...]


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks; those at the edge may be smaller."""
    return -(-height // SIDE), -(-width // SIDE)


def find_flat(pixels: np.ndarray) -> FlatMap | None:
    """The flat blocks of (H, W, C) uint8; None where there are too few."""
    height, width, channels = pixels.shape
    rows, columns = grid(height, width)
    margin = (0, rows * SIDE - height), (0, columns * SIDE - width), (0, 0)
    split = np.pad(pixels, margin, mode="edge").reshape(rows, SIDE, columns * SIDE, channels)
    low, high = (
        some.reshape(rows, columns, SIDE, channels) for some in (split.min(1), split.max(1))
    )
    low, high = low.min(2), high.max(2)
    flat = low == high
    blocks, values = np.zeros(low.shape, np.uint8), []
    for c in range(channels):
        counts = np.bincount(low[..., c][flat[..., c]], minlength=256)
        count = min(MAX_VALUES, np.count_nonzero(counts >= FEWEST))
        kept = np.sort(np.argsort(-counts, kind="stable")[:count])
        symbols = np.zeros(256, np.uint8)
        symbols[kept] = np.arange(1, len(kept) + 1)
        blocks[..., c] = symbols[low[..., c]] * flat[..., c]
        values.append(tuple(kept.tolist()))
    return FlatMap(blocks, tuple(values)) if any(values) else None


def write(images: Sequence[np.ndarray]) -> tuple[bytes, Masks | None]:
    """(H, W, C) uint8 each -> (the maps that pay for themselves, masks); (b"", None) if none do."""
    parts: list[bytes] = []
    masks: Masks = []
    for pixels in images:
        flat = find_flat(pixels)
        part = _packed(flat)
        if flat and 8 * len(part) > WORTH * SIDE**2 * np.count_nonzero(flat.blocks):
            flat, part = None, _packed(None)
        parts.append(part)
        masks.append(None if flat is None else paint(flat, np.empty_like(pixels)))
    return (b"".join(parts), masks) if any(mask is not None for mask in masks) else (b"", None)


def read(data: bytes, images: Sequence[np.ndarray]) -> Masks:
    """The mirror of write: paints the flat blocks into `images`.  Errors: DamagedFile."""
    reader = Reader(data)
    masks: Masks = []
    for pixels in images:
        length = reader.number(len(data))
        if not length:
            masks.append(None)
            continue
        end, values = reader.position + length, []
        for _ in range(pixels.shape[2]):
            values.append(tuple(reader.take(reader.number(MAX_VALUES))))
        if reader.position > end or any(list(some) != sorted(set(some)) for some in values):
            raise DamagedFile("a flat map that cannot be read")
        shape = (*grid(*pixels.shape[:2]), pixels.shape[2])
        blocks = decode_fallback(reader.take(end - reader.position), shape)
        if any(blocks[..., c].max() > len(some) for c, some in enumerate(values)):
            raise DamagedFile("a flat block of no value")
        masks.append(paint(FlatMap(blocks, tuple(values)), pixels))
    if reader.position != len(data) or all(mask is None for mask in masks):
        raise DamagedFile("a flat map that cannot be read")
    return masks


def paint(flat: FlatMap, pixels: np.ndarray) -> np.ndarray:
    """Writes the flat blocks into `pixels` (H, W, C) uint8; (H, W, C) bool, all other samples."""
    height, width = pixels.shape[:2]
    free = np.ones(pixels.shape, bool)
    for c, values in enumerate(flat.values):
        samples = flat.blocks[..., c].repeat(SIDE, 0).repeat(SIDE, 1)[:height, :width]
        free[..., c] = samples == 0
        kept = np.array((0, *values), np.uint8)[samples]
        pixels[..., c] = np.where(samples == 0, pixels[..., c], kept)
    return free


def _packed(flat: FlatMap | None) -> bytes:
    if flat is None:
        return number(0)
    values = b"".join(number(len(some)) + bytes(some) for some in flat.values)
    body = values + encode_part(flat.blocks, flat.blocks.size < PATIENT)
    return number(len(body)) + body
