"""Exact samples of the coder's distribution: decoding from random bits.

Popping a distribution from uniformly random words samples it with its exact integer frequencies, so
the code that decodes files also samples the coder's reverse chain, passes and colours included.
Unlike in decoding nothing is pushed between the pops: the bits that pushes of q return would no
longer be random.  As in the tables, one value in 2^21 is an escape, anywhere in 16 bits: a dot.
"""

import math

import numpy as np
import torch
from torch import Tensor

from bitsback.ans import gaussian_tables
from bitsback.ans.lanes import Lanes
from bitsback.coder.chain import Chain
from bitsback.coder.context import no_context
from bitsback.coder.top import Top
from bitsback.diffusion.levels import Levels, sigmas
from bitsback.diffusion.schedule import DATA_SD
from bitsback.sampling.starts import noised

# Random bits a dimension and level: a row of 64 frequencies takes 6 at most on average, an escape
# in a thousand 16 more
BITS_A_VALUE = 8


def wide_top(levels: Levels) -> Top:
    """The Top of an unknown image: mean 0, standard deviation DATA_SD in every channel."""
    spacing = levels[-1].spacing
    sd = math.sqrt(sigmas(levels)[-1] ** 2 + DATA_SD**2 - spacing**2 / 12)
    scale = int(gaussian_tables.scale_index(sd / spacing))
    return Top((0, 0, 0), (scale, scale, scale))


def nearest_level(levels: Levels, sigma: float) -> int:
    """Index of the level whose sigma is nearest by ratio."""
    return min(range(len(levels)), key=lambda k: abs(math.log(sigmas(levels)[k] / sigma)))


def on_lattice(levels: Levels, k: int, x: Tensor, generator: torch.Generator) -> np.ndarray:
    """y_k from q(y_k | x) in one step: lattice indices of level k, int32.

    x: (B, 3, H, W) float, pixels - 128.
    """
    spacing = levels[k].spacing
    sd = math.sqrt(sigmas(levels)[k] ** 2 - spacing**2 / 12)  # rounding is the rest of the noise
    return torch.round(noised(x, sd, generator) / spacing).to(torch.int32).numpy()


def random_bits(count: int, generator: torch.Generator, lanes: int = 64) -> Lanes:
    """Lanes over `count` random bytes."""
    numbers = torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator)
    found = Lanes(numbers.numpy().tobytes())
    found.widen(lanes)
    return found


def draw(
    chain: Chain,
    lanes: Lanes,
    shape: tuple[int, ...],
    start: tuple[int, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """One sample of all levels, noisiest first: (B, 3, H, W) int32, the last are pixels - 128.

    start: (k, y_k) to begin below the top.  A pixel may rarely lie outside -128..127.
    Errors: StackEmpty.
    """
    top = len(chain.levels) - 1
    k, y = start or (
        top,
        wide_top(chain.levels).pop(
            chain.gaussians, lanes, shape, no_context(np.empty(shape, np.int32))
        ),
    )
    values = [y]
    for reverse in reversed(chain.reverse[: k + 1]):
        values.append(reverse.pop(lanes, values[-1], no_context(values[-1])))
    return values


def sample_chain(
    chain: Chain,
    shape: tuple[int, ...],
    generator: torch.Generator,
    start: tuple[int, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """`draw` from random bits of `generator`, as many as it can need."""
    count = math.prod(shape) * BITS_A_VALUE // 8 * (len(chain.levels) + 1) + 512
    return draw(chain, random_bits(count, generator), shape, start)
