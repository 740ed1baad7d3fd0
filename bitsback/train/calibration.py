"""Calibration of a trained network by Monte Carlo, folded into one bias a level: free at run time.

Mean: E eps_hat = 0 must hold at every level (Calibrated DPM, arXiv 2302.10688); the mean error of
xhat is subtracted, by level, channel and position in the 2x2 block.  Variance: instead of
E[(x - xhat)^2 / v] = 1, the factor of v, by level and channel, that minimises the code length,
colours and passes included.
"""

import math
from typing import Any

import torch
from torch import Tensor

from bitsback.diffusion.schedule import preconditioning
from bitsback.train.bound import BoundNetwork, gaussian_noise, level_nats, per_image, pixel_nats

LOG_SD_OFFSETS = (-0.15, 0.0, 0.15)  # where the code length is sampled for a parabola
MAX_OFFSET = 0.3  # of log sd


class Calibrated:
    """A network whose trunk outputs are moved by a row of a table, one row a level (BoundNetwork).

    table: (K, 9, 2, 2) float32, units of the outputs, by position in the 2x2 block; sigmas: noise
    of the K levels.
    """

    def __init__(self, network: BoundNetwork, sigmas: list[float], table: Tensor) -> None:
        self.network, self.table = network, table
        self.logs, self.heads = torch.tensor([math.log(s) for s in sigmas]), network.heads

    def trunk(
        self, y: Tensor, log_sigma: Tensor, integer: bool = False
    ) -> tuple[Tensor, Tensor, Any]:
        """The network's trunk, its outputs moved by the row of the nearest level."""
        out, features, e = self.network.trunk(y, log_sigma, integer)
        rows = self.table[(log_sigma[:, None] - self.logs).abs().argmin(1)]
        return out + rows.repeat(1, 1, out.shape[2] // 2, out.shape[3] // 2), features, e


def _noised(x: Tensor, sigma: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    y = x + sigma * gaussian_noise(x, generator)
    return y, torch.full((len(x),), math.log(sigma))


def mean_error(
    network: BoundNetwork, sigma: float, images: Tensor, generator: torch.Generator
) -> tuple[Tensor, float]:
    """(mean of (x - xhat) / c_out by channel and position, (3, 2, 2); mean square of all of it)."""
    total, square = torch.zeros(3, 2, 2), 0.0
    for x in images.split(4):
        y, log_sigma = _noised(x, sigma, generator)
        out, _, _ = network.trunk(y, log_sigma)
        c_skip, c_out, _ = preconditioning(per_image(log_sigma.exp()))
        error = (x - c_skip * y) / c_out - out[:, 0:3]
        total += error.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((2, 4)).sum(0)
        square += error.square().mean().item() * len(x)
    return total / len(images), square / len(images)


def _cost(network: BoundNetwork, k: int, sigmas: list[float], images: Tensor, seed: int) -> Tensor:
    """(3,) nats a dimension of level k by channel; the same seed draws the same noise."""
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(3)
    for x in images.split(4):
        y, log_t = _noised(x, sigmas[k], generator)
        if k == 0:
            cost = pixel_nats(network, x, y, log_t)
        else:
            log_s = torch.full_like(log_t, math.log(sigmas[k - 1]))
            cost = level_nats(network, x, y, log_s, log_t, generator)
        total += cost.mean((2, 3)).sum(0)
    return total / len(images)


@torch.no_grad()
def calibrate(
    network: BoundNetwork, sigmas: list[float], images: Tensor, seed: int = 1
) -> tuple[Tensor, list[float]]:
    """(table of Calibrated, share of the mean in the square of the error of eps_hat a level).

    images: (N, 3, H, W) float32, pixels - 128, of training, H and W even.  Only outputs 0..5, means
    and log standard deviations, are moved.
    """
    table, shares = torch.zeros(len(sigmas), 9, 2, 2), []
    generator = torch.Generator().manual_seed(seed)
    for k, sigma in enumerate(sigmas):
        mean, square = mean_error(network, sigma, images, generator)
        table[k, 0:3] = mean
        shares.append(mean.square().mean().item() / square)
    for k in range(len(sigmas)):
        costs = []
        for offset in LOG_SD_OFFSETS:
            moved = table.clone()
            moved[k, 3:6] = offset
            costs.append(_cost(Calibrated(network, sigmas, moved), k, sigmas, images, seed))
        low, middle, high = costs
        curvature = (low + high - 2 * middle).clamp_min(1e-6)
        minimum = LOG_SD_OFFSETS[2] * (low - high) / (2 * curvature)  # of the parabola
        table[k, 3:6] = minimum.clamp(-MAX_OFFSET, MAX_OFFSET)[:, None, None]
    return table, shares
