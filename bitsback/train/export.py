"""A trained float network -> the integers that the coder computes with.

Every convolution becomes integer weights, integer biases (one row a level: schedule, level
embedding and level ratio are folded in) and one power-of-two shift a channel (ARITHMETIC.md).
Export proves from the weights that no sum can leave float32's exact range, and refuses otherwise.
Units: activations in steps of 1/64 (1/128 inside a residual block); wide sums in 1/16 steps; inputs
1/128; innovations 1/16 sd; outputs as in diffusion/steps.py.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitsback.ans.gaussian_tables import forward_frequencies, gaussian_frequencies
from bitsback.diffusion.levels import Level, sigmas
from bitsback.diffusion.steps import COLOUR_BITS, MEAN_BITS, SCALE_UNIT, make_steps
from bitsback.diffusion.whole_pixels import whole_frequencies, whole_rows
from bitsback.integer.config import EXACT, INPUT_REACH
from bitsback.integer.convolution import TOP, WEIGHT, WIDE, Layer
from bitsback.integer.installed import MODEL_ARITHMETIC
from bitsback.integer.model_file import write_model
from bitsback.integer.overflow import prove_exact
from bitsback.train.denoiser import HIDDEN_GAIN, Denoiser
from bitsback.train.experts import Experts
from bitsback.train.quantised import ACTIVATION_STEPS, QConv, scale_exponent

# Integer units in 1.0 of the 9 outputs: mean of x, log sd (trunk) or log variance (head), colour
TRUNK_UNITS = [2.0**MEAN_BITS] * 3 + [SCALE_UNIT / math.log(2)] * 3 + [2.0**COLOUR_BITS] * 3
HEAD_UNITS = [2.0**MEAN_BITS] * 3 + [SCALE_UNIT / math.log(4)] * 3 + [2.0**COLOUR_BITS] * 3


def make_layer(
    weight: Tensor, bias: Tensor, *, reach: int, factor: float, stride: int = 1
) -> Layer:
    """The integers of out = factor * (weight conv input + bias), factor a power of two.

    weight: (O, I, k, k) float, output units a unit of input; bias: (levels, O), output units before
    `factor`; reach: largest input integer of an outer layer, 0 for an inner one.
    """
    exponent = scale_exponent(weight, reach)
    # coarser units for weights so small that a bias in their units would not fit
    exponent = torch.minimum(
        exponent,
        torch.floor(
            math.log2(EXACT / 2 - 1) - torch.log2(bias.abs().amax(0).float().clamp_min(2.0**-24))
        ),
    )
    scale = torch.exp2(exponent).view(-1, 1, 1, 1)
    integers = torch.round(weight * scale)
    if not reach:
        integers = integers.clamp(-WEIGHT, WEIGHT)
    bias = torch.round(bias.double() * torch.exp2(exponent)).to(torch.int32)
    return Layer(
        integers.to(torch.int32 if reach else torch.int8),
        bias,
        (exponent - round(math.log2(factor))).to(torch.int8),
        stride,
    )


def without_excess(layer: Layer) -> Layer:
    """A layer before a clamp to 0..TOP, its biases cut to what inputs of 0..TOP can outweigh.

    All outputs stay the same.  A channel that never changes may have a bias beyond exact sums.
    """
    weight, one = layer.weight.long().flatten(1), 1 << layer.shift.long().clamp_min(0)
    most, least = weight.clamp_min(0).sum(1) * TOP, weight.clamp_max(0).sum(1) * TOP
    bias = torch.minimum(torch.maximum(layer.bias.long(), -most - one), (TOP + 1) * one - least)
    return Layer(layer.weight, bias.to(torch.int32), layer.shift, layer.stride)


def layer_units(name: str) -> tuple[float | Tensor, float | Tensor, int, float]:
    """(gain, unit, reach, factor) of a layer by its name.

    Integer weights stand for gain * weight, integer biases for unit * bias; gain and unit may be
    (O,) tensors; reach and factor are those of make_layer.
    """
    kind = name.split(".")[-1]
    if name == "first":
        return 1.0, 128.0, INPUT_REACH, WIDE * ACTIVATION_STEPS / 128
    if name == "head_known":
        return 1.0, 16.0, 0, WIDE * ACTIVATION_STEPS / 16
    if name == "last" or name.startswith("head_out"):
        units = (
            torch.tensor(TRUNK_UNITS).repeat_interleave(4)
            if name == "last"
            else torch.tensor(HEAD_UNITS)
        )
        return units / ACTIVATION_STEPS, units, TOP, 1
    if kind == "a":
        return HIDDEN_GAIN, ACTIVATION_STEPS * HIDDEN_GAIN, 0, 1
    if kind == "b":
        return 1 / HIDDEN_GAIN, ACTIVATION_STEPS, 0, WIDE
    return (
        1.0,
        ACTIVATION_STEPS,
        0,
        1 if name == "head_mix" else WIDE,
    )  # head_mix is clamped at once


@torch.no_grad()
def integer_layers(
    network: Denoiser,
    levels: tuple[Level, ...],
    table: Tensor | None = None,
    steps: range | None = None,
) -> dict[str, Layer]:
    """The integer layers of a Denoiser by name, for these levels, or those in the range `steps`.

    table: (K, 9, 2, 2), what calibration.py adds to the trunk's outputs, or None.
    """
    sigma = torch.tensor(sigmas(levels), dtype=torch.float32)
    embedding = network.embed(sigma.log())
    ratios = torch.cat([torch.zeros(1), torch.log(sigma[1:] / sigma[:-1])])
    pixels = torch.arange(len(levels)) == 0
    rows = slice(None) if steps is None else slice(steps.start, steps.stop)
    embedding, ratios, pixels = embedding[rows], ratios[rows], pixels[rows]
    network = network.eval()
    layers = {}
    for name, module in network.named_modules():
        if not isinstance(module, QConv):
            continue
        bias = module.bias[None]
        if name == "first":
            bias = bias + network.first_level(embedding)
        elif name == "head_known":
            head_bias = network.head_bias(embedding, ratios, pixels)
            bias = bias + head_bias.flatten(0, 1)[:, :, 0, 0] / ACTIVATION_STEPS
        elif name == "last":
            bias = bias + network.last_level(embedding)
            bias = bias if table is None else bias + table[rows].flatten(1)
        elif name.endswith(".a"):
            bias = bias + network.get_submodule(f"{name[:-2]}.level")(embedding)
        gain, unit, reach, factor = layer_units(name)
        weight = module.weight * torch.as_tensor(gain).reshape(-1, 1, 1, 1)
        layer = make_layer(weight, bias * unit, reach=reach, factor=factor, stride=module.stride[0])
        layers[name] = without_excess(layer) if name.endswith(".a") else layer
    return layers


def integer_model(
    networks: list[tuple[Denoiser, range]], levels: tuple[Level, ...], table: Tensor | None = None
) -> dict[str, Tensor]:
    """All tensors of a model file by name: layers, steps and tables.

    networks: Denoisers with their levels, the layers of the i-th are named "i.NAME"; table: as in
    integer_layers.  Errors: TrainingError where a sum could leave the exact range.
    """
    tensors: dict[str, Tensor] = {}
    for i, (network, steps) in enumerate(networks):
        layers = integer_layers(network, levels, table, steps)
        prove_exact(layers)
        for name, layer in layers.items():
            tensors |= {
                f"{i}.{name}.weight": layer.weight,
                f"{i}.{name}.bias": layer.bias,
                f"{i}.{name}.shift": layer.shift,
                f"{i}.{name}.stride": torch.tensor([layer.stride], dtype=torch.int8),
            }
    tables = make_steps(levels)
    tensors["steps.scalars"] = torch.tensor(
        [[s.input_scale, s.from_y, s.from_f, s.base] for s in tables], dtype=torch.int32
    )
    for name in ("scale", "gain", "shift", "inverse"):
        tensors[f"steps.{name}"] = torch.stack([torch.from_numpy(getattr(s, name)) for s in tables])
    tensors["gaussian_masses"] = torch.from_numpy(gaussian_frequencies())
    whole = whole_rows(levels)
    if whole:
        tensors["whole_masses"] = torch.from_numpy(whole_frequencies(levels))
        tensors["whole.scalars"] = torch.tensor([whole.first, whole.shift], dtype=torch.int32)
    tensors["forward_masses"] = torch.from_numpy(
        forward_frequencies([level.step for level in levels])
    )
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def save_model(
    path: str | Path,
    network: Denoiser | Experts,
    levels: tuple[Level, ...],
    training: dict[str, Any],
    table: Tensor | None = None,
    *,
    force: bool = True,
) -> None:
    """Exports a network for `levels` and writes the model file.

    training: what `bitsback models` shows (minutes, steps, device, data); table: calibration of the
    trunk's outputs (calibration.py); force: replace an existing file.
    Errors: TrainingError, OutputExists, OutputFailed.
    """
    if isinstance(network, Experts):
        networks, families = network.parts(), network.families
    else:
        networks, families = [(network, range(len(levels)))], [0]
    description = {
        "arithmetic": MODEL_ARITHMETIC,
        "experts": [
            {"network": one.config.as_dict(), "steps": [steps.start, steps.stop], "family": family}
            for (one, steps), family in zip(networks, families)
        ],
        "levels": [[level.exponent, level.step] for level in levels],
        "training": training,
    }
    write_model(path, integer_model(networks, levels, table), description, force=force)
