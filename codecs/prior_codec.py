"""The stack of a file: images under the prior, what is told of them, and the deltas of the model, in the order of a decoder's pops.

pushed last      deltas (tuned.py)               popped first: they make the network that decodes the rest
                 what tells block means          (means.py)
                 what tells flat blocks          (flats.py)
                 segments                        (segments.py)
at the bottom    the fallback parts                 (image.py): the first credit
"""

import dataclasses
import math
from typing import Any

import numpy as np

from bitsback.ans.colour_counts import Colours, Recorder
from bitsback.ans.stack import Stack
from bitsback.codecs import block_means, flat_map
from bitsback.codecs.fallback.codec import webp_size
from bitsback.codecs.segment_layout import STEP, Corner, Place, turned
from bitsback.codecs.segments import blocks, context_around, fallback_parts, planes, push_segments
from bitsback.coder.context import context_chain
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile, StackEmpty

START_SIDE, START_SHARE = (
    64,
    8,
)  # the plain block: a square of 64 pixels, or 1/8 of a small image's side; doubled where it is too little credit
SMALLEST = (
    48 * 48
)  # pixels of an image of whose own block the others may start; a single smaller one is not tried
TUNING_SHARE = 0.4  # of the time, about
TRIAL, TRIED = (
    192,
    2**15,
)  # side of the block on which sharpness is tried, and values whose cost is counted there
PAYS = 0.002  # share of p(x | y_0)'s cost that counting colours must save, for the time it takes


def _starts(sizes):
    """Corners to try as the end of the fallback parts: growing blocks of the first image, then whole images."""
    height, width = sizes[0]
    side = max(STEP, min(START_SIDE, math.isqrt(height * width) // START_SHARE) // STEP * STEP)
    if height * width >= SMALLEST:
        while 2 * min(side, height) * min(side, width) < height * width:
            yield Corner(0, min(side, height), min(side, width))
            side *= 2
    count = 1
    while count < len(sizes):
        yield Corner(count)
        count *= 2


def can_start(sizes) -> bool:
    """Whether images of these (height, width, ...), at least one, are enough to be tried under the prior: one that is large enough, or several."""
    return next(_starts(sizes), None) is not None


def _busiest_corner(pixels):
    """Flips that bring the corner with the most bytes to the top left: more credit for the first segments."""
    corner = lambda flips: turned(pixels, flips)[:START_SIDE, :START_SIDE]  # noqa: E731
    return max(range(4), key=lambda flips: webp_size(np.ascontiguousarray(corner(flips))))


def _trial(image, mask):
    """Place of the block on which sharpness is tried: the middle, cut to a grid of STEP, or where more is to be coded."""
    height, width = (min(TRIAL, side) for side in image.shape[:2])
    tops, lefts = (
        [(whole - part) * quarter // 4 // STEP * STEP for quarter in (2, 1, 3, 0, 4)]
        for whole, part in zip(image.shape[:2], (height, width))
    )
    places = [Place(0, 1, top, left, height, width) for top in tops for left in lefts]
    most = max(
        places, key=lambda place: mask is not None and np.count_nonzero(blocks([mask], place)[0])
    )
    return most, [image], None if mask is None else [mask]


def sharpness_of(chain, images, masks):
    """Number of the colours.SHARPNESS under which a block of the largest image costs least, every second row of the rest counted; 0 for none."""
    largest = max(range(len(images)), key=lambda i: images[i].size)
    place, one, mask = _trial(images[largest], masks and masks[largest])
    x, context, recorder = (
        planes(np.stack(blocks(one, place))),
        context_around(one, place, mask),
        Recorder(),
    )
    inside = context_chain(chain.forward_table, chain.levels[:1], context)[0]
    y = chain.forward[0].pop(Stack(np.random.default_rng(0).bytes(4 * x.size + 64)), x, inside)
    chain.reverse[0].push(None, x, y, inside, recorder)
    counts = Colours(1)
    for pixels in images:
        counts.count_all(planes(pixels[::2]))
    counts.count_all(x[:, :, (-place.top) % 2 :: 2], -1)
    every = max(1, x.size // TRIED)
    plain = sum(
        chain.gaussians.information_bits(*(part[::every] for part in array[2:]))
        for array in recorder.arrays
    )
    costs = [plain, *counts.information_bits(chain.gaussians, recorder.arrays, every)]
    best = int(np.argmin(costs))
    return best if costs[best] < (1 - PAYS) * costs[0] else 0


def _colours(sharpness, images, start):
    """Colours that have counted all that the prior codes, or None."""
    if not sharpness:
        return None
    colours, (image, rows, columns) = Colours(sharpness), start
    for i, pixels in enumerate(images[image:]):
        colours.count_all(planes(pixels))
        if not i and rows:
            colours.count_all(planes(pixels[:rows, :columns]), -1)
    return colours


def tune(model: Model, images: list[np.ndarray], steps: int, **options: Any) -> np.ndarray | None:
    """bitsback.tune.tuning.tune, which needs the training code: imported where it is used only."""
    if not steps:
        return None
    from bitsback.tune import tuning

    return tuning.tune(model, images, steps, **options)


def encode_stack(
    images, header, model, device="cpu", progress=lambda share: None, first=b"", tuning=0
):
    """(Header, payload) under the prior, or None where the images are too small to pay for the start.

    images: list of (H, W, 3) or (H, W, 1) uint8; header: a Header with entries and digest; first: the fallback parts before the rows; tuning: as encode_image's.
    """
    flips = _busiest_corner(images[0])
    images = [turned(pixels, flips) for pixels in images]
    told, masks = flat_map.told(images)
    blurred, top = block_means.told(images, Top.fitted(images, model.levels), model.levels)
    deltas = tune(
        model,
        images,
        tuning,
        masks=masks,
        device=device,
        progress=lambda share: progress(TUNING_SHARE * share),
    )
    coded = (
        (lambda share: progress(TUNING_SHARE + (1 - TUNING_SHARE) * share)) if tuning else progress
    )
    chain = model.chain(device) if deltas is None else model.tuned_chain(deltas, device)
    sharpness = sharpness_of(chain, images, masks)
    for start in _starts([pixels.shape[:2] for pixels in images]):
        credit = first + fallback_parts(images, start)
        stack = Stack(credit)
        before = stack.size_bits
        segments = push_segments(
            chain, stack, images, start, top, coded, masks, _colours(sharpness, images, start)
        )
        if segments:
            numbers, net = (
                tuple(n for pair in zip(top.mean32, top.scale) for n in pair),
                stack.size_bits - before,
            )
            stack.push_uniform(np.frombuffer(told, np.uint8), 256)
            stack.push_uniform(np.frombuffer(blurred, np.uint8), 256)
            before += 8 * (len(told) + len(blurred))
            if (
                deltas is not None
            ):  # last in, first out: they make the network that decodes the rest
                model.deltas.push(stack, deltas)
            return dataclasses.replace(
                header,
                model=model.id[:16],
                net_bits=net,
                flat_bytes=len(told),
                mean_bytes=len(blurred),
                sharpness=sharpness,
                tuned_bits=stack.size_bits - before - net,
                credit_bytes=len(credit),
                flips=flips,
                start=start,
                segments=segments,
                top=numbers,
            ), stack.to_words()
    return None


def open_stack(header, payload, model, images, device="cpu"):
    """(Chain, Stack, Top, masks, Colours or None) from which the segments of a file pop: the mirror of encode_stack's end.  Errors: DamagedFile.

    images: turned views of the images under the prior, into which flat blocks are painted; masks: as segments.context_around's.
    """
    stack = Stack.from_words(payload)
    try:
        deltas = model.deltas.pop(stack) if header.tuned_bits else None
        blurred, told = (
            stack.pop_uniform(count, 256).astype(np.uint8).tobytes()
            for count in (header.mean_bytes, header.flat_bytes)
        )
    except StackEmpty:
        raise DamagedFile("the words end too early") from None
    top, masks = (
        Top(header.top[::2], header.top[1::2]),
        flat_map.read(told, images) if told else None,
    )
    top = (
        block_means.read(blurred, [pixels.shape for pixels in images], top, model.levels)
        if blurred
        else top
    )
    return (
        model.chain(device) if deltas is None else model.tuned_chain(deltas, device),
        stack,
        top,
        masks,
        Colours(header.sharpness) if header.sharpness else None,
    )
