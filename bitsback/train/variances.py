"""Grades of the reverse variance p(y_s | y_t) = N((1 - a) y_t + a xhat, lambda^2 + a^2 v).

v is the variance of x given y_t:

    beta-tilde              v = 0; VDM, arXiv 2107.00630
    beta                    v = sigma_t^2: the total is sigma_t^2 - sigma_s^2
    analytic                v = sigma_t^2 (1 - sigma_t^2 Gamma), Gamma = E |score|^2 a dimension,
                            clipped to [0, min(sigma_t^2, 127.5^2)];
                            Analytic-DPM, arXiv 2201.06503, theorem 1 and corollary
    error                   v = E (x - xhat)^2 by level and channel: right for any mean (NPR)
    head                    v by pixel, from the network
    head+colour             the same, with R given G, B given G and R
    head+colour+passes      the same, with later passes given earlier ones: the coder's (bound.py)

This module measures them, in floating point; the coder uses the last.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitsback.diffusion.schedule import preconditioning, reverse_step
from bitsback.train.bound import (
    BoundNetwork,
    colour_mean,
    gaussian_noise,
    level_nats,
    log_variance,
    per_image,
    pixel_nats,
)

BOUND_GRADES = (
    "beta-tilde",
    "beta",
    "analytic",
    "error",
    "head",
    "head+colour",
    "head+colour+passes",
)
MAX_PIXEL_VARIANCE = 127.5**2  # of values in 0..255


@dataclass(frozen=True)
class Moments:
    """Monte Carlo estimates of one level over training images.

    score2: E |(xhat - y) / sigma^2|^2 a dimension; error2: (3,) E (x - xhat)^2 by channel.
    """

    score2: float
    error2: Tensor


def _denoised(
    network: BoundNetwork, y: Tensor, log_sigma: Tensor, integer: bool = False
) -> tuple[Tensor, Tensor]:
    """(outputs of the trunk, xhat) at noise exp(log_sigma), (B,)."""
    out, _, _ = network.trunk(y, log_sigma, integer)
    c_skip, c_out, _ = preconditioning(per_image(log_sigma.exp()))
    return out, c_skip * y + c_out * out[:, 0:3]


@torch.no_grad()
def measure_moments(
    network: BoundNetwork, sigma: float, images: Tensor, generator: torch.Generator
) -> Moments:
    """Moments at noise `sigma`, gray levels.

    images: (N, 3, H, W) float32, pixels - 128, of training.
    """
    score2, error2 = 0.0, torch.zeros(3)
    for x in images.split(4):
        y = x + sigma * gaussian_noise(x, generator)
        _, mean = _denoised(network, y, torch.full((len(x),), math.log(sigma)))
        score2 += ((mean - y) / sigma**2).square().mean().item() * len(x)
        error2 += (x - mean).square().mean((0, 2, 3)) * len(x)
    return Moments(score2 / len(images), error2 / len(images))


def analytic_variance(sigma: float, score2: float) -> float:
    """sigma^2 (1 - sigma^2 Gamma), clipped to the range of a variance of pixels."""
    return min(max(sigma**2 * (1 - sigma**2 * score2), 0.0), min(sigma**2, MAX_PIXEL_VARIANCE))


def graded_level_nats(
    network: BoundNetwork,
    x: Tensor,
    y_t: Tensor,
    log_s: Tensor,
    log_t: Tensor,
    moments: Moments,
    generator: torch.Generator | None = None,
    integer: bool = False,
) -> dict[str, Tensor]:
    """KL(q(y_s | y_t, x) || p(y_s | y_t)), (B, 3, H, W) nats, by grade; arguments as level_nats."""
    out, xhat = _denoised(network, y_t, log_t, integer)
    sigma_t = per_image(log_t.exp())
    a, lambda2 = reverse_step(per_image(log_s.exp()), sigma_t)
    mean_q, mean = (1 - a) * y_t + a * x, (1 - a) * y_t + a * xhat
    head = (2 * preconditioning(sigma_t)[1].log() + log_variance(out)).exp()
    v = {
        "beta-tilde": torch.zeros(1, 1, 1, 1),
        "beta": sigma_t**2,
        "analytic": torch.full(
            (1, 1, 1, 1), analytic_variance(log_t[0].exp().item(), moments.score2)
        ),
        "error": moments.error2.view(1, 3, 1, 1),
        "head": head,
        "head+colour": head,
    }
    costs = {}
    for grade, variance_of_x in v.items():
        variance, centre = lambda2 + a * a * variance_of_x, mean
        if grade == "head+colour":
            y_s = mean_q + lambda2.sqrt() * gaussian_noise(x, generator)
            centre = colour_mean(mean, out[:, 6:9], a * a * variance_of_x / variance, y_s)
        costs[grade] = 0.5 * (
            torch.log(variance / lambda2) + (lambda2 + (mean_q - centre) ** 2) / variance - 1
        )
    return costs | {
        "head+colour+passes": level_nats(network, x, y_t, log_s, log_t, generator, integer)
    }


@torch.no_grad()
def graded_bits(
    network: BoundNetwork,
    sigmas: list[float],
    x: Tensor,
    moments: list[Moments],
    integer: bool = False,
    seed: int = 1,
    batch: int = 4,
) -> dict[str, list[float]]:
    """Bits a dimension of [p(x | y_0), level 1, ..., level K-1] by grade.

    p(x | y_0) is the coder's for every grade.  sigmas: noise of the levels; moments: one Moments a
    level; x: (N, 3, H, W) float32, pixels - 128.
    """
    parts: dict[str, list[float]] = {grade: [] for grade in BOUND_GRADES}
    for k, sigma in enumerate(sigmas):
        generator, nats = torch.Generator().manual_seed(seed + k), dict.fromkeys(BOUND_GRADES, 0.0)
        for some in x.split(batch):
            y = some + sigma * gaussian_noise(some, generator)
            log_t = torch.full((len(some),), math.log(sigma))
            if k == 0:
                costs = dict.fromkeys(BOUND_GRADES, pixel_nats(network, some, y, log_t, integer))
            else:
                log_s = torch.full_like(log_t, math.log(sigmas[k - 1]))
                costs = graded_level_nats(
                    network, some, y, log_s, log_t, moments[k], generator, integer
                )
            nats = {
                grade: nats[grade] + costs[grade].mean().item() * len(some)
                for grade in BOUND_GRADES
            }
        for grade in BOUND_GRADES:
            parts[grade].append(nats[grade] / len(x) / math.log(2))
    return parts
