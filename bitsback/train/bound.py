"""The variational bound of one noise level, in floating point: what training minimises.

Code length of a level, nats a dimension (VDM, arXiv 2107.00630, eq. 13, with a learned variance):
0.5 [log(vp / lambda2) + (lambda2 + (m_q - m_p)^2) / vp - 1], where vp = lambda2 + a^2 v.  The
symbols are defined in diffusion/schedule.py.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from bitsback.diffusion.schedule import preconditioning, reverse_step

RED, GREEN, BLUE = 0, 1, 2
UNIFORM_SHARE = 1e-4  # of p(x | y_0): no pixel costs more than about 21 bits


class BoundNetwork(Protocol):
    """What the bound evaluates: a Denoiser (denoiser.py) or anything with its two methods."""

    def trunk(
        self, y: Tensor, log_sigma: Tensor, integer: bool = False
    ) -> tuple[Tensor, Tensor, Any]: ...

    def heads(
        self,
        features: Tensor,
        e: Any,
        log_ratio: Tensor,
        pixels: Tensor,
        innovations: Tensor,
        integer: bool = False,
    ) -> Tensor: ...


def per_image(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1), to be broadcast over an image."""
    return values[:, None, None, None]


def log_variance(out: Tensor) -> Tensor:
    """Trunk outputs (B, 9, H, W) -> log of v / c_out^2, (B, 3, H, W)."""
    return 2 * (out[:, 3:6].clamp(-6, 3) - 0.5)


def colour_mean(mean: Tensor, coefficients: Tensor, gain: Tensor, value: Tensor) -> Tensor:
    """Mean of R given G, and of B given G and R; all (B, 3, H, W).

    gain: a^2 v / vp, the share of another channel's error that is an error of xhat; 1 for pixels.
    """
    green = value[:, GREEN] - mean[:, GREEN]
    red_mean = mean[:, RED] + coefficients[:, 0] * gain[:, GREEN] * green
    red = value[:, RED] - red_mean
    blue_mean = (
        mean[:, BLUE]
        + coefficients[:, 1] * gain[:, GREEN] * green
        + coefficients[:, 2] * gain[:, RED] * red
    )
    return torch.stack([red_mean, mean[:, GREEN], blue_mean], 1)


def gaussian_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def green_where_gray(values: Tensor, gray: Tensor | None) -> Tensor:
    """values (B, 3, H, W) with G copied to R and B in the images where gray, (B,) bool, is True.

    A gray image is one channel: the network receives it three times, noise included, and only its
    outputs for G are used.  gray None: no image is gray.
    """
    if gray is None:
        return values
    return torch.where(per_image(gray), values[:, GREEN : GREEN + 1], values)


def level_gaussians(
    network: BoundNetwork,
    x: Tensor,
    y_t: Tensor,
    log_s: Tensor,
    log_t: Tensor,
    generator: torch.Generator | None = None,
    integer: bool = False,
    gray: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean of q(y_s | y_t, x), that of p(y_s | y_t), a^2 v, lambda^2) from one sample of y_s.

    (B, 3, H, W) each, the last (B, 1, 1, 1); arguments as level_nats.
    """
    out, features, e = network.trunk(y_t, log_t, integer)
    sigma_s, sigma_t = log_s.exp(), log_t.exp()
    a, lambda2 = reverse_step(per_image(sigma_s), per_image(sigma_t))
    c_skip, c_out, _ = preconditioning(per_image(sigma_t))
    mean_q = (1 - a) * y_t + a * x
    y_s = mean_q + lambda2.sqrt() * green_where_gray(gaussian_noise(x, generator), gray)
    mean = (1 - a) * y_t + a * (c_skip * y_t + c_out * out[:, 0:3])
    v = a * a * (2 * c_out.log() + log_variance(out)).exp()
    sd = (v + lambda2).sqrt()
    innovations = green_where_gray(((y_s - mean) / sd).clamp(-6, 6).detach(), gray)
    more = network.heads(
        features, e, log_t - log_s, torch.zeros_like(log_s, dtype=torch.bool), innovations, integer
    )
    mean = mean + sd * v / (v + lambda2) * more[:, 0:3]
    v = v * more[:, 3:6].clamp(-4, 2).exp()
    variance = v + lambda2
    return mean_q, colour_mean(mean, out[:, 6:9] + more[:, 6:9], v / variance, y_s), v, lambda2


def level_nats(
    network: BoundNetwork,
    x: Tensor,
    y_t: Tensor,
    log_s: Tensor,
    log_t: Tensor,
    generator: torch.Generator | None = None,
    integer: bool = False,
    gray: Tensor | None = None,
) -> Tensor:
    """KL(q(y_s | y_t, x) || p(y_s | y_t)) from one sample of y_s: (B, 3, H, W) nats.

    x: pixels - 128; y_t: x with noise; log_s, log_t: (B,) log sigmas, gray levels; gray: (B,) bool,
    images of three equal channels, of which G's cost is returned three times, or None.
    """
    mean_q, mean, v, lambda2 = level_gaussians(
        network, x, y_t, log_s, log_t, generator, integer, gray
    )
    variance = v + lambda2
    return green_where_gray(
        0.5 * (torch.log(variance / lambda2) + (lambda2 + (mean_q - mean) ** 2) / variance - 1),
        gray,
    )


def pixel_nats(
    network: BoundNetwork,
    x: Tensor,
    y_0: Tensor,
    log_0: Tensor,
    integer: bool = False,
    gray: Tensor | None = None,
) -> Tensor:
    """-log p(x | y_0): (B, 3, H, W) nats; a Gaussian integrated over [x - 1/2, x + 1/2].

    Arguments as in level_nats.
    """
    out, features, e = network.trunk(y_0, log_0, integer)
    c_skip, c_out, _ = preconditioning(per_image(log_0.exp()))
    mean = c_skip * y_0 + c_out * out[:, 0:3]
    sd = (c_out.log() + 0.5 * log_variance(out)).exp().clamp_min(0.02)
    innovations = green_where_gray(
        ((x - mean) / (sd * sd + 1 / 12).sqrt()).clamp(-6, 6).detach(), gray
    )
    more = network.heads(
        features,
        e,
        torch.zeros_like(log_0),
        torch.ones_like(log_0, dtype=torch.bool),
        innovations,
        integer,
    )
    mean = mean + sd * more[:, 0:3]
    sd = (sd * (0.5 * more[:, 3:6].clamp(-4, 2)).exp()).clamp_min(0.02)
    mean = colour_mean(mean, out[:, 6:9] + more[:, 6:9], torch.ones_like(mean), x)
    probability = bin_probability(x - mean, sd) * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / 256
    return green_where_gray(-torch.log(probability), gray)


def bin_probability(distance: Tensor, sd: Tensor) -> Tensor:
    """Probability of N(0, sd^2) on [distance - 1/2, distance + 1/2], accurate in both tails."""
    distance = distance.abs()
    root = math.sqrt(2) * sd
    return 0.5 * (
        torch.erfc((distance - 0.5) / root) - torch.erfc((distance + 0.5) / root)
    ).clamp_min(0)


def top_nats(x: Tensor, log_sigma: Tensor) -> Tensor:
    """Cost of y_{K-1} under one Gaussian a channel with the image's mean and variance: (B,)."""
    variance = x.var((2, 3)).mean(1)
    return 0.5 * torch.log1p(variance * torch.exp(-2 * log_sigma))
