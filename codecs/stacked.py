"""The stack of a file: pictures under the prior, what is told of them, and the deltas of the model, in the order of a decoder's pops.

    pushed last      deltas (tuned.py)               popped first: they make the network that decodes the rest
                     what tells flat blocks          (flats.py)
                     segments                        (segments.py)
    at the bottom    the plain parts                 (picture.py): the first credit
"""
import dataclasses
import math

import numpy as np

from ..chain import Top
from ..errors import DamagedFile, StackEmpty
from ..stack import Stack
from ..tuned import Deltas
from ..tuning import tune
from . import flats
from .places import STEP, Corner, turned
from .plain import webp_size
from .segments import plain_parts, push_segments

START_SIDE, START_SHARE = 64, 8 # the plain block: a square of 64 pixels, or 1/8 of a small picture's side; doubled where it is too little credit
SMALLEST = 48 * 48              # pixels below which the prior is not tried
TUNING_SHARE = 0.4              # of the time, about


def _starts(sizes):
    """Corners to try as the end of the plain parts: growing blocks of the first picture, then whole pictures."""
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


def _busiest_corner(pixels):
    """Flips that bring the corner with the most bytes to the top left: more credit for the first segments."""
    corner = lambda flips: turned(pixels, flips)[:START_SIDE, :START_SIDE]     # noqa: E731
    return max(range(4), key=lambda flips: webp_size(np.ascontiguousarray(corner(flips))))


def encode_stack(images, header, model, device="cpu", progress=lambda share: None, first=b"", tuning=0):
    """(Header, payload) under the prior, or None where the pictures are too small to pay for the start.

    images: list of (H, W, 3) or (H, W, 1) uint8; header: a Header with entries and digest; first: the plain parts before the rows; tuning: as encode_still's.
    """
    top = Top.fitted(images, model.levels)
    flips = _busiest_corner(images[0])
    images = [turned(pixels, flips) for pixels in images]
    told, masks = flats.told(images)
    deltas = tune(model, images, tuning, device=device, progress=lambda share: progress(TUNING_SHARE * share))
    coded = progress if deltas is None else lambda share: progress(TUNING_SHARE + (1 - TUNING_SHARE) * share)
    chain = model.chain(device) if deltas is None else model.tuned_chain(deltas, device)
    for start in _starts([pixels.shape[:2] for pixels in images]):
        credit = first + plain_parts(images, start)
        stack = Stack(credit)
        before = stack.size_bits
        segments = push_segments(chain, stack, images, start, top, coded, masks)
        if segments:
            numbers, net = tuple(n for pair in zip(top.mean32, top.scale) for n in pair), stack.size_bits - before
            stack.push_uniform(np.frombuffer(told, np.uint8), 256)
            before += 8 * len(told)
            if deltas is not None:                      # last in, first out: they make the network that decodes the rest
                Deltas(model.gaussians, model.layers).push(stack, deltas)
            return dataclasses.replace(header, model=model.id[:16], net_bits=net, flat_bytes=len(told), tuned_bits=stack.size_bits - before - net, credit_bytes=len(credit),
                                       flips=flips, start=start, segments=segments, top=numbers), stack.to_words()
    return None


def open_stack(header, payload, model, images, device="cpu"):
    """(Chain, Stack, masks) from which the segments of a file pop: the mirror of encode_stack's end.  Errors: DamagedFile.

    images: turned views of the pictures under the prior, into which flat blocks are painted; masks: as segments.known_around's.
    """
    stack = Stack.from_words(payload)
    try:
        deltas = Deltas(model.gaussians, model.layers).pop(stack) if header.tuned_bits else None
        told = stack.pop_uniform(header.flat_bytes, 256).astype(np.uint8).tobytes()
    except StackEmpty:
        raise DamagedFile("the words end too early") from None
    masks = flats.read(told, images) if told else None
    return model.chain(device) if deltas is None else model.tuned_chain(deltas, device), stack, masks
