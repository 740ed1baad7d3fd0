"""Denoisers for the samplers, (y, sigma) -> (xhat, v), of a float checkpoint or an integer model.

An integer model has biases for its own levels only: schedule and level embedding were folded into
them.  Between two levels it is evaluated at the lower one, for the same image with less contrast:
y = x + sigma eps times sigma_k / sigma has noise sigma_k, and a paler photograph is a photograph
too.  (Biases interpolated between both levels leave up to twice as much noise.)
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bitsback.coder.model import Model
from bitsback.diffusion.levels import Level, sigmas
from bitsback.diffusion.schedule import preconditioning
from bitsback.diffusion.steps import MEAN_BITS, SCALE_UNIT, V_INDICES, V_ONE, make_step
from bitsback.errors import NoiseOutOfRange
from bitsback.integer.network import IntegerExperts, IntegerNetwork
from bitsback.sampling.samplers import Denoise
from bitsback.train.bound import log_variance
from bitsback.train.denoiser import Denoiser
from bitsback.train.experts import Experts

SIGMA_TOLERANCE = 1e-6  # relative: rounding of a level given as a number


def noise_range(levels: tuple[Level, ...], only: range | None = None) -> tuple[float, float]:
    """(smallest, largest) sigma of the levels, gray levels; only: of an expert's range of them."""
    sigma = sigmas(levels)[only.start : only.stop] if only else sigmas(levels)
    return sigma[0], sigma[-1]


def check_levels(
    levels: tuple[Level, ...], given: Sequence[float], only: range | None = None
) -> None:
    """Checks that the sigmas in `given` fall and that the positive ones lie in noise_range.

    Errors: NoiseOutOfRange.
    """
    low, high = noise_range(levels, only)
    noisy = [sigma for sigma in given if sigma > 0]
    if (
        not noisy
        or min(noisy) < low * (1 - SIGMA_TOLERANCE)
        or max(noisy) > high * (1 + SIGMA_TOLERANCE)
    ):
        ends = noisy or list(given)
        wanted = (
            " to ".join(f"{end:g}" for end in sorted({min(ends), max(ends)})) if ends else "none"
        )
        raise NoiseOutOfRange(
            f"noise of {wanted} gray levels: this {'expert' if only else 'model'} "
            f"has levels from {low:g} to {high:g}"
        )
    if not all(a > b for a, b in pairwise(given)):  # so that NaN does not pass
        raise NoiseOutOfRange("noise levels must fall")


def sampling_levels(
    levels: tuple[Level, ...], steps: int | None = None, sigma: float | None = None
) -> list[float]:
    """Falling sigmas for a sampler, 0 last: `steps` evaluations from `sigma`, even in log sigma.

    steps None: the model's own levels below sigma; sigma None: from the noisiest level.
    Errors: NoiseOutOfRange.
    """
    own = sigmas(levels)
    high = own[-1] if sigma is None else sigma
    check_levels(levels, [high])
    if steps is None:
        chosen = [high] + [s for s in reversed(own) if s < high * (1 - SIGMA_TOLERANCE)]
    elif steps == 1 or high < own[0] * (1 + SIGMA_TOLERANCE):
        chosen = [high]
    else:
        chosen = np.exp(np.linspace(math.log(high), math.log(own[0]), steps)).tolist()
    return [*chosen, 0.0]


def checkpoint_denoiser(network: Denoiser | Experts, device: str = "cpu") -> Denoise:
    """The denoiser of a float network, at any sigma; y: (B, 3, H, W) float32 on any device."""
    network = network.to(device)

    @torch.no_grad()
    def denoise(y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        height, width = y.shape[2:]
        padded = F.pad(y, (0, -width % 8, 0, -height % 8)).to(device)
        out = network.trunk(padded, torch.full((len(y),), math.log(sigma), device=device))[0][
            :, :, :height, :width
        ].to(y.device)
        c_skip, c_out, _ = preconditioning(sigma)
        return c_skip * y + c_out * out[:, 0:3], c_out**2 * log_variance(out).exp()

    return denoise


def model_denoiser(model: Model, levels: Sequence[float], device: str = "cpu") -> Denoise:
    """The denoiser of an integer model, at sigmas within its range; y: (B, 3 or 1, H, W) float.

    Of an ensemble, that of its first model.  levels: the sigmas at which it will be evaluated, to
    be checked.  y is rounded to a lattice of about 1/16 sigma, far below its noise.  Errors:
    NoiseOutOfRange.
    """
    check_levels(model.levels, levels)
    own = sigmas(model.levels)
    spacings = [2.0 ** math.floor(math.log2(sigma) - 3.5) for sigma in own]
    steps = [make_step(sigma, spacing) for sigma, spacing in zip(own, spacings)]
    network = IntegerExperts(
        [
            (expert.steps, IntegerNetwork(coder.backend, expert.config, steps, expert.steps.start))
            for expert, (_, coder) in zip(model.experts, model.chain(device).network.networks)
        ]
    )

    def denoise(y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        k = max(
            (k for k, level in enumerate(own) if level <= sigma * (1 + SIGMA_TOLERANCE)), default=0
        )
        share = own[k] / sigma
        y = y * share
        lattice = torch.round(y / spacings[k]).to(network.device, torch.int32)
        out = network.trunk(k, lattice)[0].to(y.device, y.dtype)
        c_skip, c_out, _ = preconditioning(own[k])
        if y.shape[1] == 1:  # a gray image has G's outputs
            out = out[:, 1::3]
        mean, scale = out.chunk(3, 1)[:2]
        doublings = ((steps[k].base + scale).clamp(0, V_INDICES - 1) - V_ONE) / SCALE_UNIT
        return (c_skip * y + c_out * mean / 2**MEAN_BITS) / share, torch.exp2(
            2 * doublings
        ) / share**2

    return denoise
