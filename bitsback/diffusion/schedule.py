"""Noise levels: the symbol table, the formulas of one reverse step, the learned schedule.

Symbols used in the whole package (variance-exploding form; gray levels unless stated):

    x          pixels minus 128                          (B, 3, H, W)
    y_k        latent of level k, y_k = x + sigma_k eps; y_s, y_t are neighbours, s cleaner
    sigma_k    noise of level k, sigma_0 < ... < sigma_{K-1}
    gamma      log(sigma^2 / D^2), what VDM (arXiv 2107.00630) calls -log SNR, with D = DATA_SD
    a          1 - sigma_s^2 / sigma_t^2
    lambda2    variance of q(y_s | y_t, x) = a sigma_s^2
    v          the model's variance of x given y_t
    xhat       the denoiser's mean of x given y_t

VDM's variance-preserving z is alpha y with alpha^2 = 1 / (1 + sigma^2 / D^2): the same model.
"""

import math
from typing import TypeVar

import torch
from torch import nn

Sigma = TypeVar("Sigma", float, torch.Tensor)

DATA_SD = 64.0  # D: about the standard deviation of a photograph; a power of two, so that
# c_in of a clean level is one too and integer inputs lose nothing


def reverse_step(sigma_s: Sigma, sigma_t: Sigma) -> tuple[Sigma, Sigma]:
    """q(y_s | y_t, x) = N((1 - a) y_t + a x, lambda2): returns (a, lambda2).

    sigma_s, sigma_t: floats or tensors of one shape, sigma_s < sigma_t, gray levels.
    Source: VDM appendix A with alpha = 1; `expm1` keeps `a` exact for close levels.
    """
    log = torch.log if torch.is_tensor(sigma_t) else math.log
    expm1 = torch.expm1 if torch.is_tensor(sigma_t) else math.expm1
    a = -expm1(2 * (log(sigma_s) - log(sigma_t)))
    return a, a * sigma_s**2


def preconditioning(sigma: Sigma) -> tuple[Sigma, Sigma, Sigma]:
    """(c_skip, c_out, c_in) of xhat = c_skip y + c_out f(c_in y): arXiv 2206.00364, table 1."""
    total = sigma**2 + DATA_SD**2
    root = total**0.5
    return DATA_SD**2 / total, sigma * DATA_SD / root, 1 / root


class LearnedSchedule(nn.Module):
    """log sigma as a monotone function of t in [0, 1] (VDM section 4 and appendix H).

    A network with positive weights gives the shape, two parameters give the ends.  A straight
    share of `FLOOR` keeps d log(sigma)/dt from vanishing, so no noise level is starved.
    """

    FLOOR = 0.3
    HIDDEN = 64

    def __init__(self, sigma_min: float = 0.5, sigma_max: float = 350.0):
        super().__init__()
        self.ends = nn.Parameter(torch.tensor([math.log(sigma_min), math.log(sigma_max)]))
        self.w1 = nn.Parameter(torch.linspace(2.0, 12.0, self.HIDDEN))
        self.b1 = nn.Parameter(torch.linspace(-1.0, 1.0, self.HIDDEN))
        self.w2 = nn.Parameter(torch.full((self.HIDDEN,), 1.0 / self.HIDDEN))

    def shape(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Monotone n(t) with n(0) = 0, n(1) = 1, and its derivative.  t: (B,) float."""
        t = t[:, None]

        def raw(u: torch.Tensor) -> torch.Tensor:
            return (self.w2.abs() * torch.sigmoid(self.w1.abs() * (2 * u - 1 - self.b1))).sum(1)

        gate = torch.sigmoid(self.w1.abs() * (2 * t - 1 - self.b1))
        slope = (self.w2.abs() * self.w1.abs() * 2 * gate * (1 - gate)).sum(1)
        low, high = raw(torch.zeros_like(t)), raw(torch.ones_like(t))
        curved, slope = (raw(t) - low) / (high - low), slope / (high - low)
        t = t[:, 0]
        return self.FLOOR * t + (1 - self.FLOOR) * curved, self.FLOOR + (1 - self.FLOOR) * slope

    def forward(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """t: (B,) in [0, 1] -> (log sigma, d log sigma / dt), each (B,)."""
        low, high = self.ends
        position, slope = self.shape(t)
        return low + (high - low) * position, (high - low) * slope


def geometric(sigma_min: float, sigma_max: float, count: int) -> list[float]:
    """`count` levels, sigma_min..sigma_max, evenly spaced in log sigma."""
    if count == 1:
        return [float(sigma_min)]
    ratio = (sigma_max / sigma_min) ** (1 / (count - 1))
    return [sigma_min * ratio**k for k in range(count)]
