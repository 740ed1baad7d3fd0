"""Fixed-point tables of the reverse steps p(y_s | y_t) and of p(x | y_0).

Everything the coder needs from the formulas of schedule.py is turned into integers here, once,
when a model is exported (ARITHMETIC.md, section 7).
"""

import math
from dataclasses import dataclass

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.diffusion.levels import Levels, sigmas
from bitsback.diffusion.schedule import preconditioning, reverse_step

MEAN_BITS = 8  # network means: 1/256
SCALE_UNIT = 16  # network scales: 1/16 of a doubling of the sd
COLOUR_BITS = 6  # network colour coefficients: 1/64
GAIN_BITS = 8  # gain of a colour coefficient: 1/256
FINE_BITS = 6  # means on their way to the table: 1/64 spacing
SHIFT = 16  # fixed point of the constants that make means: 1/2^16 spacing
INVERSE_BITS = 12  # inverse sd of innovations: 1/2^12
V_INDICES = 256  # scales of v: sd = 2^((index - V_ONE) / 16) gray levels
V_ONE = 96


@dataclass(frozen=True)
class Step:
    """Integers of p(y_s | y_t), or of p(x | y_0), whose values are pixels, at a spacing of 1.

    mean = from_y * n_t + from_f * f in 1/2^SHIFT spacings of s.  The arrays are indexed by the
    scale of v (0..255): `scale` is a row set of the Gaussian table, `gain` multiplies colour
    coefficients, `shift` the head's mean, `inverse` (of the sd) innovations.
    """

    input_scale: int  # integer input of the network = (input_scale * n_t + half) >> 8
    from_y: int
    from_f: int
    base: int  # index of v where the network's output is 0
    scale: np.ndarray  # (256,) int32
    gain: np.ndarray  # (256,) int32, 1/256
    shift: np.ndarray  # (256,) int32, 1/2^(SHIFT - MEAN_BITS) spacings
    inverse: np.ndarray  # (256,) int32, 1/2^INVERSE_BITS


def make_step(
    sigma_t: float, spacing_t: float, sigma_s: float | None = None, spacing_s: float = 1.0
) -> Step:
    """The integers of one reverse step; sigma_s None makes p(x | y_0)."""
    pixels = sigma_s is None
    a, lambda2 = (1.0, 0.0) if sigma_s is None else reverse_step(sigma_s, sigma_t)
    c_skip, c_out, c_in = preconditioning(sigma_t)
    v = a * a * 4.0 ** ((np.arange(V_INDICES) - V_ONE) / SCALE_UNIT)
    total = v + lambda2
    binned = total if pixels else np.maximum(total - spacing_s**2 / 12, 1e-12)
    gain = np.ones_like(v) if pixels else v / total
    innovation = np.sqrt(total + (1 / 12 if pixels else 0.0))

    def integers(array: np.ndarray) -> np.ndarray:
        return np.rint(array).astype(np.int32)

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


def make_steps(levels: Levels) -> list[Step]:
    """Steps of all levels: index 0 is p(x | y_0), index k is p(y_{k-1} | y_k)."""
    sigma = sigmas(levels)
    steps = [make_step(sigma[0], levels[0].spacing)]
    for k in range(1, len(levels)):
        steps.append(make_step(sigma[k], levels[k].spacing, sigma[k - 1], levels[k - 1].spacing))
    return steps
