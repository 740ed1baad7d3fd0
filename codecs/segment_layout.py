"""Where the segments of images lie: whole images, or blocks that enlarge a rectangle.

    +-----+---+------+      one image: the plain block S at the corner, then each segment makes
    |  S  | 1 |      |      the coded rectangle wider (RIGHT: 1, 3) or higher (DOWN: 2, 4), on the
    +-----+---+  3   |      side that is shorter, so that the borders between segments are short
    |    2    |      |
    +---------+------+      decoding meets them in reverse: all that lies below and to the right of
    |        4       |      a block is known then
    +----------------+

Which corner of the images is the "top left" one is the encoder's choice: see `turned`.
A segment is (kind, size): images of one size (WHOLE), rows (DOWN) or columns (RIGHT).
"""

from typing import NamedTuple

from bitsback.errors import DamagedFile

STEP = 8  # blocks end at multiples of 8, as the network's coarsest stage, or at the image's edge
ENCODER_MAX_PIXELS = (
    2**20
)  # pixels of a segment that an encoder makes: bounds memory (benchmarks/results/memory.md)
DECODER_MAX_PIXELS = 2**21  # ... and that a decoder takes
WHOLE, DOWN, RIGHT = 0, 1, 2


def turned(pixels, flips):
    """A view of (H, W, 3) pixels with another corner at the top left: flips & 1 left-right, flips & 2 upside down."""
    return pixels[:: -1 if flips & 2 else 1, :: -1 if flips & 1 else 1]


class Corner(NamedTuple):
    """What is coded so far: all images before `image`, and its rows x columns at the top left (0 x 0: nothing of it)."""

    image: int
    rows: int = 0
    columns: int = 0


class Place(NamedTuple):
    """`images` images from `image` on, and the block of each."""

    image: int
    images: int
    top: int
    left: int
    height: int
    width: int

    @property
    def pixels(self):
        return self.images * self.height * self.width


def place_of(sizes, corner, segment):
    """(Place, Corner after it) of a segment that follows `corner`.  sizes: (height, width, channels) of each image.

    Errors: DamagedFile unless it fits.
    """
    kind, size = segment
    image, rows, columns = corner
    if image >= len(sizes) or size < 1:
        raise DamagedFile("the segments do not fit the images")
    height, width = sizes[image][:2]
    if kind == WHOLE:
        place, after = Place(image, size, 0, 0, height, width), Corner(image + size)
        ok = rows == 0 and image + size <= len(sizes) and len(set(sizes[image : image + size])) == 1
    elif kind == DOWN:
        columns = columns or width  # of an untouched image: rows of full width
        place, after = Place(image, 1, rows, 0, size, columns), Corner(image, rows + size, columns)
        ok = rows + size <= height and (size % STEP == 0 or rows + size == height)
    else:
        place, after = Place(image, 1, 0, columns, rows, size), Corner(image, rows, columns + size)
        ok = (
            kind == RIGHT
            and rows > 0
            and columns + size <= width
            and (size % STEP == 0 or columns + size == width)
        )
    if not ok or place.pixels > DECODER_MAX_PIXELS:
        raise DamagedFile("the segments do not fit the images")
    return place, Corner(image + 1) if after[1:] == (height, width) else after


def locate(sizes, start, segments):
    """The Places of segments that cover everything from the Corner `start` on, in order.  Errors: DamagedFile."""
    corner, places = Corner(*start), []
    if corner.image < len(sizes):
        fits = all(
            0 < part <= whole and (part % STEP == 0 or part == whole)
            for part, whole in zip(corner[1:], sizes[corner.image])
        )
        if not (fits and corner[1:] != sizes[corner.image][:2] or corner[1:] == (0, 0)):
            raise DamagedFile("the segments start outside the images")
    for segment in segments:
        place, corner = place_of(sizes, corner, segment)
        places.append(place)
    if corner != (len(sizes), 0, 0):
        raise DamagedFile("the segments do not cover the images")
    return places


def _part(most, left):
    """How much of `left` to take where `most` is possible: all, or a multiple of STEP; two even halves rather than a small rest."""
    if most >= left:
        return left
    if most * 1.5 > left:
        most = min(most, -(-left // (2 * STEP)) * STEP)
    return most // STEP * STEP


def next_segment(sizes, corner, size_bits, debt):
    """The segment to try after `corner`: as large as `size_bits` of credit allow, or None if none fits.

    debt: bits a dimension that a segment may owe at its worst.
    """
    image, rows, columns = corner
    height, width, channels = sizes[image]
    pixels = min(int(size_bits / (channels * debt)), ENCODER_MAX_PIXELS)
    if rows == 0 and pixels >= height * width:
        same, most = 1, pixels // (height * width)
        while same < most and image + same < len(sizes) and sizes[image + same] == sizes[image]:
            same += 1
        return WHOLE, same
    down = (DOWN, _part(pixels // (columns or width), height - rows))
    right = (RIGHT, _part(pixels // rows, width - columns) if rows else 0)
    for segment in (right, down) if columns < rows or rows == height else (down, right):
        if segment[1]:
            return segment
    return None
