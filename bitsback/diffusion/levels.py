"""The coder's own noise levels: lattices, forward steps, and the integer tables of each step.

Level k lives on multiples of spacing_k = 2^exponent_k gray levels.  Its forward step
q(y_k | y_{k-1}) is one row set of the Gaussian table: mean y_{k-1} (y_{-1} = x), sd one of the
listed scales.  Integrating over bins adds spacing^2 / 12 to the variance, so

    sigma_k^2 = sigma_{k-1}^2 + tau_k^2 + spacing_k^2 / 12,     tau_k = spacing_k * scale_sd(step_k)

and the sigmas are derived from two integers a level.  Everything the coder needs from the
formulas of schedule.py is turned into integers here, once, when a model is exported.
"""

import math
from dataclasses import dataclass

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.diffusion.schedule import geometric, preconditioning, reverse_step

MEAN_BITS = 8  # network means: 1/256
SCALE_UNIT = 16  # network scales: 1/16 of a doubling of the sd
COLOUR_BITS = 6  # network colour coefficients: 1/64
GAIN_BITS = 8  # gain of a colour coefficient: 1/256
FINE_BITS = 6  # means on their way to the table: 1/64 spacing
SHIFT = 16  # fixed point of the constants that make means: 1/2^16 spacing
INVERSE_BITS = 12  # inverse sd of innovations: 1/2^12
V_INDICES = 256  # scales of v: sd = 2^((index - V_ONE) / 16) gray levels
V_ONE = 96
EVEN, SIGMA_MIN, SIGMA_MAX = 12, 0.5, 285.0
CLOSENESS = 1.7  # of nearest_levels: below 1.2 sigma from about 12 levels on


@dataclass(frozen=True)
class Level:
    """Two integers: spacing = 2^exponent gray levels, forward step = scale index `step`."""

    exponent: int
    step: int

    @property
    def spacing(self):
        return 2.0**self.exponent


def sigmas(levels):
    """Noise of each level, gray levels, rounding to the lattice included."""
    result, variance = [], 0.0
    for level in levels:
        variance += (
            level.spacing * gaussian_tables.scale_sd(level.step)
        ) ** 2 + level.spacing**2 / 12
        result.append(math.sqrt(variance))
    return result


def doubling(count=10, first_exponent=-1):
    """`count` levels, each twice as noisy as the one before: sigma_k = 1.22 spacing_k."""
    levels = [Level(first_exponent, gaussian_tables.SCALE_ONE + 4)]
    levels += [Level(first_exponent + k, gaussian_tables.SCALE_ONE) for k in range(1, count)]
    return tuple(levels)


def nearest_levels(wanted, coarseness=1.2):
    """Levels whose sigmas are as near to `wanted` (rising) as the lists of integers allow.

    A lattice's spacing is the largest power of two up to `coarseness` sigmas and up to CLOSENESS a sigma, a to the
    next level (of the last: from the one before).  Rounded means cost (spacing / lambda)^2 a level, lambda^2 = a sigma^2, and
    there are about 1 / a levels a doubling: spacings in proportion to a sigma keep the sum where it is for few levels.
    """
    levels, variance = [], 0.0
    for k, sigma in enumerate(wanted):
        near, far = wanted[min(k, len(wanted) - 2) :][:2] if len(wanted) > 1 else (0.0, 1.0)
        a = 1 - (near / far) ** 2
        exponent = math.floor(math.log2(min(coarseness, CLOSENESS * a) * sigma))
        forward = math.sqrt(max(sigma**2 - variance - 4.0**exponent / 12, 1e-9)) / 2.0**exponent
        levels.append(Level(exponent, int(gaussian_tables.scale_index(forward))))
        variance = sigmas(levels)[-1] ** 2
    return tuple(levels)


def spaced(count=EVEN, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, coarseness=1.2):
    """`count` levels as near to evenly spaced in log sigma as the lists of integers allow."""
    return nearest_levels(geometric(sigma_min, sigma_max, count), coarseness)


def default_levels():
    """The coder's levels: the first four of 12 that are even in log sigma, then five instead of eight.

    A level takes about as long as any other, and the noisier eight said a quarter of a picture: five say the same in 0.7 % of it more (benchmarks/checkpoints/README.md).
    """
    even = geometric(SIGMA_MIN, SIGMA_MAX, EVEN)
    return nearest_levels([*even[:4], 6.2, 15, 41, 0.75 * even[-2], even[-1]])


def forward_mean32(levels, k, previous):
    """Mean of q(y_k | y_{k-1}) in 1/32 spacings of level k; previous: int32 indices of level k - 1, pixels - 128 for k = 0."""
    shift = levels[k].exponent - (levels[k - 1].exponent if k else 0)
    fine = previous << gaussian_tables.FRACTION_BITS
    return fine >> shift if shift >= 0 else fine << -shift


@dataclass(frozen=True)
class Step:
    """Integers of p(y_s | y_t), or of p(x | y_0): s is `None`'s lattice of pixels then.

    mean = from_y * n_t + from_f * f in 1/2^SHIFT spacings of s.  The arrays are
    indexed by the scale of v (0..255): `scale` a row set of the Gaussian table, `gain` of colour
    coefficients, `shift` of the head's mean, `inverse` sd of innovations.
    """

    input_scale: int  # integer input of the network = (input_scale * n_t + half) >> 8
    from_y: int
    from_f: int
    base: int  # index of v where the network says 0
    scale: np.ndarray  # (256,) int32
    gain: np.ndarray  # (256,) int32, 1/256
    shift: np.ndarray  # (256,) int32, 1/2^(SHIFT - MEAN_BITS) spacings
    inverse: np.ndarray  # (256,) int32, 1/2^INVERSE_BITS


def make_step(sigma_t, spacing_t, sigma_s=None, spacing_s=1.0):
    """The integers of one reverse step; sigma_s None makes p(x | y_0)."""
    pixels = sigma_s is None
    a, lambda2 = (1.0, 0.0) if pixels else reverse_step(sigma_s, sigma_t)
    c_skip, c_out, c_in = preconditioning(sigma_t)
    v = a * a * 4.0 ** ((np.arange(V_INDICES) - V_ONE) / SCALE_UNIT)
    total = v + lambda2
    binned = total if pixels else np.maximum(total - spacing_s**2 / 12, 1e-12)
    gain = np.ones_like(v) if pixels else v / total
    innovation = np.sqrt(total + (1 / 12 if pixels else 0.0))
    integers = lambda array: np.rint(array).astype(np.int32)  # noqa: E731
    return Step(
        input_scale=round(256 * spacing_t * c_in * 256),
        from_y=round(((1 - a) + a * c_skip) * spacing_t / spacing_s * 2**SHIFT),
        from_f=round(a * c_out / spacing_s * 2 ** (SHIFT - MEAN_BITS)),
        base=round(V_ONE + SCALE_UNIT * (math.log2(c_out) - 0.5 / math.log(2))),
        scale=gaussian_tables.scale_index(np.sqrt(binned) / spacing_s),
        gain=integers(gain * 2**GAIN_BITS),
        shift=integers(np.minimum(np.sqrt(total) / spacing_s, 8) * gain * 2 ** (SHIFT - MEAN_BITS)),
        inverse=integers(spacing_s / innovation * 2**INVERSE_BITS),
    )


def make_steps(levels):
    """Steps of all levels: index 0 is p(x | y_0), index k is p(y_{k-1} | y_k)."""
    sigma = sigmas(levels)
    steps = [make_step(sigma[0], levels[0].spacing)]
    for k in range(1, len(levels)):
        steps.append(make_step(sigma[k], levels[k].spacing, sigma[k - 1], levels[k - 1].spacing))
    return steps
