"""The coder's own belief, drawn exactly: what decoding finds in random bits.

Popping a distribution from uniformly random words draws from it, frequency by integer frequency, so the coder's reverse chain,
passes and colours included, is sampled by the very code that decodes files.  Nothing is pushed in between, unlike in
decoding, where q's pushes give bits back that the next pop would meet: random no longer.  To the letter: one value in
2^21 is an escape, as the tables say, and lies anywhere in 16 bits; it shows as a dot.
"""

import math

import numpy as np
import torch

from bitsback.ans import gaussian_tables
from bitsback.ans.stack import Stack
from bitsback.coder.context import no_context
from bitsback.coder.top import Top
from bitsback.diffusion.levels import sigmas
from bitsback.diffusion.schedule import DATA_SD
from bitsback.sampling.starts import noised

BITS = 8  # random bits a dimension and level: a row of 64 frequencies asks for 6 at most, an escape in a thousand for 16 more


def wide_top(levels):
    """The Top of an unknown image: mean 0, standard deviation DATA_SD in every channel."""
    spacing = levels[-1].spacing
    scale = int(
        gaussian_tables.scale_index(
            math.sqrt(sigmas(levels)[-1] ** 2 + DATA_SD**2 - spacing**2 / 12) / spacing
        )
    )
    return Top((0, 0, 0), (scale, scale, scale))


def nearest_level(levels, sigma):
    """Index of the level whose sigma is nearest by ratio."""
    return min(range(len(levels)), key=lambda k: abs(math.log(sigmas(levels)[k] / sigma)))


def on_lattice(levels, k, x, generator):
    """y_k of pixels x (B, 3, H, W) float, minus 128: lattice indices of level k, int32, from q(y_k | x) in one step."""
    spacing = levels[k].spacing
    sd = math.sqrt(sigmas(levels)[k] ** 2 - spacing**2 / 12)  # rounding is the rest of the noise
    return torch.round(noised(x, sd, generator) / spacing).to(torch.int32).numpy()


def random_stack(count, generator):
    """A stack of `count` random bytes."""
    return Stack(
        torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator).numpy().tobytes()
    )


def draw(chain, stack, shape, start=None):
    """One draw of all levels, noisiest first: list of (B, 3, H, W) int32, the last are pixels minus 128.

    start: (k, y_k) to begin below the top.  Values of pixels may lie outside -128..127, rarely.  Errors: StackEmpty.
    """
    top = len(chain.levels) - 1
    k, y = start or (
        top,
        wide_top(chain.levels).pop(
            chain.gaussians, stack, shape, no_context(np.empty(shape, np.int32))
        ),
    )
    values = [y]
    for reverse in reversed(chain.reverse[: k + 1]):
        values.append(reverse.pop(stack, values[-1], no_context(values[-1])))
    return values


def sample_chain(chain, shape, generator, start=None):
    """draw() from bits of `generator`: as many as it can need."""
    count = math.prod(shape) * BITS // 8 * (len(chain.levels) + 1) + 64
    return draw(chain, random_stack(count, generator), shape, start)
