"""The mirror of export.py: the integers of a model file -> a float network that computes the same.

Schedule, level embedding and level ratio were folded into biases at export, one row a level.  Here a
row is chosen by a one-hot vector in the embedding's place, so that all the rest of denoiser.py, and
bound.py on top of it, serves unchanged: for measuring a shipped model, and for tuning it to an image.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from bitsback.diffusion.levels import sigmas
from bitsback.integer.bias_updates import by_expert, tuned_layers
from bitsback.train.denoiser import Denoiser, QConv
from bitsback.train.experts import Experts
from bitsback.train.export import layer_units


class OneHotLevel(nn.Module):
    """log sigma (B,) -> (B, K): 1 at the nearest of K sigmas."""

    def __init__(self, noise):
        super().__init__()
        self.register_buffer("logs", torch.tensor(noise).log())

    def forward(self, log_sigma):
        return F.one_hot((log_sigma[:, None] - self.logs).abs().argmin(1), len(self.logs)).to(
            log_sigma.dtype
        )


def _rows(table):
    """A linear layer that picks row k of (K, O) by a one-hot vector; without a bias."""
    layer = nn.Linear(len(table), table.shape[1], bias=False)
    layer.weight = nn.Parameter(table.T.contiguous())
    return layer


def real_scales(name, layer):
    """((O,), (O,)) float64: what 1 of a layer's integer weights, and of its integer biases, is in the units of denoiser.py."""
    gain, unit, _, factor = layer_units(name)
    scale = torch.exp2(-layer.shift.double()) / factor  # 2^-exponent of make_layer
    return scale / torch.as_tensor(gain, dtype=torch.float64), scale / torch.as_tensor(
        unit, dtype=torch.float64
    )


@torch.no_grad()
def dequantised(layers, config, noise):
    """A Denoiser of an expert's integer layers, for its own levels only (others count as the nearest).

    layers: {name: Layer}; noise: sigmas of their rows; the biases of its QConvs are what all levels share, zero where there is a row a level, be it of one level.
    """
    network = Denoiser(dataclasses.replace(config, embedding=len(noise)))
    network.embed = OneHotLevel(noise)
    for name, module in network.named_modules():
        if not isinstance(module, QConv):
            continue
        weight_scale, bias_scale = real_scales(name, layers[name])
        bias = (layers[name].bias * bias_scale).float()
        module.weight.copy_(layers[name].weight * weight_scale.view(-1, 1, 1, 1))
        a_row_a_level = name in ("first", "last", "head_known") or name.endswith(".a")
        module.bias.copy_(torch.zeros_like(bias[0]) if a_row_a_level else bias[0])
        if name == "first":
            network.first_level = _rows(bias)
        elif name == "last":
            network.last_level = _rows(bias)
        elif name.endswith(".a"):
            network.get_submodule(name[:-2]).level = _rows(bias)
        elif (
            name == "head_known"
        ):  # (3 K, head): the head also hears of ratio and pixels, which K tells
            table = bias.view(len(noise), -1)
            network.head_level = _rows(torch.cat([table, torch.zeros(2, table.shape[1])]))
    return network.requires_grad_(False).eval()


def dequantised_model(model, deltas=None):
    """Experts out of a Model: all its networks, for its own levels.  deltas: of all families in one array (tuned.py), or None."""
    noise, layers = sigmas(model.levels), [expert.layers for expert in model.experts]
    if deltas is not None:
        layers = [
            tuned_layers(some, part) for some, part in zip(layers, by_expert(deltas, model.experts))
        ]
    networks = [
        dequantised(some, expert.config, noise[expert.steps.start : expert.steps.stop])
        for some, expert in zip(layers, model.experts)
    ]
    return Experts(
        networks,
        [expert.steps for expert in model.experts],
        noise,
        [expert.family for expert in model.experts],
    )
