"""The variational bound of one level, in floating point: what training minimises.

Code length of level t -> s, nats a dimension (codec.md section 1; VDM eq. 13 with a learned
variance): 0.5 [log(vp / lambda2) + (lambda2 + (m_q - m_p)^2) / vp - 1], vp = lambda2 + a^2 v.
"""

import math

import torch

from bitsback.diffusion.schedule import preconditioning, reverse_step

RED, GREEN, BLUE = 0, 1, 2
UNIFORM_SHARE = 1e-4  # of p(x | y_0): no pixel costs more than about 21 bits


def _column(v):
    return v[:, None, None, None]


def _log_variance(out):
    return 2 * (out[:, 3:6].clamp(-6, 3) - 0.5)


def colour_mean(mean, coefficients, gain, value):
    """Mean of R given G and of B given G and R; all (B, 3, H, W).

    gain scales what a neighbour channel's innovation tells: a^2 v / vp, 1 for pixels.
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


def gaussian_noise(like, generator):
    """Standard normal noise of the shape, dtype and device of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def alike(values, gray):
    """values (B, 3, H, W) with the second channel in place of all three where gray (B,) bool says so; None: nowhere.

    A gray image is one channel, fed to the network three times, noise and all, of which only what it says of G is used.
    """
    return (
        values if gray is None else torch.where(_column(gray), values[:, GREEN : GREEN + 1], values)
    )


def level_nats(network, x, y_t, log_s, log_t, generator=None, integer=False, gray=None):
    """KL(q(y_s | y_t, x) || p(y_s | y_t)), one sample of y_s: (B, 3, H, W) nats; where gray, what G costs, three times.

    x: pixels - 128; y_t: noised pixels; log_s, log_t: (B,) log sigmas, gray levels; gray: (B,) bool, x and y_t are alike there, or None.
    """
    out, features, e = network.trunk(y_t, log_t, integer)
    sigma_s, sigma_t = log_s.exp(), log_t.exp()
    a, lambda2 = reverse_step(_column(sigma_s), _column(sigma_t))
    c_skip, c_out, _ = preconditioning(_column(sigma_t))
    mean_q = (1 - a) * y_t + a * x
    y_s = mean_q + lambda2.sqrt() * alike(gaussian_noise(x, generator), gray)
    mean = (1 - a) * y_t + a * (c_skip * y_t + c_out * out[:, 0:3])
    v = a * a * (2 * c_out.log() + _log_variance(out)).exp()
    sd = (v + lambda2).sqrt()
    innovations = alike(((y_s - mean) / sd).clamp(-6, 6).detach(), gray)
    more = network.heads(
        features, e, log_t - log_s, torch.zeros_like(log_s, dtype=torch.bool), innovations, integer
    )
    mean = mean + sd * v / (v + lambda2) * more[:, 0:3]
    v = v * more[:, 3:6].clamp(-4, 2).exp()
    variance = v + lambda2
    mean = colour_mean(mean, out[:, 6:9] + more[:, 6:9], v / variance, y_s)
    return alike(
        0.5 * (torch.log(variance / lambda2) + (lambda2 + (mean_q - mean) ** 2) / variance - 1),
        gray,
    )


def pixel_nats(network, x, y_0, log_0, integer=False, gray=None):
    """-log p(x | y_0): (B, 3, H, W) nats; a Gaussian integrated over [x - 1/2, x + 1/2].  gray: as in level_nats."""
    out, features, e = network.trunk(y_0, log_0, integer)
    c_skip, c_out, _ = preconditioning(_column(log_0.exp()))
    mean = c_skip * y_0 + c_out * out[:, 0:3]
    sd = (c_out.log() + 0.5 * _log_variance(out)).exp().clamp_min(0.02)
    innovations = alike(((x - mean) / (sd * sd + 1 / 12).sqrt()).clamp(-6, 6).detach(), gray)
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
    return alike(
        -torch.log(bin_probability(x - mean, sd) * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / 256), gray
    )


def bin_probability(distance, sd):
    """Mass of N(0, sd^2) on [distance - 1/2, distance + 1/2], accurate in both tails."""
    distance = distance.abs()
    root = math.sqrt(2) * sd
    return 0.5 * (
        torch.erfc((distance - 0.5) / root) - torch.erfc((distance + 0.5) / root)
    ).clamp_min(0)


def top_nats(x, log_sigma):
    """Cost of y_{K-1} under a Gaussian with the image's mean and variance a channel: (B,)."""
    variance = x.var((2, 3)).mean(1)
    return 0.5 * torch.log1p(variance * torch.exp(-2 * log_sigma))
