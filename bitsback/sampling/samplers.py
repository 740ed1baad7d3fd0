"""Samplers of the prior, from the coder's reverse chain to SEEDS and restoration-degradation.

All have one signature, sampler(denoiser, start, levels, generator), and return y at levels[-1]:

    denoiser    (y, sigma) -> (xhat, v), mean and variance of x given y = x + sigma eps; v: like y,
                or a number
    start       y at levels[0]: (B, 3, H, W), or any shape; gray levels around 0 (pixels - 128)
    levels      falling sigmas, gray levels; each sampler evaluates the denoiser once at each.  The
                last may be 0: the step to 0 returns xhat, without noise
    generator   torch.Generator on the device of start; deterministic samplers do not use it

A SEEDS-2 step spans two intervals of levels with its stage at the level between, SEEDS-3 three with
two stages; the last step may have fewer.  A step goes from t to s, s cleaner, and h =
log(sigma_t / sigma_s).  Weak orders (of moments), measured by the tests: ancestral 1, but with
grade head it tends to 2 (1.5 at 16 steps, 1.9 at 256) and is exact on Gaussian data; SEEDS-1 1,
SEEDS-2 2, SEEDS-3 tends to 2; DDIM 1; without noise SEEDS-1, -2, -3 have 1, 2, 3, the last only for
levels evenly spaced in log sigma.
"""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bitsback.diffusion.schedule import reverse_step
from bitsback.train.bound import gaussian_noise

Denoise = Callable[[Tensor, float], tuple[Tensor, Tensor | float]]
Sampler = Callable[..., Tensor]
Forward = Callable[[Tensor, float, float], tuple[Tensor, float]]  # see `exploding`


def _mean(values: Tensor) -> Tensor:
    """Mean by channel of each image, (B, 3, 1, 1); of everything where there are no images."""
    return values.mean((-2, -1), keepdim=True) if values.ndim == 4 else values.mean()


# Variance of x given y_t that the reverse step assumes, from the denoiser's v
VARIANCE_GRADES: dict[str, Callable[[Tensor | float, float], Tensor | float]] = {
    "beta-tilde": lambda v, sigma: 0.0,  # VDM: as if xhat were x
    "beta": lambda v, sigma: sigma**2,  # then the step's variance is sigma_t^2 - sigma_s^2
    "scalar": lambda v, sigma: _mean(torch.as_tensor(v)),  # one number a channel
    "head": lambda v, sigma: v,  # by pixel
}


def _blocks(levels: Sequence[float], stages: int) -> list[list[float]]:
    """Levels cut into steps of up to `stages` intervals; neighbours share a level.

    A step to 0 stands alone.
    """
    noisy = [sigma for sigma in levels if sigma > 0]
    blocks = [noisy[i : i + stages + 1] for i in range(0, len(noisy) - 1, stages)]
    return blocks + ([[noisy[-1], 0.0]] if levels[-1] == 0 else [])


def ancestral(
    denoiser: Denoise,
    start: Tensor,
    levels: Sequence[float],
    generator: torch.Generator | None,
    grade: str = "head",
) -> Tensor:
    """The reverse chain p(y_s | y_t) = N((1 - a) y_t + a xhat, lambda2 + a^2 v).

    VDM, arXiv 2107.00630, appendix A; variances as in Analytic-DPM, arXiv 2201.06503, theorem 1,
    whose scalar, from |score|^2, is a small difference of large numbers on one image: here grade
    "scalar" averages the head's v.  grade: a key of VARIANCE_GRADES.
    """
    y = start
    for sigma_t, sigma_s in _blocks(levels, 1):
        xhat, v = denoiser(y, sigma_t)
        if sigma_s == 0:
            return xhat
        a, lambda2 = reverse_step(sigma_s, sigma_t)
        variance = torch.as_tensor(
            lambda2 + a * a * VARIANCE_GRADES[grade](v, sigma_t), dtype=y.dtype, device=y.device
        )
        y = (1 - a) * y + a * xhat + variance.sqrt() * gaussian_noise(y, generator)
    return y


def _seeds_step(
    denoiser: Denoise,
    y: Tensor,
    block: list[float],
    noise: float,
    generator: torch.Generator | None,
) -> Tensor:
    """One step from block[0] to block[-1] with stages at the levels between.

    With k = 1 + noise, E1(u) = 1 - e^-u, E2(u) = 1 - (1 - e^-u)/u, and D0 the denoiser's mean at y,
    every stage and the end itself are  e^-kh y + E1(kh) D0 + E2(kh) h/h' (D' - D0) + n,  where D'
    and h' are those of the stage before.  n is one path of noise: carried on by e^-k(h - h'), with
    fresh noise of variance sigma_s^2 (1 - e^-2 noise (h - h')).
    """
    k, earlier = 1 + noise, 0.0
    carried: Tensor | float = 0.0
    change: Tensor | None = None
    first = denoiser(y, block[0])[0]
    for sigma in block[1:]:
        h = math.log(block[0] / sigma)
        if noise:
            fresh = sigma * math.sqrt(-math.expm1(-2 * noise * (h - earlier)))
            carried = math.exp(-k * (h - earlier)) * carried + fresh * gaussian_noise(y, generator)
        one = -math.expm1(-k * h)
        stage = (1 - one) * y + one * first + carried
        if change is not None:
            stage = stage + (1 - one / (k * h)) * h / earlier * change
        if sigma != block[-1]:
            change, earlier = denoiser(stage, sigma)[0] - first, h
    return stage


def seeds(
    denoiser: Denoise,
    start: Tensor,
    levels: Sequence[float],
    generator: torch.Generator | None,
    stages: int = 3,
    noise: float = 1.0,
) -> Tensor:
    """SEEDS-1, -2, -3 in data prediction: exponential steps, linear part and noise in closed form.

    noise (eta^2): 1 is the reverse SDE, 0 the probability-flow ODE (DPM-Solver++), between them the
    family of SDEs with the same marginals.  Source: arXiv 2305.14267, algorithms 1 to 3, rewritten
    for y = x + sigma eps.
    """
    y = start
    for block in _blocks(levels, stages):
        if block[-1]:
            y = _seeds_step(denoiser, y, block, noise, generator)
        else:
            y = denoiser(y, block[0])[0]
    return y


def ddim(
    denoiser: Denoise,
    start: Tensor,
    levels: Sequence[float],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Deterministic: y_s = xhat + (sigma_s / sigma_t) (y_t - xhat).

    DDIM, arXiv 2010.02502, eq. 12 without noise.
    """
    y = start
    for sigma_t, sigma_s in _blocks(levels, 1):
        xhat = denoiser(y, sigma_t)[0]
        y = xhat + sigma_s / sigma_t * (y - xhat)
    return y


def exploding(y: Tensor, r: float, t: float) -> tuple[Tensor, float]:
    """Mean and sd of y_t given y_r = y, r <= t, in this package's forward process; times: sigma."""
    return y, math.sqrt(t * t - r * r)


def benes(y: Tensor, r: float, t: float) -> tuple[Tensor, float]:
    """Mean and sd of Euler's step of dy = tanh(y) dt + dW (Benes process), which is not linear."""
    return y + (t - r) * torch.tanh(y), math.sqrt(t - r)


def restoration_step(
    forward: Forward, score: Tensor, y: Tensor, t: float, s: float, r: float
) -> Tensor:
    """From time t to s by an earlier time r <= s (arXiv 2303.03384, section 3, for any kernel).

    Restoration: nearly one step of gradient ascent, of size sd^2, on
    log q(y_r | y_t) = log q_r(y_r) + log q(y_t | y_r) + const from y_r = y_t.  The gradient there
    is score_r(y) + J (y - mean) / sd^2, J the transposed Jacobian of the mean by y_r; score_t
    replaces the one at r, and J = 1, which is exact for `exploding`.  Degradation: the forward
    process from r to s, with the noise that would lead from y_r back to y_t.
    forward: (y, r, t) -> mean and sd of y_t given y_r = y; score: grad log q at (y, t).
    """
    mean, sd = forward(y, r, t)
    restored = y + (y - mean) + sd * sd * score
    mean, sd = forward(restored, r, t)
    back = (y - mean) / sd
    mean, sd = forward(restored, r, s)
    return mean + sd * back


def restore_and_degrade(
    forward: Forward,
    score: Callable[[Tensor, float], Tensor],
    start: Tensor,
    times: Sequence[float],
    restore_to: Callable[[float, float], float],
) -> Tensor:
    """restoration_step along falling `times`.

    score: (y, t) -> grad log q_t(y); restore_to: (t, s) -> r.
    """
    y = start
    for t, s in pairwise(times):
        y = restoration_step(forward, score(y, t), y, t, s, restore_to(t, s))
    return y


def restoration_degradation(
    denoiser: Denoise,
    start: Tensor,
    levels: Sequence[float],
    generator: torch.Generator | None = None,
    depth: float = 1.0,
) -> Tensor:
    """Deterministic restoration-degradation.

    depth: how far below sigma_s the restoration goes; 1: down to clean data, which is exactly DDIM;
    0: only to s itself, without degradation: the drift of the SDE without its noise, which goes too
    far for the ODE.
    """

    def score(y: Tensor, sigma: float) -> Tensor:
        return (denoiser(y, sigma)[0] - y) / sigma**2

    return restore_and_degrade(exploding, score, start, levels, lambda t, s: (1 - depth) * s)


SAMPLERS: dict[str, Sampler] = {
    "ancestral": ancestral,
    "seeds1": functools.partial(seeds, stages=1),
    "seeds2": functools.partial(seeds, stages=2),
    "seeds3": functools.partial(seeds, stages=3),
    "ddim": ddim,
    "restoration-degradation": restoration_degradation,
}
