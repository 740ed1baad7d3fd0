"""Which images the prior is worth trying on, and how long that takes.

The file itself is always the smaller of two; this only saves the time of a trial that cannot win, and, in
an archive, tells which images share the stack.
"""

import functools
import time

import numpy as np

from bitsback.ans.stack import Stack
from bitsback.codecs.fallback.codec import encode_fallback, webp_size
from bitsback.codecs.image import ImageData, strips
from bitsback.codecs.segments import planes
from bitsback.coder.chain import Chain
from bitsback.coder.context import no_context
from bitsback.coder.top import Top
from bitsback.tune.tuning import passes

PHOTOGRAPHIC, NOISE = (
    2.0,
    6.0,
)  # bits a dimension of photographs; on graphics the best WebP may be half the quick one
FEW_COLOURS, FEW_GRAYS, MANY_PIXELS = (
    256,
    24,
    128 * 128,
)  # no photograph of so many pixels has so few of them: the prior is not tried
TRIAL = 256  # side of the crop on which an image of an archive shows what suits it
LONG = 1  # megapixels


def _few_colours(colour):
    if colour.shape[2] == 1:
        return (
            np.count_nonzero(
                sum(np.bincount(rows.ravel(), minlength=256) for rows in strips(colour))
            )
            <= FEW_GRAYS
        )
    seen = np.zeros(2**24, bool)
    for rows in strips(colour):
        r, g, b = (rows[..., i].astype(np.uint32) for i in range(3))
        seen[r << 16 | g << 8 | b] = True
        if np.count_nonzero(seen) > FEW_COLOURS:
            return False
    return True


def may_suit(image: ImageData) -> bool:
    """Whether the prior is worth trying: its modes, not the few colours of a drawing."""
    return image.colour is not None and (
        image.height * image.width <= MANY_PIXELS or not _few_colours(image.colour)
    )


@functools.lru_cache(maxsize=4)
def seconds_a_megapixel(model, device) -> float:
    """Of coding under the prior, here and now: one level of a block of TRIAL pixels a side, timed once it runs warm, times the levels."""
    chain, rng = model.chain(device), np.random.default_rng(0)
    x = np.clip(rng.normal(0, 30, (1, 3, TRIAL, TRIAL)), -128, 127).astype(np.int32)
    for _ in range(2):
        stack, begin = Stack(rng.bytes(2 * x.size)), time.perf_counter()
        chain.reverse[0].push(
            stack, x, chain.forward[0].pop(stack, x, no_context(x)), no_context(x)
        )
        seconds = time.perf_counter() - begin
    return seconds * len(model.levels) / (TRIAL**2 / 1e6)


def estimate(images: list[ImageData], verify: bool, model, device, tuning=0) -> tuple[float, float]:
    """(Seconds that coding takes under the prior, megapixels) of images; below LONG megapixels the time is not worth knowing, and 0."""
    pixels = sum(image.height * image.width for image in images if may_suit(image))
    if pixels < LONG * 1e6:
        return 0, pixels / 1e6
    work = pixels * (1 + verify) + passes(pixels, tuning) / len(model.levels)
    return work / 1e6 * seconds_a_megapixel(model, device), pixels / 1e6


class _Meter:
    """In place of a chain's Gaussians: counts what is pushed, and takes off what is popped, image by image.  bits: (B,) float64."""

    def __init__(self, gaussians, bits):
        self.gaussians, self.frequencies, self.bits = gaussians, gaussians.frequencies, bits

    def _each(self, *arguments):
        return self.gaussians.bits_of_each(*arguments).reshape(len(self.bits), -1).sum(1)

    def push(self, stack, values, mean32, scale, escapes=True):
        self.bits += self._each(values, mean32, scale, escapes)

    def pop(self, stack, mean32, scale, escapes=True):
        values = self.gaussians.pop(stack, mean32, scale, escapes)
        self.bits -= self._each(values, mean32, scale, escapes)
        return values


def prior_bits(crops, model, device):
    """(B,) float64: bits of each of (B, H, W, C) uint8 under the prior, in one pass of the network for all."""
    chain, bits, x = model.chain(device), np.zeros(len(crops)), planes(crops)
    stack = Stack(
        np.random.default_rng(0).bytes(len(model.levels) * x.size + 64)
    )  # a byte a dimension and level: none pops more than half of it
    meter = Chain(
        chain.network,
        _Meter(chain.gaussians, bits),
        _Meter(chain.forward_table, bits),
        chain.levels,
    )
    meter.push(stack, x, Top.fitted(list(crops), model.levels), no_context(x))
    return bits


def suit_prior(images: list[ImageData], model, device, fallback=encode_fallback) -> list[bool]:
    """Which images of an archive go under the prior, of those that it codes.  What fallback codec says are no photographs are tried on crops.

    Crops of one size are tried together: an image of 8x8 alone takes nearly as long as a hundred.  conventional: as encode_plain.
    """
    suited, sizes = [True] * len(images), {}
    for i, image in enumerate(images):
        quick = webp_size(image.colour)
        if quick is None or PHOTOGRAPHIC < 8 * quick / image.colour.size < NOISE:
            continue
        top, left = max(0, image.height - TRIAL) // 2, max(0, image.width - TRIAL) // 2
        crop = np.ascontiguousarray(image.colour[top : top + TRIAL, left : left + TRIAL])
        sizes.setdefault(crop.shape, []).append((i, crop))
    for (height, width, _), tried in sizes.items():
        at_once = max(1, TRIAL**2 // (height * width))
        for some in (tried[begin : begin + at_once] for begin in range(0, len(tried), at_once)):
            bits = prior_bits(np.stack([crop for _, crop in some]), model, device)
            for (i, crop), cost in zip(some, bits):
                suited[i] = bool(cost < 8 * len(fallback(crop)))
    return suited
