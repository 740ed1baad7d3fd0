"""Images as a sequence of segments on one stack, each as large as the bits on the stack allow.

The bottom of the stack is the first credit: bytes of a small part of the first image, coded by the
fallback codec.  Coding a segment first pops bits and then pushes more than it popped, so the stack
grows.  Its size is guessed from the stack's; a segment that runs the stack dry is undone and made
smaller.  No bit is borrowed that is not in the file.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import least
from bitsback.ans.lanes import MAX_LANES, Lanes
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.codecs.segment_layout import (
    Covered,
    Extent,
    Segment,
    Size,
    locate,
    next_segment,
    segment_at,
)
from bitsback.coder.chain import Chain
from bitsback.coder.context import CONTEXT_ROWS, Context
from bitsback.coder.ledger import Ledger
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile, StackEmpty
from bitsback.memory import give_pages_back

# A lane's closing costs 4.5 bits, once a file: with one for 6,144 samples 0.04 % at 2 bits/dim.  On
# a GPU more lanes are faster: 64 pop 48 million values a second on one H200, 512 231 and 4096 406
# (python -m benchmarks.device_lanes).  So they are opened as soon as a stack can spare the 31 bits
# that each holds, up to the number that will be closed: files of 512x512 pixels are as large with
# one for 128, 256, 512 or 1,024 samples, within 0.03 %.
SAMPLES_PER_LANE = 3 * 2**11
OPENED_FOR = 2**8  # coded samples, for each lane, while there are fewer
LEAST = 0.25  # bits per dimension: fewer than these on the stack cannot hold a segment ...
MANY = 2**12  # ... of more dimensions than these; the more, the surer
LARGE = 2**18  # pixels of a segment whose memory is worth returning to the system
# Bits per dimension that a segment may pop before it pushes: the first guess, and the smallest
# later one, since a segment of fixed samples pops nothing.  Each guess is MARGIN times the last
# segment's debt, and again after a segment that ran dry, whose work is lost: of 12 training images
# 4 % of all pixels; with 1.03, and a first guess of 3.2, it was 17 %, for 0.02 % smaller files.
DEBT, LEAST_DEBT, MARGIN = 3.8, 1.0, 1.1

Progress = Callable[[float], object]
Masks = Sequence[np.ndarray | None]


def planes(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) or (B, H, W, C) uint8 -> (B, C, H, W) int32, minus 128."""
    pixels = pixels if pixels.ndim == 4 else pixels[None]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.int32) - 128


def blocks(images: Sequence[np.ndarray], segment: Segment) -> list[np.ndarray]:
    """Views of a segment's rectangle in each of its images."""
    return [
        pixels[segment.top : segment.top + segment.height, segment.left :][:, : segment.width]
        for pixels in images[segment.image : segment.image + segment.images]
    ]


def context_around(
    images: Sequence[np.ndarray], segment: Segment, masks: Masks | None = None
) -> Context:
    """Context of a segment: pixels - 128 of up to CONTEXT_ROWS rows below and columns to its right.

    masks: for each image (H, W, C) bool, False for fixed samples, which side information already
    put there; None for an image without any, or for all of them.
    """
    bottom, right = segment.top + segment.height, segment.left + segment.width
    last_row, last_column = bottom + CONTEXT_ROWS, right + CONTEXT_ROWS
    chosen = images[segment.image : segment.image + segment.images]
    return Context(
        planes(np.stack([p[bottom:last_row, segment.left : last_column] for p in chosen])),
        planes(np.stack([p[segment.top : bottom, right:last_column] for p in chosen])),
        *_fixed_inside(images, segment, masks),
    )


def _fixed_inside(
    images: Sequence[np.ndarray], segment: Segment, masks: Masks | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(free, fixed) of Context."""
    chosen = [] if masks is None else masks[segment.image : segment.image + segment.images]
    if all(mask is None for mask in chosen):
        return None, None
    full = np.broadcast_to(np.True_, images[segment.image].shape)
    whole = [full if mask is None else mask for mask in chosen]
    free = np.stack(blocks(whole, segment._replace(image=0))).transpose(0, 3, 1, 2)
    if free.all():
        return None, None
    return np.ascontiguousarray(free), planes(np.stack(blocks(images, segment)))[~free]


def coded_samples(segment: Segment, channels: int, masks: Masks | None) -> int:
    """Samples of a segment that are not fixed.  masks: as context_around's."""
    chosen = masks[segment.image : segment.image + segment.images] if masks else ()
    inside = segment._replace(image=0, images=1)
    parts = [blocks([mask], inside)[0] for mask in chosen if mask is not None]
    return channels * segment.pixels - sum(p.size - int(np.count_nonzero(p)) for p in parts)


def lane_rule(sizes: Sequence[Size]) -> LaneRule:
    """The encoder's choice for images of these sizes."""
    samples = sum(height * width * channels for height, width, channels in sizes)
    most = max(1, min(MAX_LANES, samples // SAMPLES_PER_LANE))
    return LaneRule(min(OPENED_FOR, SAMPLES_PER_LANE), most)


def lane_counts(
    sizes: Sequence[Size], segments: list[Segment], masks: Masks | None, rule: LaneRule
) -> list[int]:
    """Lanes open before the first segment (0), while it is coded, while the second one is, ..."""
    coded = accumulate(coded_samples(s, sizes[s.image][2], masks) for s in segments)
    return [0, *map(rule.count, coded)]


def give_back(segment: Segment) -> None:
    """Returns the memory of a large segment to the system: the next one has another size."""
    if segment.pixels >= LARGE:
        give_pages_back()


def push_segments(
    chain: Chain,
    lanes: Lanes,
    images: Sequence[np.ndarray],
    start: Covered,
    top: Top,
    progress: Progress = lambda share: None,
    masks: Masks | None = None,
    counts: ColourCounts | None = None,
    ledger: Ledger | None = None,
    rule: LaneRule | None = None,
) -> tuple[Extent, ...] | None:
    """Pushes all that `start` does not cover; returns the segments' extents, or None if none fits.

    images: (H, W, 3 or 1) uint8; masks: as context_around's; counts: of all these pixels, and of
    none then; ledger: segments are numbered from 0; rule: None for lane_rule.  The message grows by
    what the prior costs.
    """
    sizes = [pixels.shape for pixels in images]
    rule = rule or lane_rule(sizes)
    total, colours = sum(h * w for h, w, _ in sizes), chain.counts_for(counts)
    extents: list[Extent] = []
    debt, covered, done, coded = DEBT, start, 0, 0
    while covered[0] < len(images):
        extent = next_segment(sizes, covered, lanes.size_bits, debt)
        if extent is None:
            return None
        segment, after = segment_at(sizes, covered, extent)
        x = planes(np.stack(blocks(images, segment)))
        context = context_around(images, segment, masks)
        before, lowest = lanes.copy(), [lanes.size_bits]
        if colours:
            colours.snapshot()
        if ledger:
            ledger.begin(len(extents), lanes)

        def watch(lanes: Lanes, lowest: list = lowest) -> None:
            lowest.append(lanes.size_bits)

        try:
            fresh = coded_samples(segment, x.shape[1], masks)
            lanes.widen(rule.count(coded + fresh))
            chain.push(lanes, x, top.at(segment, x.shape[1]), context, watch, colours, ledger)
        except StackEmpty:
            lanes.restore(before)
            if colours:
                colours.restore()
            debt *= MARGIN
            continue
        debt = max(LEAST_DEBT, MARGIN * (before.size_bits - least(lowest)) / x.size)
        extents.append(extent)
        covered, coded = after, coded + fresh
        del x, before
        give_back(segment)
        done += segment.pixels
        progress(done / total)
    return tuple(extents)


def pop_segments(
    chain: Chain,
    lanes: Lanes,
    images: Sequence[np.ndarray],
    start: Sequence[int],
    extents: Sequence[Extent],
    top: Top,
    progress: Progress = lambda share: None,
    masks: Masks | None = None,
    counts: ColourCounts | None = None,
    ledger: Ledger | None = None,
    rule: LaneRule | None = None,
) -> None:
    """The mirror of push_segments: writes into `images`, where fixed samples already are.

    counts: of nothing, and of all pixels then.  Errors: DamagedFile.
    """
    sizes = [pixels.shape for pixels in images]
    rule = rule or lane_rule(sizes)
    total, done = sum(h * w for h, w, _ in sizes), 0
    segments, colours = locate(sizes, start, extents), chain.counts_for(counts)
    open_lanes = lane_counts(sizes, segments, masks, rule)
    for index, segment in reversed(list(enumerate(segments))):
        channels = sizes[segment.image][2]
        context = context_around(images, segment, masks)
        count = coded_samples(segment, channels, masks)
        if count > MANY and lanes.size_bits < LEAST * count:
            # An encoder pops over 1.3 bits per dimension of y_0 before it pushes.  By Markov's
            # inequality it ends k bits below that with probability 2^-k: no encoder made this
            # file, and the network's work would be in vain.
            raise DamagedFile("the words are too few for the pixels they claim")
        shape = segment.images, channels, segment.height, segment.width
        if ledger:
            ledger.begin(index, lanes)
        try:
            x = chain.pop(
                lanes, shape, top.at(segment, channels), context, counts=colours, ledger=ledger
            )
        except StackEmpty:
            raise DamagedFile("the words end too early") from None
        lanes.narrow(open_lanes[index])
        if x.min() < -128 or x.max() > 127:
            raise DamagedFile("the words decode to values that are no pixels")
        for block, values in zip(blocks(images, segment), x):
            block[:] = values.transpose(1, 2, 0) + 128
        del x, values
        give_back(segment)
        done += segment.pixels
        progress(done / total)
