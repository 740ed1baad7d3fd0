"""Means of blocks of 32x32 pixels: told before all else, so that the noisiest level is expected where the image is.

y_{K-1}, the image under noise of sigma 285, has nothing above it that would say what to expect.  Under one Gaussian a colour it costs
log2(1 + variance of the image / sigma^2) / 2 bits a sample, three times what the level below it does; of that variance the low frequencies hold
two thirds.  Bits that tell a coefficient pay until its variance is sigma^2: a mean of n pixels in steps of about sigma * sqrt(12 / n) gray
levels (reverse water-filling; Cover and Thomas, Elements of Information Theory, 10.3), 31 of them for n = 32^2.
On the stack: 8 bits a byte, above what tells flat blocks.

    for each run of images under the prior of one size and number of channels: LEB128 length of the rest, 0 if nothing is told;
    the means in STEPs, one image's below the other's, as a small image (plain.py)
"""

from dataclasses import dataclass

import numpy as np

from bitsback.ans.gaussian_tables import FRACTION_BITS, FRACTIONS, scale_index
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback
from bitsback.coder.top import Top
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile
from bitsback.integer.fixed_point import rounded_shift

SIDE = 32  # pixels of a block's side; 24 and 48 end up 1 and 15 % dearer on valid, with the best step of each
STEP = 32  # gray levels a step
ZERO = 256 // STEP  # the sample that tells the header's mean; MAX_MEAN is 256 gray levels above it
MAX_MEAN = 2 * ZERO
UNIT_BITS = 7  # what is interpolated is counted in STEP / 4096 = 1/2^7 gray levels


def _weights(begin, end, count):
    """Places begin..end of an axis of `count` blocks: the block before each, the one after it, and the latter's weight in 1/64."""
    place = np.clip(2 * np.arange(begin, end) + 1 - SIDE, 0, 2 * SIDE * (count - 1))
    before = np.minimum(place // (2 * SIDE), max(count - 2, 0))
    return before, np.minimum(before + 1, count - 1), place - 2 * SIDE * before


def interpolated(grid, rows, columns):
    """(r, c, C) numbers, one a block, between whose centres straight lines are drawn -> (h, w, C) at the pixels of two (begin, end): 4096 times as large."""
    above, below, down = _weights(*rows, grid.shape[0])
    left, right, across = _weights(*columns, grid.shape[1])
    down, across = down[:, None, None], across[:, None]
    lines = grid[above] * (2 * SIDE - down) + grid[below] * down
    return lines[:, left] * (2 * SIDE - across) + lines[:, right] * across


@dataclass(frozen=True)
class ToldTop(Top):
    """A Top to whose mean32 images add means of their own.  grids: for each image (r, c, C) int32 steps, or None; exponent: of the last level."""

    grids: tuple = ()
    exponent: int = 0

    def mean_at(self, image, rows, columns, channels):
        """(C, h, w) int32: mean32 of a block, two (begin, end), of an image."""
        mean = np.array(self.mean32 if channels == 3 else self.mean32[1:2], np.int32)[:, None, None]
        if self.grids[image] is None:
            return np.broadcast_to(mean, (channels, rows[1] - rows[0], columns[1] - columns[0]))
        more = interpolated(self.grids[image] - ZERO, rows, columns)
        return mean + rounded_shift(more, UNIT_BITS - FRACTION_BITS + self.exponent).transpose(
            2, 0, 1
        )

    def at(self, place, channels):
        rows, columns = (
            (place.top, place.top + place.height),
            (place.left, place.left + place.width),
        )
        return Top(
            np.stack(
                [
                    self.mean_at(i, rows, columns, channels)
                    for i in range(place.image, place.image + place.images)
                ]
            ),
            self.scale,
        )


def _left_over(pixels, grid):
    """What means leave of (H, W, C) uint8: (its block means (r, c, C), its mean square), both of one unit and two; grid: (r, c, C) gray levels."""
    (height, width, channels), blocks = pixels.shape, grid.shape[:2]
    means, square = np.empty(grid.shape), np.zeros(channels)
    lefts = np.arange(0, width, SIDE)
    across = np.diff(lefts, append=width)[:, None]
    for i in range(blocks[0]):  # a row of blocks at a time: little memory
        rows = i * SIDE, min((i + 1) * SIDE, height)
        left = pixels[slice(*rows)] - interpolated(grid, rows, (0, width)) / 4096
        square += (left**2).sum((0, 1))
        means[i] = np.add.reduceat(left.sum(0), lefts, 0) / (across * len(left))
    return means, square / (height * width)


def fitted(pixels, start):
    """(H, W, C) uint8 -> (means in steps from `start` (r, c, C) uint8, ZERO for none, mean square around `start` (C,), the same around what the means tell).

    start: (C,) gray levels.  The means that straight lines are drawn between are not quite the blocks': what these leave is added once.
    """
    grid = np.broadcast_to(
        start, (-(-pixels.shape[0] // SIDE), -(-pixels.shape[1] // SIDE), pixels.shape[2])
    )
    more, before = _left_over(pixels, grid)
    grid = grid + more
    grid = grid + _left_over(pixels, grid)[0]
    steps = np.clip(np.rint((grid - start) / STEP) + ZERO, 0, MAX_MEAN).astype(np.uint8)
    return steps, before, _left_over(pixels, start + (steps - float(ZERO)) * STEP)[1]


def _runs(sizes):
    """(size, begin, end) of images of one size, one after the other."""
    begins = [i for i, size in enumerate(sizes) if not i or size != sizes[i - 1]]
    return [(sizes[begin], begin, end) for begin, end in zip(begins, [*begins[1:], len(sizes)])]


def told(images, top, levels):
    """[(H, W, C) uint8] -> (bytes that tell the means that pay for it, Top with them); (b"", top) where none do.

    top: a Top fitted to the images without them; levels: the model's.
    """
    spacing, variance = levels[-1].spacing, sigmas(levels)[-1] ** 2
    parts, grids, squares = [], [], np.zeros(3)
    for (height, width, channels), begin, end in _runs([pixels.shape for pixels in images]):
        start = (
            128 + np.array(top.mean32 if channels == 3 else top.mean32[1:2]) * spacing / FRACTIONS
        )
        steps, before, after = zip(*(fitted(pixels, start) for pixels in images[begin:end]))
        area, part = height * width * (end - begin), encode_fallback(np.concatenate(steps))
        before, after = np.mean(before, 0), np.mean(after, 0)
        pays = (
            8 * len(part)
            < area / 2 * (np.log2(variance + before) - np.log2(variance + after)).sum()
        )
        parts.append(number(len(part)) + part if pays else number(0))
        grids += [grid.astype(np.int32) if pays else None for grid in steps]
        squares += area * (after if pays else before)
    if all(grid is None for grid in grids):
        return b"", top
    squares /= sum(pixels.shape[0] * pixels.shape[1] for pixels in images)
    scale = scale_index(np.sqrt(np.maximum(squares + variance - spacing**2 / 12, 1e-3)) / spacing)
    return b"".join(parts), ToldTop(
        top.mean32, tuple(scale.tolist()), tuple(grids), levels[-1].exponent
    )


def read(data, sizes, top, levels):
    """The mirror of told: the Top.  sizes: (height, width, channels) of each image.  Errors: DamagedFile."""
    reader, grids = Reader(data), []
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
    return ToldTop(top.mean32, top.scale, tuple(grids), levels[-1].exponent)
