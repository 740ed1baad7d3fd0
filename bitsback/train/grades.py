"""Grades of the reverse variance (variances.py) as models, to be coded with.

A scalar grade replaces the network's scale outputs by one number a level and channel, and drops
what the other grades add, colours and passes.  "head" keeps the network and corrects its variances
by a factor a level, channel and pass, the same Monte Carlo estimate: E[(x - xhat)^2 / v] = 1;
"calibrated" moves its means and variances (calibration.py).  Both only where coded bits fall.
p(x | y_0) is the coder's for every grade.
"""

import copy
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitsback.ans.lanes import random_lanes
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.diffusion.levels import Levels, default_levels, sigmas
from bitsback.diffusion.schedule import preconditioning
from bitsback.train.bound import BoundNetwork, gaussian_noise, level_gaussians, per_image
from bitsback.train.calibration import calibrate
from bitsback.train.denoiser import Denoiser
from bitsback.train.experts import Experts
from bitsback.train.export import save_model
from bitsback.train.variances import BOUND_GRADES, MAX_PIXEL_VARIANCE

SCALAR_GRADES = ("beta-tilde", "beta", "analytic", "error")
SCALES, COLOURS = slice(12, 24), slice(24, 36)  # outputs of the trunk's last layer, 4 a channel
LEAST_V = 1e-6  # squared gray levels, of "beta-tilde", whose v is 0
MAX_CORRECTION = 0.5  # of log sd


def scalar_variances(
    network: BoundNetwork, grade: str, sigma: float, images: Tensor, generator: torch.Generator
) -> Tensor:
    """(3,) v of one level by channel, squared gray levels.

    "analytic": sigma^2 (1 - sigma^2 Gamma_c), Gamma_c = E score_c^2 a dimension, clipped to [0,
    min(sigma^2, 127.5^2)] (Analytic-DPM, arXiv 2201.06503, theorem 1 and corollary, by channel);
    "error": E (x - xhat)^2.  images: (N, 3, H, W) float32, pixels - 128, of training.
    """
    if grade in ("beta-tilde", "beta"):
        return torch.full((3,), sigma**2 if grade == "beta" else 0.0)
    total = torch.zeros(3)
    for x in images.split(4):
        y = x + sigma * gaussian_noise(x, generator)
        out, _, _ = network.trunk(y, torch.full((len(x),), math.log(sigma)), True)
        c_skip, c_out, _ = preconditioning(torch.tensor(sigma))
        mean = c_skip * y + c_out * out[:, 0:3]
        error = (mean - y) / sigma**2 if grade == "analytic" else x - mean
        total += error.square().mean((2, 3)).sum(0) / len(images)
    if grade == "error":
        return total
    return (sigma**2 * (1 - sigma**2 * total)).clamp(0.0, min(sigma**2, MAX_PIXEL_VARIANCE))


def scale_output(v: Tensor, sigma: float) -> Tensor:
    """The trunk's scale output that means the variance v of x at noise sigma (bound.py)."""
    c_out = preconditioning(torch.tensor(sigma))[1]
    return 0.5 * (v.clamp_min(LEAST_V) / c_out**2).log() + 0.5


def _parts(network: Denoiser | Experts, count: int) -> list[tuple[Denoiser, range]]:
    if isinstance(network, Experts):
        return network.parts()
    return [(network, range(count))]


@torch.no_grad()
def graded(
    network: Denoiser | Experts, grade: str, images: Tensor, seed: int = 1
) -> tuple[Denoiser | Experts, Tensor]:
    """(networks of a grade, table for export.save_model): its variances from training images.

    An expert a level, of which that of level 0 is unchanged.  images: (N, 3, H, W) float32, pixels
    - 128.
    """
    noise = sigmas(default_levels())
    table = torch.zeros(len(noise), 9, 2, 2)
    if grade == BOUND_GRADES[-1]:
        return network, table
    generator, single = torch.Generator().manual_seed(seed), []
    for part, steps in _parts(network, len(noise)):
        for k in steps:
            one = copy.deepcopy(part)
            single.append(one)
            if k == 0:
                continue
            if grade in SCALAR_GRADES:
                v = scalar_variances(part, grade, noise[k], images, generator)
                table[k, 3:6] = scale_output(v, noise[k]).view(3, 1, 1)
                _silence(one.last, SCALES)
                _silence(one.last_level, SCALES)
            if grade != "head+colour":
                _silence(one.last, COLOURS)
                _silence(one.last_level, COLOURS)
            for layer in one.head_out:
                _silence(layer, slice(None))
    return Experts(single, [range(k, k + 1) for k in range(len(noise))], noise), table


def _silence(layer: torch.nn.Module, outputs: slice) -> None:
    for parameter in layer.parameters():
        parameter[outputs] = 0


@torch.no_grad()
def head_corrections(network: Denoiser | Experts, images: Tensor, seed: int = 1) -> Tensor:
    """(K, 9, 2, 2) what the scale outputs lack by level, channel and position in the 2x2 block,
    each pass of four one position: half the log of E[(x - xhat)^2 / v]; 0 for level 0."""
    levels = default_levels()
    logs = [math.log(s) for s in sigmas(levels)]
    table = torch.zeros(len(logs), 9, 2, 2)
    for k in range(1, len(logs)):
        generator, ratio = torch.Generator().manual_seed(seed), torch.zeros(3, 2, 2)
        for x in images.split(4):
            one = torch.ones(len(x))
            y = x + per_image(one * math.exp(logs[k])) * gaussian_noise(x, generator)
            mean_q, mean, v, _ = level_gaussians(
                network, x, y, one * logs[k - 1], one * logs[k], generator, True
            )
            each = (mean_q - mean) ** 2 / v
            ratio += each.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((0, 2, 4)) * len(x)
        correction = 0.5 * (ratio / len(images)).log()
        table[k, 3:6] = correction.clamp(-MAX_CORRECTION, MAX_CORRECTION)
    return table


def coded_bits(model: Model, images: Sequence[np.ndarray]) -> np.ndarray:
    """(K,) bits that coding pushes of p(x | y_0), p(y_0 | y_1), ...: of what decoding pops.

    images: (H, W, 3) uint8 of one size, sides multiples of 8.  The noise is the same for every
    model of these levels.
    """
    chain = model.chain()
    value = np.stack(images).transpose(0, 3, 1, 2).astype(np.int32) - 128
    bits = []
    for forward, reverse in zip(chain.forward, chain.reverse):
        y = forward.pop(random_lanes(value.size), value, no_context(value))
        lanes = random_lanes(value.size)
        before = lanes.size_bits
        reverse.push(lanes, value, y, no_context(value))
        bits.append(lanes.size_bits - before)
        value = y
    return np.array(bits, np.int64)


def bits_with(
    network: Denoiser | Experts, levels: Levels, table: Tensor | None, images: Sequence[np.ndarray]
) -> np.ndarray:
    """coded_bits of the model that a network and a table make."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_model(path, network, tuple(levels), {}, table)
        return coded_bits(Model(path, path.read_bytes()), images)  # not mapped: it is removed


def calibrations(network: Denoiser | Experts, images: Tensor, seed: int = 1) -> Tensor:
    """(K, 9, 2, 2) of calibration.calibrate at the coder's levels.  images: as its."""
    return calibrate(network, sigmas(default_levels()), images, seed)[0]


CORRECTIONS = {"head": head_corrections, "calibrated": calibrations}


def kept_corrections(
    network: Denoiser | Experts, images: Sequence[np.ndarray], seed: int = 1, kind: str = "head"
) -> tuple[Tensor, np.ndarray]:
    """(CORRECTIONS[kind] of training images, 0 at levels where they do not lower the bits coded;
    bits by level, (2, K): without, with all of them)."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 128
    table, levels = CORRECTIONS[kind](network, x, seed), default_levels()
    bits = np.stack([bits_with(network, levels, some, images) for some in (None, table)])
    table[torch.from_numpy(bits[1] >= bits[0])] = 0
    return table, bits
