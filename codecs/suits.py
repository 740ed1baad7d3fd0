"""Which pictures the prior is worth trying on, and how long that takes.

The file itself is always the smaller of two; this only saves the time of a trial that cannot win, and, in
an archive, tells which pictures share the stack.
"""
import functools
import time

import numpy as np

from ..chain import Top
from ..context import nothing
from ..errors import StackEmpty
from ..stack import Stack
from ..tuning import passes
from .plain import encode_plain, webp_size
from .segments import planes
from .still import Still, strips

PHOTOGRAPHIC, NOISE = 2.0, 6.0  # bits a dimension of photographs; on graphics the best WebP may be half the quick one
FEW_COLOURS, FEW_GREYS, MANY_PIXELS = 256, 24, 128 * 128        # no photograph of so many pixels has so few of them: the prior is not tried
TRIAL = 256                     # side of the crop on which a picture of an archive shows what suits it
LONG = 1                        # megapixels


def _few_colours(colour):
    if colour.shape[2] == 1:
        return np.count_nonzero(sum(np.bincount(rows.ravel(), minlength=256) for rows in strips(colour))) <= FEW_GREYS
    seen = np.zeros(2**24, bool)
    for rows in strips(colour):
        r, g, b = (rows[..., i].astype(np.uint32) for i in range(3))
        seen[r << 16 | g << 8 | b] = True
        if np.count_nonzero(seen) > FEW_COLOURS:
            return False
    return True


def may_suit(still: Still) -> bool:
    """Whether the prior is worth trying: its modes, not the few colours of a drawing."""
    return still.colour is not None and (still.height * still.width <= MANY_PIXELS or not _few_colours(still.colour))


@functools.lru_cache(maxsize=4)
def seconds_a_megapixel(model, device) -> float:
    """Of coding under the prior, here and now: one level of a block of TRIAL pixels a side, timed once it runs warm, times the levels."""
    chain, rng = model.chain(device), np.random.default_rng(0)
    x = np.clip(rng.normal(0, 30, (1, 3, TRIAL, TRIAL)), -128, 127).astype(np.int32)
    for _ in range(2):
        stack, begin = Stack(rng.bytes(2 * x.size)), time.perf_counter()
        chain.reverse[0].push(stack, x, chain.forward[0].pop(stack, x, nothing(x)), nothing(x))
        seconds = time.perf_counter() - begin
    return seconds * len(model.levels) / (TRIAL**2 / 1e6)


def estimate(stills: list[Still], verify: bool, model, device, tuning=0) -> tuple[float, float]:
    """(Seconds that coding takes under the prior, megapixels) of pictures; below LONG megapixels the time is not worth knowing, and 0."""
    pixels = sum(still.height * still.width for still in stills if may_suit(still))
    if pixels < LONG * 1e6:
        return 0, pixels / 1e6
    work = pixels * (1 + verify) + passes(pixels, tuning) / len(model.levels)
    return work / 1e6 * seconds_a_megapixel(model, device), pixels / 1e6


def suits_prior(still: Still, model, device) -> bool:
    """Whether a picture of an archive goes under the prior.  What conventional coding says is no photograph is tried on a crop."""
    quick = webp_size(still.colour)
    if quick is None or PHOTOGRAPHIC < 8 * quick / still.colour.size < NOISE:
        return True
    top, left = max(0, still.height - TRIAL) // 2, max(0, still.width - TRIAL) // 2
    crop = np.ascontiguousarray(still.colour[top:top + TRIAL, left:left + TRIAL])
    stack, x = Stack(np.random.default_rng(0).bytes(2 * crop.size + 64)), planes(crop)
    before = stack.size_bits
    try:
        model.chain(device).push(stack, x, Top.fitted([crop], model.levels), nothing(x))
    except StackEmpty:
        return False
    return stack.size_bits - before < 8 * len(encode_plain(crop))
