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

from bitsback.beside import Beside, Later, later
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_part, most_of_part
from bitsback.errors import DamagedFile

SIDE = 4  # samples of a block's side
FEWEST = 24  # blocks of one value: fewer cost more than they save
STRIP = 64 * SIDE  # rows that are painted at once: little memory
MAX_VALUES = 255  # values of a channel
PATIENT = 2**14  # samples of a map that the fallback codec tries all its coders on
WORTH = 0.35  # bits that a flat sample saves, about: of eight held-out images 0.24 to 0.87 in most
_MOST_NUMBERS = 5 + 3 * (2 + MAX_VALUES)  # bytes of a map beside its blocks

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


def _of_blocks(of: np.ufunc, pixels: np.ndarray) -> np.ndarray:
    """The least or greatest sample of each block: (rows, columns, C)."""
    rows = [pixels[i::SIDE] for i in range(min(SIDE, len(pixels)))]
    found = rows[0].copy()
    for some in rows[1:]:
        of(found[: len(some)], some, out=found[: len(some)])
    columns = [found[:, i::SIDE] for i in range(min(SIDE, found.shape[1]))]
    found = columns[0].copy()
    for some in columns[1:]:
        of(found[:, : some.shape[1]], some, out=found[:, : some.shape[1]])
    return found


def find_flat(pixels: np.ndarray) -> FlatMap | None:
    """The flat blocks of (H, W, C) uint8; None where there are too few."""
    low, high = _of_blocks(np.minimum, pixels), _of_blocks(np.maximum, pixels)
    flat = low == high
    blocks, values = np.zeros(low.shape, np.uint8), []
    for c in range(pixels.shape[2]):
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
    maps, masks = begin(images, later)
    return maps(), masks


def begin(images: Sequence[np.ndarray], beside: Beside) -> tuple[Later, Masks | None]:
    """As write, but the maps are coded beside where they surely pay: a function returns them."""
    parts: list[Later] = []
    masks: Masks = []
    for pixels in images:
        flat, part = find_flat(pixels), later(_packed, None)
        if flat:
            least = WORTH * SIDE**2 * np.count_nonzero(flat.blocks)
            if 8 * (_MOST_NUMBERS + most_of_part(flat.blocks)) <= least:
                part = beside(_packed, flat)
            elif 8 * len(packed := _packed(flat)) <= least:
                part = later(bytes, packed)
            else:
                flat = None
        parts.append(part)
        masks.append(None if flat is None else _enlarged(flat.blocks == 0, pixels))
    if all(mask is None for mask in masks):
        return later(bytes), None
    return lambda: b"".join(part() for part in parts), masks


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
    free = _enlarged(flat.blocks == 0, pixels)
    kept = np.empty_like(flat.blocks)
    for c, values in enumerate(flat.values):
        kept[..., c] = np.array((0, *values), np.uint8)[flat.blocks[..., c]]
    for top in range(0, len(pixels), STRIP):
        some, blocks = pixels[top : top + STRIP], kept[top // SIDE : (top + STRIP) // SIDE]
        np.copyto(some, _enlarged(blocks, some), where=~free[top : top + STRIP])
    return free


def _enlarged(blocks, pixels):
    """One value a block -> an array of pixels' shape."""
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(blocks.repeat(SIDE, 1)[:, :width].repeat(SIDE, 0)[:height])


def _packed(flat: FlatMap | None) -> bytes:
    if flat is None:
        return number(0)
    values = b"".join(number(len(some)) + bytes(some) for some in flat.values)
    body = values + encode_part(flat.blocks, flat.blocks.size < PATIENT)
    return number(len(body)) + body
