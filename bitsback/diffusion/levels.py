"""The coder's noise levels: lattices and forward steps.

Level k lives on multiples of spacing_k = 2^exponent_k gray levels.  Its forward step
q(y_k | y_{k-1}) is one row set of the Gaussian table: mean y_{k-1} (y_{-1} = x), sd one of the
listed scales.  Integrating over bins adds spacing^2 / 12 to the variance, so

    sigma_k^2 = sigma_{k-1}^2 + tau_k^2 + spacing_k^2 / 12,     tau_k = spacing_k * scale_sd(step_k)

and the sigmas follow from two integers a level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.diffusion.schedule import geometric

EVEN, SIGMA_MIN, SIGMA_MAX = 12, 0.5, 285.0
CLOSENESS = 1.7  # of nearest_levels: below 1.2 sigma from about 12 levels on


@dataclass(frozen=True)
class Level:
    """Two integers: spacing = 2^exponent gray levels; forward step: scale index `step`."""

    exponent: int
    step: int

    @property
    def spacing(self) -> float:
        return 2.0**self.exponent


Levels = Sequence[Level]


def sigmas(levels: Levels) -> list[float]:
    """Noise of each level, gray levels, rounding to the lattice included."""
    result: list[float] = []
    variance = 0.0
    for level in levels:
        variance += (
            level.spacing * gaussian_tables.scale_sd(level.step)
        ) ** 2 + level.spacing**2 / 12
        result.append(math.sqrt(variance))
    return result


def doubling(count: int = 10, first_exponent: int = -1) -> tuple[Level, ...]:
    """`count` levels, each twice as noisy as the one before: sigma_k = 1.22 spacing_k."""
    levels = [Level(first_exponent, gaussian_tables.SCALE_ONE + 4)]
    levels += [Level(first_exponent + k, gaussian_tables.SCALE_ONE) for k in range(1, count)]
    return tuple(levels)


def nearest_levels(wanted: Sequence[float], coarseness: float = 1.2) -> tuple[Level, ...]:
    """Levels whose sigmas are as near to `wanted` (rising, gray levels) as the integers allow.

    A lattice's spacing is the largest power of two up to `coarseness` sigma and up to CLOSENESS
    a sigma, where a is that of the step to the next level (for the last: from the one before).
    Rounded means cost (spacing / lambda)^2 a level, lambda^2 = a sigma^2, and there are about 1 / a
    levels a doubling: with spacings in proportion to a sigma, more levels cost no more in total.
    """
    levels: list[Level] = []
    variance = 0.0
    for k, sigma in enumerate(wanted):
        near, far = wanted[min(k, len(wanted) - 2) :][:2] if len(wanted) > 1 else (0.0, 1.0)
        a = 1 - (near / far) ** 2
        exponent = math.floor(math.log2(min(coarseness, CLOSENESS * a) * sigma))
        forward = math.sqrt(max(sigma**2 - variance - 4.0**exponent / 12, 1e-9)) / 2.0**exponent
        levels.append(Level(exponent, int(gaussian_tables.scale_index(forward))))
        variance = sigmas(levels)[-1] ** 2
    return tuple(levels)


def spaced(
    count: int = EVEN,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    coarseness: float = 1.2,
) -> tuple[Level, ...]:
    """`count` levels as near to evenly spaced in log sigma as the lists of integers allow."""
    return nearest_levels(geometric(sigma_min, sigma_max, count), coarseness)


def default_levels() -> tuple[Level, ...]:
    """The coder's levels: the first four of 12 that are even in log sigma, then five for eight.

    All levels take about equal time, and the noisy ones hold few bits: fewer of them cost little
    (benchmarks/checkpoints/README.md).
    """
    even = geometric(SIGMA_MIN, SIGMA_MAX, EVEN)
    return nearest_levels([*even[:4], 6.2, 15, 41, 0.75 * even[-2], even[-1]])


def forward_mean32(levels: Levels, k: int, previous: np.ndarray) -> np.ndarray:
    """Mean of q(y_k | y_{k-1}) in 1/32 spacings of level k, int32.

    previous: int32, indices of level k - 1, or pixels - 128 for k = 0.
    """
    shift = levels[k].exponent - (levels[k - 1].exponent if k else 0)
    fine = previous << gaussian_tables.FRACTION_BITS
    return fine >> shift if shift >= 0 else fine << -shift
