"""Block means: the mean of each 32x32 pixels, so that the noisiest level is expected nearby.

y_{K-1}, the image under noise of sigma 285, has no level above it that predicts it.  Under one
Gaussian a colour it costs log2(1 + variance of the image / sigma^2) / 2 bits a sample, three times
what the level below it does; two thirds of that variance are low frequencies.  Bits spent on a
coefficient pay until its variance is sigma^2: a mean of n pixels in steps of about
sigma * sqrt(12 / n) gray levels (reverse water-filling; Cover and Thomas, Elements of Information
Theory, 10.3), 31 of them for n = 32^2.

    for each run of images under the prior of one size and number of channels: LEB128 length of the
    rest, 0 if they have no means; the means in STEPs, one image's below the other's, as a small
    image (fallback/codec.py)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitsback.ans.gaussian_tables import FRACTION_BITS, FRACTIONS, scale_index
from bitsback.beside import Beside, Later, at_once, later
from bitsback.codecs import block_sums
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_part, most_of_part
from bitsback.codecs.segment_layout import Segment
from bitsback.coder.top import Top
from bitsback.diffusion.levels import Levels, sigmas
from bitsback.errors import DamagedFile

SIDE = 32  # pixels of a block; 24 and 48 end up 1 and 15 % dearer on valid, each with its best step
STEP = 32  # gray levels a step
ZERO = 256 // STEP  # the sample that stands for the header's mean
MAX_MEAN = 2 * ZERO  # 256 gray levels above it
UNIT_BITS = 7  # what is interpolated is counted in STEP / 4096 = 1/2^7 gray levels


def _weights(begin, end, count):
    """(block before, block after, weight of the latter in 1/64) of positions begin..end of an axis.

    count: blocks of the axis.
    """
    segment = np.clip(2 * np.arange(begin, end) + 1 - SIDE, 0, 2 * SIDE * (count - 1))
    before = np.minimum(segment // (2 * SIDE), max(count - 2, 0))
    return before, np.minimum(before + 1, count - 1), segment - 2 * SIDE * before


def interpolated(grid: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """(r, c, C) numbers, one a block -> (h, w, C), interpolated linearly, 4096 times as large.

    rows, columns: (begin, end) of the pixels.
    """
    places = _weights(*rows, grid.shape[0]), _weights(*columns, grid.shape[1])
    return block_sums.interpolated(grid, *places)


def _loops():
    from bitsback.ans.compiled import compiled_or  # which imports numba

    return compiled_or(block_sums, "bitsback.codecs.block_sum_loops")


@dataclass(frozen=True)
class LocalTop(Top):
    """A Top whose mean varies over the image.

    grids: for each image (r, c, C) int32 steps, or None; exponent: of the last level's spacing.
    """

    grids: tuple = ()
    exponent: int = 0

    def mean_at(
        self, image: int, rows: tuple[int, int], columns: tuple[int, int], channels: int
    ) -> np.ndarray:
        """(C, h, w) int32: mean32 of pixels rows, columns, (begin, end) each, of an image."""
        mean = np.array(self.mean32 if channels == 3 else self.mean32[1:2], np.int32)
        grid = self.grids[image]
        if grid is None:
            size = channels, rows[1] - rows[0], columns[1] - columns[0]
            return np.broadcast_to(mean[:, None, None], size)
        places = _weights(*rows, grid.shape[0]), _weights(*columns, grid.shape[1])
        shift = UNIT_BITS - FRACTION_BITS + self.exponent
        return _loops().interpolated_means(grid - ZERO, *places, mean, shift)

    def at(self, segment: Segment, channels: int) -> Top:
        rows, columns = (
            (segment.top, segment.top + segment.height),
            (segment.left, segment.left + segment.width),
        )
        return Top(
            np.stack(
                [
                    self.mean_at(i, rows, columns, channels)
                    for i in range(segment.image, segment.image + segment.images)
                ]
            ),
            self.scale,
        )


def _interpolated_sums(grid, height, width):
    """Sums of the interpolated grid over its blocks, block_sums.ONE times as large: (r, c, C)."""
    for axis, size in enumerate((height, width)):
        block, count = np.arange(size) // SIDE, grid.shape[axis]
        before, after, weight = _weights(0, size, count)
        shares = np.zeros(
            (3, count), np.int64
        )  # in a block's sum: of the grid before, at, after it
        np.add.at(shares, (before - block + 1, block), 2 * SIDE - weight)
        np.add.at(shares, (after - block + 1, block), weight)
        lines = np.moveaxis(grid, axis, -1)
        lines = np.pad(lines, [(0, 0), (0, 0), (1, 1)])
        sums = sum(lines[..., i : i + count] * shares[i] for i in range(3))
        grid = np.moveaxis(sums, -1, axis)
    return grid


def fit_means(pixels: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(H, W, C) uint8 -> (steps (r, c, C) uint8, mean square before (C,), mean square after (C,)).

    steps: of each block's mean from `start`, (C,) gray levels, ZERO for none; before and after: the
    mean squares around `start` and around the interpolated means.  Interpolation leaves a part of
    the blocks' means: it is added once.
    """
    height, width = pixels.shape[:2]
    sums, squares = _loops().block_sums(pixels, SIDE)
    down, across = (
        np.diff(np.arange(0, size, SIDE), append=size)[:, None] for size in (height, width)
    )
    area = down[:, None] * across
    grid = start + (sums - area * start) / area
    grid = grid + (sums - _interpolated_sums(grid, height, width) / block_sums.ONE) / area
    steps = np.clip(np.rint((grid - start) / STEP) + ZERO, 0, MAX_MEAN).astype(np.uint8)
    before = squares - 2 * start * sums.sum((0, 1)) + height * width * start**2
    places = (_weights(0, size, count) for size, count in zip((height, width), steps.shape))
    moved = np.rint(64 * (start + (steps - float(ZERO)) * STEP)).astype(np.int64)
    after = _loops().squares_around(pixels, moved, *places) / 1024**2
    return steps, before / (height * width), after / (height * width)


def _runs(sizes):
    """(size, begin, end) of runs of images of one size."""
    begins = [i for i, size in enumerate(sizes) if not i or size != sizes[i - 1]]
    return [(sizes[begin], begin, end) for begin, end in zip(begins, [*begins[1:], len(sizes)])]


def write(images: Sequence[np.ndarray], top: Top, levels: Levels) -> tuple[bytes, Top]:
    """(H, W, C) uint8 each -> (the means that pay for themselves, the Top with them).

    (b"", top) where none do.  top: fitted to the images without means; levels: the model's.
    """
    means, top = begin(images, top, levels, later)
    return means(), top


def begin(
    images: Sequence[np.ndarray], top: Top, levels: Levels, beside: Beside
) -> tuple[Later, Top]:
    """As write, but the means are coded beside where they surely pay: a function returns them."""
    spacing, variance = levels[-1].spacing, sigmas(levels)[-1] ** 2
    parts: list[Later] = []
    grids, squares = [], np.zeros(3)
    for (height, width, channels), first, end in _runs([pixels.shape for pixels in images]):
        start = (
            128 + np.array(top.mean32 if channels == 3 else top.mean32[1:2]) * spacing / FRACTIONS
        )
        steps, before, after = zip(*(fit_means(pixels, start) for pixels in images[first:end]))
        area, samples = height * width * (end - first), np.concatenate(steps)
        before, after = np.mean(before, 0), np.mean(after, 0)
        saved = area / 2 * (np.log2(variance + before) - np.log2(variance + after)).sum()
        part = beside if 8 * most_of_part(samples) < saved else at_once
        coded = part(encode_part, samples)
        pays = part is beside or 8 * len(coded()) < saved
        parts.append(later(_with_length, coded) if pays else later(number, 0))
        grids += [grid.astype(np.int32) if pays else None for grid in steps]
        squares += area * (after if pays else before)
    if all(grid is None for grid in grids):
        return later(bytes), top
    squares /= sum(pixels.shape[0] * pixels.shape[1] for pixels in images)
    scale = scale_index(np.sqrt(np.maximum(squares + variance - spacing**2 / 12, 1e-3)) / spacing)
    return lambda: b"".join(part() for part in parts), LocalTop(
        top.mean32, tuple(scale.tolist()), tuple(grids), levels[-1].exponent
    )


def _with_length(coded):
    return number(len(coded())) + coded()


def read(data: bytes, sizes: Sequence[tuple[int, int, int]], top: Top, levels: Levels) -> Top:
    """The mirror of write: the Top.

    sizes: (height, width, channels) of each image.  Errors: DamagedFile.
    """
    reader = Reader(data)
    grids: list[np.ndarray | None] = []
    for (height, width, channels), begin, end in _runs(sizes):
        length, rows, columns = reader.number(len(data)), -(-height // SIDE), -(-width // SIDE)
        if not length:
            grids += [None] * (end - begin)
            continue
        steps = decode_fallback(
            reader.take(length), ((end - begin) * rows, columns, channels)
        ).astype(np.int32)
        if steps.max() > MAX_MEAN:
            raise DamagedFile("a block's mean is out of range")
        grids += np.split(steps, end - begin)
    if reader.position != len(data) or all(grid is None for grid in grids):
        raise DamagedFile("block means that cannot be read")
    return LocalTop(top.mean32, top.scale, tuple(grids), levels[-1].exponent)
