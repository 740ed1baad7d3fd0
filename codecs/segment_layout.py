"""Where the segments of images lie: whole images, or rectangles that enlarge a rectangle.

    +-----+---+------+      one image: after the fallback part F at the top left, each segment makes
    |  F  | 1 |      |      the covered rectangle wider (RIGHT: 1, 3) or higher (DOWN: 2, 4), along
    +-----+---+  3   |      its longer side, so that borders between segments stay short
    |    2    |      |
    +---------+------+      segments are decoded in reverse: all pixels below a segment and to its
    |        4       |      right are decoded before it
    +----------------+

The encoder chooses which corner of the images is the "top left" one: see `turned`.
A file stores an extent (kind, size) for each segment: a number of images of equal size (WHOLE), of
rows (DOWN) or of columns (RIGHT).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bitsback.errors import DamagedFile

STEP = 8  # segments end at multiples of 8, the network's coarsest stage, or at the image's edge
ENCODER_MAX_PIXELS = 2**20  # of a segment: bounds memory (benchmarks/results/memory.md)
DECODER_MAX_PIXELS = 2**21
WHOLE, DOWN, RIGHT = 0, 1, 2

Size = Sequence[int]  # height, width, and what follows of an array's shape
Extent = tuple[int, int]


def turned(pixels: np.ndarray, flips: int) -> np.ndarray:
    """A view of (H, W, ...) with another corner at the top left.

    flips: 1 mirrors left-right, 2 upside down, 3 both.
    """
    return pixels[:: -1 if flips & 2 else 1, :: -1 if flips & 1 else 1]


class Covered(NamedTuple):
    """What is covered so far: the images before `image`, and rows x columns at its top left."""

    image: int
    rows: int = 0
    columns: int = 0


class Segment(NamedTuple):
    """A segment: one rectangle in each of `images` images from number `image` on."""

    image: int
    images: int
    top: int
    left: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.images * self.height * self.width


def segment_at(sizes: Sequence[Size], covered: Covered, extent: Extent) -> tuple[Segment, Covered]:
    """(the segment of an extent, what is covered after it).

    sizes: (height, width, channels) of each image.  Errors: DamagedFile unless it fits.
    """
    kind, size = extent
    image, rows, columns = covered
    if image >= len(sizes) or size < 1:
        raise DamagedFile("the segments do not fit the images")
    height, width = sizes[image][:2]
    if kind == WHOLE:
        segment, after = Segment(image, size, 0, 0, height, width), Covered(image + size)
        equal = len(set(map(tuple, sizes[image : image + size]))) == 1
        fits = rows == 0 and image + size <= len(sizes) and equal
    elif kind == DOWN:
        columns = columns or width  # in an image not yet begun: rows of full width
        segment = Segment(image, 1, rows, 0, size, columns)
        after = Covered(image, rows + size, columns)
        fits = rows + size <= height and (size % STEP == 0 or rows + size == height)
    else:
        segment = Segment(image, 1, 0, columns, rows, size)
        after = Covered(image, rows, columns + size)
        fits = kind == RIGHT and rows > 0 and columns + size <= width
        fits = fits and (size % STEP == 0 or columns + size == width)
    if not fits or segment.pixels > DECODER_MAX_PIXELS:
        raise DamagedFile("the segments do not fit the images")
    return segment, Covered(image + 1) if after[1:] == (height, width) else after


def locate(sizes: Sequence[Size], start: Sequence[int], extents: Iterable[Extent]) -> list[Segment]:
    """The segments that cover all from `start` (image, rows, columns) on, in encoding order.

    Errors: DamagedFile.
    """
    covered, segments = Covered(*start), []
    if covered.image < len(sizes):
        size = tuple(sizes[covered.image][:2])
        fits = all(
            0 < part <= whole and (part % STEP == 0 or part == whole)
            for part, whole in zip(covered[1:], size)
        )
        if not (fits and covered[1:] != size or covered[1:] == (0, 0)):
            raise DamagedFile("the segments start outside the images")
    for extent in extents:
        segment, covered = segment_at(sizes, covered, extent)
        segments.append(segment)
    if covered != (len(sizes), 0, 0):
        raise DamagedFile("the segments do not cover the images")
    return segments


def _part(most: int, left: int) -> int:
    """How many of `left` rows or columns to take where `most` fit: all, or a multiple of STEP.

    Two even halves are better than a large part and a small rest.
    """
    if most >= left:
        return left
    if most * 1.5 > left:
        most = min(most, -(-left // (2 * STEP)) * STEP)
    return most // STEP * STEP


def next_segment(
    sizes: Sequence[Size], covered: Covered, size_bits: int, debt: float
) -> Extent | None:
    """The extent to try next: as large as a stack of `size_bits` allows; None if none fits.

    debt: bits per dimension that coding a segment may take from the stack before it adds any.
    """
    image, rows, columns = covered
    height, width, channels = sizes[image]
    pixels = min(int(size_bits / (channels * debt)), ENCODER_MAX_PIXELS)
    if rows == 0 and pixels >= height * width:
        same, most = 1, pixels // (height * width)
        while same < most and image + same < len(sizes) and sizes[image + same] == sizes[image]:
            same += 1
        return WHOLE, same
    down = (DOWN, _part(pixels // (columns or width), height - rows))
    right = (RIGHT, _part(pixels // rows, width - columns) if rows else 0)
    for extent in (right, down) if columns < rows or rows == height else (down, right):
        if extent[1]:
            return extent
    return None
