"""Images under the prior: side information, segments on a stack, and the credit they start from.

The encoder finds the side information first, then codes segment after segment on a stack whose
first bits, the credit, are the fallback parts: the metadata, and a small block of the first image.
The decoder reads the side information, pops the segments, and finds the credit at the bottom.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.lanes import Lanes
from bitsback.beside import Beside, later
from bitsback.codecs import block_means, flat_map
from bitsback.codecs.bitstream.header import Header
from bitsback.codecs.fallback.start import fallback_parts
from bitsback.codecs.fallback.webp import webp_size
from bitsback.codecs.segment_layout import STEP, Covered, locate, turned
from bitsback.codecs.segments import (
    lane_counts,
    lane_rule,
    push_segments,
)
from bitsback.codecs.sharpness import count_rows, counts_before, sharpness_of
from bitsback.codecs.side_information import SideInformation, pack_updates
from bitsback.coder.chain import Chain
from bitsback.coder.model import Model
from bitsback.coder.top import Top

# The block of the first image that the fallback codec codes, as the first credit, is a square:
# doubled where that is too little credit.  Its side: (share of a square image's side, most pixels).
# Crops of large/ of 512x512 are 0.3 % smaller files with 32 pixels than with 64, of 768x512 0.15 %.
# A larger image would gain less, and each small segment more costs a GPU as much as a large one.
START_SIDES = (8, 32), (16, 64)
SMALLEST = 48 * 48  # pixels of an image that may start from its own block; alone it must have them
TUNING_SHARE = 0.4  # of the encoder's time, about


def tune(model: Model, images: list[np.ndarray], steps: int, **options: Any) -> np.ndarray | None:
    """Bias updates for these images (tune/tuning.py); None for no steps, or where none pay."""
    if not steps:
        return None
    from bitsback.tune.tuning import tune as found  # training code: only where a file is tuned

    return found(model, images, steps, **options)


def start_side(height: int, width: int) -> int:
    """Pixels of the first start block's side, a multiple of STEP."""
    mean = math.isqrt(height * width)
    side = max(min(mean // share, most) for share, most in START_SIDES)
    return max(STEP, side // STEP * STEP)


def _starts(sizes, credit=False):
    """Corners to try as the end of the fallback parts.

    Growing blocks of the first image, then whole images.  credit: whether other fallback parts may
    be enough; then nothing is tried first.
    """
    if credit:
        yield Covered(0)
    height, width = sizes[0]
    side = start_side(height, width)
    if height * width >= SMALLEST:
        while 2 * min(side, height) * min(side, width) < height * width:
            yield Covered(0, min(side, height), min(side, width))
            side *= 2
    count = 1
    while count < len(sizes):
        yield Covered(count)
        count *= 2


def can_start(sizes: Sequence[tuple[int, ...]]) -> bool:
    """Whether images of these (height, width, ...) are enough to be tried under the prior.

    One that is large enough, or several.
    """
    return next(_starts(sizes), None) is not None


def _busiest_corner(pixels):
    """Flips that bring the corner with the most bytes to the top left.

    They are more credit for the first segments.
    """
    side = start_side(*pixels.shape[:2])
    corner = lambda flips: turned(pixels, flips)[:side, :side]  # noqa: E731
    return max(range(4), key=lambda flips: webp_size(np.ascontiguousarray(corner(flips))))


def encode_stack(
    images: list[np.ndarray],
    header: Header,
    model: Model,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
    first: bytes = b"",
    tuning: int = 0,
    beside: Beside = later,
) -> tuple[Header, bytes] | None:
    """(Header, payload), or None where the images are too small to pay for the start.

    images: (H, W, 3) or (H, W, 1) uint8; header: with entries and digest; first: the fallback parts
    before those of the images; tuning: steps, as the Encoder's; beside: what need not wait.
    """
    flips = _busiest_corner(images[0])
    images = [turned(pixels, flips) for pixels in images]
    remainders = any(deep and deep.remainder_bytes for deep in header.depths)
    starts = list(_starts([pixels.shape[:2] for pixels in images], remainders))
    first_of = {
        start: (
            beside(fallback_parts, images, start),
            beside(count_rows, 1, images[start.image :], 1),
        )
        for start in starts[:1]
    }
    maps, counted = beside(flat_map.begin, images, beside), beside(count_rows, 1, images, 2)
    means, top = block_means.begin(images, Top.fitted(images, model.levels), model.levels, beside)
    flat, masks = maps()
    begun = TUNING_SHARE if tuning else 0.0
    updates = tune(
        model,
        images,
        tuning,
        masks=masks,
        device=device,
        progress=lambda share: progress(TUNING_SHARE * share),
    )
    chain = model.chain(device) if updates is None else model.tuned_chain(updates, device)
    sharpness = sharpness_of(chain, images, masks, counted)
    del counted  # 64 MiB
    rule = lane_rule([pixels.shape for pixels in images])
    for start in starts:
        part, whole = first_of.pop(start, (later(fallback_parts, images, start), None))
        credit = first + part()
        lanes = Lanes(credit)
        segments = push_segments(
            chain,
            lanes,
            images,
            start,
            top,
            lambda share: progress(begun + (1 - begun) * share),
            masks,
            counts_before(sharpness, images, start, whole),
            rule=rule,
        )
        if segments:
            payload = lanes.to_bytes()
            side = SideInformation(flat(), means(), sharpness, pack_updates(updates, model))
            return dataclasses.replace(
                header,
                model=model.id[:16],
                sections={**header.sections, **side.sections()},
                credit_bytes=len(credit),
                flips=flips,
                start=start,
                lanes=rule,
                segments=segments,
                top=tuple(n for pair in zip(top.mean32, top.scale) for n in pair),
                payload_bytes=len(payload),
            ), payload
    return None


def open_stack(
    header: Header,
    payload: bytes,
    model: Model,
    images: list[np.ndarray],
    device: str = "cpu",
    cut: bool = False,
) -> tuple[Chain, Lanes, Top, list[np.ndarray | None] | None, ColourCounts | None]:
    """What the segments of a file are popped with: the mirror of encode_stack's beginning.

    images: turned views of the images under the prior, into which flat blocks are painted; masks:
    (H, W, C) bool of each, True where a sample is coded, or None; cut: the payload's end is
    missing.  Errors: DamagedFile.
    """
    side = SideInformation.from_header(header)
    chain, top, masks, colours = side.decoding(model, header, images, device)
    segments = locate(header.sizes, header.start, header.segments)
    counts = lane_counts(header.sizes, segments, masks, header.lanes)
    lanes = Lanes.from_bytes(payload, counts[-1], cut=cut)
    return chain, lanes, top, masks, colours
