"""The inverse of export.py: the integers of a model file -> a float network that computes the same.

Schedule, level embedding and level ratio were folded into biases at export, one row a level.  Here
a row is chosen by a one-hot vector in place of the embedding, so that the rest of denoiser.py, and
bound.py on top of it, applies unchanged: for measuring a shipped model, and for tuning it.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.integer.bias_updates import by_expert, updated_layers
from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import Layer
from bitsback.train.denoiser import Denoiser
from bitsback.train.experts import Experts
from bitsback.train.export import layer_units
from bitsback.train.quantised import QConv


class OneHotLevel(nn.Module):
    """log sigma (B,) -> (B, K): 1 at the nearest of K sigmas."""

    logs: Tensor

    def __init__(self, noise: list[float]) -> None:
        super().__init__()
        self.register_buffer("logs", torch.tensor(noise, dtype=torch.float32).log())

    def forward(self, log_sigma: Tensor) -> Tensor:
        """The one-hot vectors, in the dtype of log_sigma."""
        nearest = (log_sigma[:, None] - self.logs).abs().argmin(1)
        return F.one_hot(nearest, len(self.logs)).to(log_sigma.dtype)


def _rows(table: Tensor) -> nn.Linear:
    """A linear layer without bias that picks row k of (K, O) by a one-hot vector."""
    layer = nn.Linear(len(table), table.shape[1], bias=False)
    layer.weight = nn.Parameter(table.T.contiguous())
    return layer


def real_scales(name: str, layer: Layer) -> tuple[Tensor, Tensor]:
    """((O,), (O,)) float64: what 1 of a layer's integer weights, and of its integer biases, is in
    the units of denoiser.py."""
    gain, unit, _, factor = layer_units(name)
    scale = torch.exp2(-layer.shift.double()) / factor  # 2^-exponent of make_layer
    gains, units = (torch.as_tensor(value, dtype=torch.float64) for value in (gain, unit))
    return scale / gains, scale / units


@torch.no_grad()
@torch.random.fork_rng(devices=[])  # layers are made of random weights, which are overwritten
def dequantised(layers: Mapping[str, Layer], config: NetworkConfig, noise: list[float]) -> Denoiser:
    """A Denoiser of an expert's integer layers, for its own levels; others count as the nearest.

    layers: by name; noise: sigmas of their rows.  The biases of its QConvs are what all levels
    share: zero where there is a row for each level, even for one level.
    """
    network = Denoiser(dataclasses.replace(config, embedding=len(noise))).float()
    network.embed = OneHotLevel(noise)  # type: ignore[assignment]
    for name, module in network.named_modules():
        if not isinstance(module, QConv):
            continue
        weight_scale, bias_scale = real_scales(name, layers[name])
        bias = (layers[name].bias * bias_scale).float()
        module.weight.copy_(layers[name].weight * weight_scale.view(-1, 1, 1, 1))
        has_rows = name in ("first", "last", "head_known") or name.endswith(".a")
        module.bias.copy_(torch.zeros_like(bias[0]) if has_rows else bias[0])
        if name == "first":
            network.first_level = _rows(bias)
        elif name == "last":
            network.last_level = _rows(bias)
        elif name.endswith(".a"):
            network.get_submodule(name[:-2]).level = _rows(bias)
        elif name == "head_known":  # (levels * (passes - 1), head)
            table = bias.view(len(noise), -1)
            # the head's other two inputs, ratio and pixels, depend on the level: zero weights
            table = torch.cat([table, torch.zeros(2, table.shape[1], dtype=table.dtype)])
            network.head_level = _rows(table)  # type: ignore[assignment]
    return network.requires_grad_(False).eval()


def dequantised_model(model: Model, updates: np.ndarray | None = None) -> Experts:
    """All networks of a model as Experts, for its own levels.

    updates: bias updates of all families in one int32 array (integer/bias_updates.py), or None.
    """
    noise, layers = sigmas(model.levels), [expert.layers for expert in model.experts]
    if updates is not None:
        layers = [
            updated_layers(some, part)
            for some, part in zip(layers, by_expert(updates, model.experts))
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
