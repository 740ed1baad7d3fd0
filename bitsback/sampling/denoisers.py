"""What the samplers ask: (y, sigma) -> (xhat, v) of a float checkpoint or of a shipped integer model.

A shipped model knows its own levels only: the schedule and the level's embedding were folded into biases.  Between
two of them it is asked at the lower one for the same image in less contrast: y = x + sigma e, times sigma_k / sigma, has the noise sigma_k,
and a paler photograph is a photograph too.  (Biases between those of both levels leave up to twice as much noise, for experts of few levels have none there.)
"""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from bitsback.diffusion.levels import sigmas
from bitsback.diffusion.schedule import preconditioning
from bitsback.diffusion.steps import MEAN_BITS, SCALE_UNIT, V_INDICES, V_ONE, make_step
from bitsback.errors import NoiseOutOfRange
from bitsback.integer.network import IntegerExperts, IntegerNetwork
from bitsback.train.bound import _log_variance

SLACK = 1e-6  # of a sigma: rounding of a level given as a number


def noise_range(levels, only=None):
    """(smallest, largest) sigma of a tuple of Level, gray levels; only: of a range of them, an expert's."""
    sigma = sigmas(levels)[only.start : only.stop] if only else sigmas(levels)
    return sigma[0], sigma[-1]


def check_levels(levels, given, only=None):
    """Errors: NoiseOutOfRange unless the sigmas in `given` fall and the positive ones lie in the range of `levels`, or of those in `only`."""
    low, high = noise_range(levels, only)
    noisy = [sigma for sigma in given if sigma > 0]
    if not noisy or min(noisy) < low * (1 - SLACK) or max(noisy) > high * (1 + SLACK):
        ends = noisy or list(given)
        wanted = (
            " to ".join(f"{end:g}" for end in sorted({min(ends), max(ends)})) if ends else "none"
        )
        raise NoiseOutOfRange(
            f"noise of {wanted} gray levels: this {'expert' if only else 'model'} knows {low:g} to {high:g}"
        )
    if not all(a > b for a, b in pairwise(given)):  # so that NaN does not pass
        raise NoiseOutOfRange("noise levels must fall")


def sampling_levels(levels, steps=None, sigma=None):
    """Falling sigmas for a sampler, 0 last: `steps` evaluations from `sigma`, evenly spaced in log sigma.

    steps: None takes the model's own levels below sigma; sigma: None begins at the noisiest.  Errors: NoiseOutOfRange.
    """
    own = sigmas(levels)
    high = own[-1] if sigma is None else sigma
    check_levels(levels, [high])
    if steps is None:
        chosen = [high] + [s for s in reversed(own) if s < high * (1 - SLACK)]
    elif steps == 1 or high < own[0] * (1 + SLACK):
        chosen = [high]
    else:
        chosen = np.exp(np.linspace(math.log(high), math.log(own[0]), steps)).tolist()
    return [*chosen, 0.0]


def checkpoint_denoiser(network, device="cpu"):
    """Of a float Denoiser, at any sigma.  y: (B, 3, H, W) float32, on any device."""
    network = network.to(device)

    @torch.no_grad()
    def denoise(y, sigma):
        height, width = y.shape[2:]
        padded = F.pad(y, (0, -width % 8, 0, -height % 8)).to(device)
        out = network.trunk(padded, torch.full((len(y),), math.log(sigma), device=device))[0][
            :, :, :height, :width
        ].to(y.device)
        c_skip, c_out, _ = preconditioning(sigma)
        return c_skip * y + c_out * out[:, 0:3], c_out**2 * _log_variance(out).exp()

    return denoise


def model_denoiser(model, levels, device="cpu"):
    """Of a shipped Model, at sigmas within its range: integers inside, floats outside.  levels: those that will be asked, to be checked.

    y is rounded to a lattice of about 1/16 sigma, far below its noise.  Errors: NoiseOutOfRange.
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

    def denoise(y, sigma):
        k = max((k for k, level in enumerate(own) if level <= sigma * (1 + SLACK)), default=0)
        share = own[k] / sigma
        y = y * share
        lattice = torch.round(y / spacings[k]).to(network.device, torch.int32)
        out = network.trunk(k, lattice)[0].to(y.device, y.dtype)
        c_skip, c_out, _ = preconditioning(own[k])
        if y.shape[1] == 1:  # a gray image's are G's
            out = out[:, 1::3]
        mean, scale = out.chunk(3, 1)[:2]
        doublings = ((steps[k].base + scale).clamp(0, V_INDICES - 1) - V_ONE) / SCALE_UNIT
        return (c_skip * y + c_out * mean / 2**MEAN_BITS) / share, torch.exp2(
            2 * doublings
        ) / share**2

    return denoise
