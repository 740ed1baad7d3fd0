"""Pictures as a sequence of segments, each coded at once on one stack, each as large as its credit.

    image 0   rows 0 .. r     plain parts: their bytes are the bottom of the stack, the first credit
              rows r ..       segment: rows of one image
              ...             about twice as many each time, up to LIMIT pixels
    image 1   ...
    images 5..60              segment: whole images of one size, a batch of the network

A segment is (images, 0) or (1, rows).  How large one may be is a guess that is then counted: a segment
that runs the stack dry is undone and made smaller.  No bit is borrowed that is not in the file.
"""
import numpy as np

from .. import context
from ..errors import DamagedFile, StackEmpty
from .container import Reader, number
from .plain import decode_plain, encode_plain

ROW_STEP = 8                    # rows of one image come in multiples of 8, as the network's coarsest stage
DEBT = 3.2                      # bits a dimension that a segment may owe at its worst, first guess
LIMIT = 2**20                   # pixels of a segment: bounds memory


def planes(rows):
    """(..., h, W, 3) uint8 -> (B, 3, h, W) int32, minus 128."""
    rows = rows if rows.ndim == 4 else rows[None]
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2)).astype(np.int32) - 128


def plain_parts(images, start):
    """Plain coding of all images before `start` = (image, row) and the rows of that image above it."""
    whole = images[:start[0]]
    parts = [encode_plain(pixels) for pixels in whole]
    if start[1]:
        parts.append(encode_plain(images[start[0]][:start[1]]))
    return b"".join(number(len(p)) + p for p in parts[:-1]) + (parts[-1] if parts else b"")


def unpack_plain_parts(data, images, start):
    """The mirror of plain_parts, into `images`.  Errors: DamagedFile."""
    reader, count = Reader(data), start[0] + bool(start[1])
    for i in range(count):
        length = reader.number(len(data)) if i + 1 < count else len(data) - reader.position
        rows = images[i][:start[1]] if i == start[0] else images[i]
        rows[:] = decode_plain(reader.take(length), rows.shape)
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the plain parts")


def locate(sizes, start, segments):
    """[(first image, images, first row, end row)] of segments.  sizes: (height, width) of each image.

    Errors: DamagedFile unless they cover everything from `start` on, in order.
    """
    image, row = start
    if not (image < len(sizes) and row < sizes[image][0] or (image, row) == (len(sizes), 0)):
        raise DamagedFile("the segments start outside the pictures")
    places = []
    for images, rows in segments:
        if image >= len(sizes):
            raise DamagedFile("the segments do not fit the pictures")
        height = sizes[image][0]
        if rows:
            ok, place = row + rows <= height, (image, 1, row, row + rows)
            image, row = (image, row + rows) if row + rows < height else (image + 1, 0)
        else:
            ok = images > 0 and row == 0 and image + images <= len(sizes) and len(set(sizes[image:image + images])) == 1
            place = (image, images, 0, height)
            image += images
        if not ok or place[1] * (place[3] - place[2]) * sizes[place[0]][1] > LIMIT:
            raise DamagedFile("the segments do not fit the pictures")
        places.append(place)
    if (image, row) != (len(sizes), 0):
        raise DamagedFile("the segments do not cover the pictures")
    return places


def _values(images, place):
    """(x, context) of a place, as planes."""
    first, count, row, end = place
    return planes(np.stack([images[i][row:end] for i in range(first, first + count)])), \
        planes(np.stack([images[i][end:end + context.ROWS] for i in range(first, first + count)]))


def next_segment(sizes, at, size_bits, debt):
    """The largest (images, rows) that `size_bits` of credit allow at (image, row); (0, 0) if none fits."""
    image, row = at
    height, width = sizes[image]
    pixels = min(int(size_bits / (3 * debt)), LIMIT)
    if row == 0 and pixels >= height * width:
        same, most = 1, pixels // (height * width)
        while same < most and image + same < len(sizes) and sizes[image + same] == sizes[image]:
            same += 1
        return same, 0
    left, rows = height - row, pixels // width // ROW_STEP * ROW_STEP
    if pixels >= left * width:
        return 1, left
    if rows * 1.5 > left:               # two even halves rather than a small rest
        rows = max(ROW_STEP, left // 2 // ROW_STEP * ROW_STEP)
    return (1, rows) if rows and rows * width <= pixels else (0, 0)


def push_segments(chain, stack, images, start, top, progress=lambda share: None):
    """Codes all from `start` on; returns the segments, or None if one does not fit at all.

    images: list of (H, W, 3) uint8.  The stack grows by what the prior costs.
    """
    sizes = [pixels.shape[:2] for pixels in images]
    total = sum(h * w for h, w in sizes)
    segments, debt, (image, row), done = [], DEBT, start, 0
    while image < len(images):
        segment = next_segment(sizes, (image, row), stack.size_bits, debt)
        if segment == (0, 0):
            return None
        place = locate_one(sizes, (image, row), segment)
        x, known = _values(images, place)
        attempt, lowest = stack.copy(), [stack.size_bits]
        try:
            chain.push(attempt, x, top, known, watch=lambda s: lowest.append(min(lowest[-1], s.size_bits)))
        except StackEmpty:
            debt *= 1.15
            continue
        debt = 1.03 * (stack.size_bits - lowest[-1]) / x.size
        stack.restore(attempt)
        segments.append(segment)
        image, row = (place[0], place[3]) if place[3] < sizes[place[0]][0] else (place[0] + place[1], 0)
        done += x.size // 3
        progress(done / total)
    return tuple(segments)


def locate_one(sizes, at, segment):
    """The place (first image, images, first row, end row) of one segment at (image, row)."""
    image, row = at
    return (image, 1, row, row + segment[1]) if segment[1] else (image, segment[0], 0, sizes[image][0])


def pop_segments(chain, stack, images, start, segments, top, progress=lambda share: None):
    """The mirror of push_segments: fills `images`.  Errors: DamagedFile."""
    sizes = [pixels.shape[:2] for pixels in images]
    total, done = sum(h * w for h, w in sizes), 0
    for first, count, row, end in reversed(locate(sizes, start, segments)):
        _, known = _values(images, (first, count, end, end))
        width = sizes[first][1]
        try:
            x = chain.pop(stack, (count, 3, end - row, width), top, known)
        except StackEmpty:
            raise DamagedFile("the words end too early") from None
        if x.min() < -128 or x.max() > 127:
            raise DamagedFile("the words decode to values that are no pixels")
        for i in range(count):
            images[first + i][row:end] = x[i].transpose(1, 2, 0) + 128
        done += count * (end - row) * width
        progress(done / total)
