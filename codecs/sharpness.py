"""Colour counts of an encoder: their sharpness, found by a trial, and what they begin with."""

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.colour_frequencies import SHARPNESS
from bitsback.ans.lanes import random_lanes
from bitsback.beside import Later
from bitsback.codecs import flat_map
from bitsback.codecs.image import strips
from bitsback.codecs.segment_layout import STEP, Covered, Segment
from bitsback.codecs.segments import blocks, context_around, planes
from bitsback.coder.chain import Chain
from bitsback.coder.context import context_chain

# Side of the block on which the sharpness is tried, and values whose cost is counted there.
TRIAL_SIDE, TRIAL_VALUES = 192, 2**15
# Share of the cost of p(x | y_0) that counting colours must save, for the time it takes.
SHARPNESS_PAYS = 0.002


def _trial(image, mask):
    """Segment on which the sharpness is tried, the image, and its mask.

    The middle, cut to a grid of STEP, or where more samples are coded.
    """
    height, width = (min(TRIAL_SIDE, side) for side in image.shape[:2])
    tops, lefts = (
        [(whole - part) * quarter // 4 // STEP * STEP for quarter in (2, 1, 3, 0, 4)]
        for whole, part in zip(image.shape[:2], (height, width))
    )
    segments = [Segment(0, 1, top, left, height, width) for top in tops for left in lefts]
    most = max(
        segments,
        key=lambda segment: mask is not None and np.count_nonzero(blocks([mask], segment)[0]),
    )
    return most, [image], None if mask is None else [mask]


def sharpness_of(
    chain: Chain,
    images: list[np.ndarray],
    masks: flat_map.Masks | None,
    counted: Later | None = None,
) -> int:
    """Number of the SHARPNESS under which a block of the largest image costs least; 0 for none.

    Every second row of the rest is counted before.  counted: returns counts of every second row.
    """
    largest = max(range(len(images)), key=lambda i: images[i].size)
    segment, one, mask = _trial(images[largest], masks and masks[largest])
    x, context = planes(np.stack(blocks(one, segment))), context_around(one, segment, mask)
    inside = context_chain(chain.forward_table, chain.levels[:1], context)[0]
    y = chain.forward[0].pop(random_lanes(x.size), x, inside)
    arrays = chain.reverse[0].pixel_arrays(x, y, inside)
    counts = counted() if counted else count_rows(1, images, 2)
    counts.count_all(x[:, :, (-segment.top) % 2 :: 2], -1)
    every = max(1, x.size // TRIAL_VALUES)
    uncounted = sum(
        chain.gaussians.information_bits(a.values[::every], a.mean32[::every], a.scale[::every])
        for a in arrays
    )
    costs = [uncounted, *counts.information_bits(chain.gaussians, arrays, every)]
    best = int(np.argmin(costs))
    return best if costs[best] < (1 - SHARPNESS_PAYS) * costs[0] else 0


def count_rows(sharpness: int, images: list[np.ndarray], every: int) -> ColourCounts:
    """Counts of every n-th row of these images."""
    colours = ColourCounts(sharpness)
    for pixels in images:
        _count(colours, pixels[::every])
    return colours


def counts_before(
    sharpness: int, images: list[np.ndarray], start: Covered, counted: Later | None = None
) -> ColourCounts | None:
    """What an encoder begins with: counts of all that the prior codes; None for no sharpness.

    counted: returns counts of all rows of the images from start.image on, where begun before.
    """
    if not sharpness:
        return None
    image, rows, columns = start
    colours = counted() if counted else count_rows(sharpness, images[image:], 1)
    colours.share, colours.base = SHARPNESS[sharpness - 1]
    if rows:
        _count(colours, images[image][:rows, :columns], -1)
    return colours


def _count(colours, pixels, times=1):
    """Counts (H, W, C) uint8 in strips: the arrays of a strip take little memory."""
    for rows in strips(pixels):
        colours.count_pixels(rows, times)
