"""Equalisation between channels before rounding (after arXiv 1906.04721), by powers of two.

Inside a residual block conv_b(relu(conv_a)) channel c of the hidden layer may be scaled by 2^n if
the weights that read it are scaled by 2^-n: the float function stays the same below the clamp, but
a channel that used a few of the 255 steps now uses most of them.  Free at run time.  Training with
the rounding in place fills the range by itself: there it gains nothing (benchmarks/rounding.py).
"""

from typing import Any

import torch
from torch import Tensor, nn

from bitsback.diffusion.levels import Level, sigmas
from bitsback.integer.convolution import TOP
from bitsback.train.bound import gaussian_noise
from bitsback.train.denoiser import Denoiser, ResidualBlock


@torch.no_grad()
def hidden_peaks(
    network: Denoiser, levels: tuple[Level, ...], x: Tensor, share: float = 0.9999, seed: int = 1
) -> dict[str, Tensor]:
    """{block name: (width,) largest hidden activations, steps}: `share` quantile over all levels.

    x: (N, 3, H, W) float32, pixels - 128, of training.
    """
    peaks: dict[str, Tensor] = {}
    hooks = []
    for name, block in network.named_modules():
        if isinstance(block, ResidualBlock):

            def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                flat = inputs[0].transpose(0, 1).flatten(1)
                top = flat.kthvalue(max(1, int(share * flat.shape[1])), dim=1).values
                peaks[name] = torch.maximum(peaks.get(name, top), top)

            hooks.append(block.b.register_forward_hook(keep))
    generator = torch.Generator().manual_seed(seed)
    for sigma in sigmas(levels):
        network.trunk(x + sigma * gaussian_noise(x, generator), torch.full((len(x),), sigma).log())
    for hook in hooks:
        hook.remove()
    return peaks


@torch.no_grad()
def equalise(network: Denoiser, levels: tuple[Level, ...], x: Tensor, largest: int = 3) -> Denoiser:
    """Scales hidden channels in place so that their peaks come near 255, by 2^-largest..2^largest.

    x: (N, 3, H, W) float32, pixels - 128, of training.
    """
    peaks = hidden_peaks(network, levels, x)
    for name, block in network.named_modules():
        if isinstance(block, ResidualBlock):
            n = torch.floor(torch.log2(TOP / peaks[name].clamp_min(1.0))).clamp(-largest, largest)
            up = torch.exp2(n)
            block.a.weight.mul_(up.view(-1, 1, 1, 1))
            block.a.bias.mul_(up)
            block.level.weight.mul_(up.view(-1, 1))
            block.level.bias.mul_(up)
            block.b.weight.div_(up.view(1, -1, 1, 1))
    return network
