"""Images as a sequence of segments, each coded at once on one stack, each as large as its credit.

The bytes of a small block of the first image, plainly coded, are the bottom of the stack: the first
credit.  Each segment after it (places.py) may owe what the stack then holds, and leaves more than it
found.  How large one may be is a guess that is then counted: a segment that runs the stack dry is
undone and made smaller.  No bit is borrowed that is not in the file.
"""

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback
from bitsback.codecs.segment_layout import locate, next_segment, place_of
from bitsback.coder.context import CONTEXT_ROWS, Context
from bitsback.errors import DamagedFile, StackEmpty
from bitsback.memory import give_pages_back

PATIENT = 2**11  # pixels of the plain block for which all is tried
LEAST = 0.25  # bits a dimension: a segment of many pixels that a stack of fewer holds is none
MANY = 2**12  # dimensions; the more, the surer
LARGE = 2**18  # pixels of a segment whose memory is worth handing back
DEBT = 3.2  # bits a dimension that a segment may owe at its worst, first guess
LEAST_DEBT = 1.0  # ... and last: where flat samples are told a segment may owe nothing, which promises nothing of the next


def planes(rows):
    """(..., h, W, C) uint8 -> (B, C, h, W) int32, minus 128."""
    rows = rows if rows.ndim == 4 else rows[None]
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2)).astype(np.int32) - 128


def fallback_parts(images, start):
    """Plain coding of all images before the Corner `start`, and of its block."""
    image, rows, columns = start
    parts = [encode_fallback(np.ascontiguousarray(pixels)) for pixels in images[:image]]
    if rows:
        parts.append(
            encode_fallback(
                np.ascontiguousarray(images[image][:rows, :columns]), rows * columns < PATIENT
            )
        )
    return b"".join(number(len(p)) + p for p in parts[:-1]) + (parts[-1] if parts else b"")


def unpack_fallback_parts(data, images, start):
    """The mirror of plain_parts, into `images`.  Errors: DamagedFile."""
    image, rows, columns = start
    reader, count = Reader(data), image + bool(rows)
    for i in range(count):
        length = reader.number(len(data)) if i + 1 < count else len(data) - reader.position
        block = images[i][:rows, :columns] if i == image else images[i]
        block[:] = decode_fallback(reader.take(length), block.shape)
    if reader.position != len(data):
        raise DamagedFile("bytes left over after the fallback parts")


def context_around(images, place, masks=None):
    """Context of a place: pixels - 128 of up to ROWS rows below and columns to its right, and where a mask says so inside.

    masks: (H, W, C) bool of each image, False where its sample is known beforehand, None for one of which none is; or None.
    """
    bottom, end, rows = place.top + place.height, place.left + place.width, CONTEXT_ROWS
    chosen = images[place.image : place.image + place.images]
    return Context(
        planes(
            np.stack([pixels[bottom : bottom + rows, place.left : end + rows] for pixels in chosen])
        ),
        planes(np.stack([pixels[place.top : bottom, end : end + rows] for pixels in chosen])),
        *_known_inside(images, place, masks),
    )


def _known_inside(images, place, masks):
    """(free, fixed) of Context."""
    told = (
        [] if masks is None else [masks[i] for i in range(place.image, place.image + place.images)]
    )
    if all(mask is None for mask in told):
        return None, None
    full = [np.ones(images[place.image].shape, bool) if mask is None else mask for mask in told]
    free = np.stack(blocks(full, place._replace(image=0))).transpose(0, 3, 1, 2)
    if free.all():
        return None, None
    return np.ascontiguousarray(free), planes(np.stack(blocks(images, place)))[~free]


def blocks(images, place):
    """Views of the block of each image of a place."""
    return [
        pixels[place.top : place.top + place.height, place.left : place.left + place.width]
        for pixels in images[place.image : place.image + place.images]
    ]


def give_back(place):
    """Frees what a large segment left behind, for the next one is of another size."""
    if place.pixels >= LARGE:
        give_pages_back()


def push_segments(
    chain,
    stack,
    images,
    start,
    top,
    progress=lambda share: None,
    masks=None,
    counts=None,
    ledger=None,
):
    """Codes all from `start` on; returns the segments, or None if one does not fit at all.

    images: list of (H, W, 3) or (H, W, 1) uint8; masks: as context_around's; counts: ColourCounts
    that have counted all pixels from `start` on, and none then; ledger: numbers the segments from 0.
    The stack grows by what the prior costs.
    """
    sizes = [pixels.shape for pixels in images]
    total = sum(h * w for h, w, _ in sizes)
    segments, debt, corner, done = [], DEBT, start, 0
    while corner[0] < len(images):
        segment = next_segment(sizes, corner, stack.size_bits, debt)
        if segment is None:
            return None
        place, after = place_of(sizes, corner, segment)
        x, context = planes(np.stack(blocks(images, place))), context_around(images, place, masks)
        before, lowest = stack.copy(), [stack.size_bits]
        if counts:
            counts.snapshot()
        if ledger:
            ledger.begin(len(segments), stack)
        try:
            chain.push(
                stack,
                x,
                top.at(place, x.shape[1]),
                context,
                lambda s: lowest.append(min(lowest[-1], s.size_bits)),
                counts,
                ledger,
            )
        except StackEmpty:
            stack.restore(before)
            if counts:
                counts.restore()
            debt *= 1.15
            continue
        debt = max(LEAST_DEBT, 1.03 * (before.size_bits - lowest[-1]) / x.size)
        segments.append(segment)
        corner = after
        del x, before
        give_back(place)
        done += place.pixels
        progress(done / total)
    return tuple(segments)


def pop_segments(
    chain,
    stack,
    images,
    start,
    segments,
    top,
    progress=lambda share: None,
    masks=None,
    counts=None,
    ledger=None,
):
    """The mirror of push_segments: fills `images`, in which what the masks tell is there already; counts: ColourCounts that have counted nothing.  Errors: DamagedFile."""
    sizes = [pixels.shape for pixels in images]
    total, done = sum(h * w for h, w, _ in sizes), 0
    for index, place in reversed(list(enumerate(locate(sizes, start, segments)))):
        channels, context = sizes[place.image][2], context_around(images, place, masks)
        count = channels * place.pixels if context.free is None else np.count_nonzero(context.free)
        if count > MANY and stack.size_bits < LEAST * count:
            # an encoder pops over 1.3 bits a dimension of y_0 before it pushes, and by Markov's inequality loses k bits with
            # probability 2^-k: whoever claims this lies, and would have the network work for nothing
            raise DamagedFile("the words are too few for the pixels they claim")
        if ledger:
            ledger.begin(index, stack)
        try:
            x = chain.pop(
                stack,
                (place.images, channels, place.height, place.width),
                top.at(place, channels),
                context,
                counts=counts,
                ledger=ledger,
            )
        except StackEmpty:
            raise DamagedFile("the words end too early") from None
        if x.min() < -128 or x.max() > 127:
            raise DamagedFile("the words decode to values that are no pixels")
        for block, values in zip(blocks(images, place), x):
            block[:] = values.transpose(1, 2, 0) + 128
        del x, values
        give_back(place)
        done += place.pixels
        progress(done / total)
