"""Calibration of a trained network by Monte Carlo, folded into one bias a level: free at run time.

Mean: E eps_hat = 0 must hold at every level (Calibrated DPM, arXiv 2302.10688); the mean error of xhat is taken off,
a level, channel and place in the 2x2 block.  Variance: E[(x - xhat)^2 / v] = 1, generalised to what the coder pays:
the factor of v, a level and channel, at which the code length with colours and passes is least.
"""

import math

import torch

from bitsback.diffusion.schedule import preconditioning
from bitsback.train.bound import _column, gaussian_noise, level_nats, pixel_nats

FACTORS = (-0.15, 0.0, 0.15)  # log sd offsets at which the code length is sampled for the parabola
FARTHEST = 0.3


class Calibrated:
    """A Denoiser whose trunk's outputs are moved by a table, row by level; stands in for the network in bound.py.

    table: (K, 9, 2, 2) float32, in units of the outputs, by 2x2 pass; sigmas: noise of the K levels.
    """

    def __init__(self, network, sigmas, table):
        self.network, self.table = network, table
        self.logs, self.heads = torch.tensor([math.log(s) for s in sigmas]), network.heads

    def trunk(self, y, log_sigma, integer=False):
        out, features, e = self.network.trunk(y, log_sigma, integer)
        rows = self.table[(log_sigma[:, None] - self.logs).abs().argmin(1)]
        return out + rows.repeat(1, 1, out.shape[2] // 2, out.shape[3] // 2), features, e


def _noised(x, sigma, generator):
    y = x + sigma * gaussian_noise(x, generator)
    return y, torch.full((len(x),), math.log(sigma))


def mean_error(network, sigma, images, generator):
    """(3, 2, 2): mean of (x - xhat) / c_out by channel and place in the 2x2 block, and the mean square of all (x - xhat) / c_out."""
    total, square = torch.zeros(3, 2, 2), 0.0
    for x in images.split(4):
        y, log_sigma = _noised(x, sigma, generator)
        out, _, _ = network.trunk(y, log_sigma)
        c_skip, c_out, _ = preconditioning(_column(log_sigma.exp()))
        error = (x - c_skip * y) / c_out - out[:, 0:3]
        total += error.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((2, 4)).sum(0)
        square += error.square().mean().item() * len(x)
    return total / len(images), square / len(images)


def _cost(network, k, sigmas, images, seed):
    """(3,) nats a dimension of level k, by channel, always with the same noise."""
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(3)
    for x in images.split(4):
        y, log_t = _noised(x, sigmas[k], generator)
        if k == 0:
            cost = pixel_nats(network, x, y, log_t)
        else:
            cost = level_nats(
                network, x, y, torch.full_like(log_t, math.log(sigmas[k - 1])), log_t, generator
            )
        total += cost.mean((2, 3)).sum(0)
    return total / len(images)


@torch.no_grad()
def calibrate(network, sigmas, images, seed=1):
    """(table (K, 9, 2, 2), [|E eps_hat|^2 / E |eps_hat|^2 error a level]) from training images (N, 3, H, W), H and W even.

    Only outputs 0..5, means and log standard deviations, are moved.
    """
    table, shares = torch.zeros(len(sigmas), 9, 2, 2), []
    generator = torch.Generator().manual_seed(seed)
    for k, sigma in enumerate(sigmas):
        mean, square = mean_error(network, sigma, images, generator)
        table[k, 0:3] = mean
        shares.append(mean.square().mean().item() / square)
    for k in range(len(sigmas)):
        costs = []
        for factor in FACTORS:
            moved = table.clone()
            moved[k, 3:6] = factor
            costs.append(_cost(Calibrated(network, sigmas, moved), k, sigmas, images, seed))
        low, middle, high = costs
        bend = (low + high - 2 * middle).clamp_min(1e-6)
        best = (FACTORS[2] * (low - high) / (2 * bend)).clamp(
            -FARTHEST, FARTHEST
        )  # the parabola's lowest point
        table[k, 3:6] = best[:, None, None]
    return table, shares
