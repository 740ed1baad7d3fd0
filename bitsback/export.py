"""A trained float network -> the integers that the coder computes with.  The last floats are here.

Every convolution becomes integer weights, integer biases (one row a level: schedule, level
embedding and level ratio are folded in) and one power-of-two shift a channel (ARITHMETIC.md).
The exporter proves from the weights that no sum can leave float32's exact range and refuses
otherwise.  Units: activations in steps of 1/64 (1/128 inside a block); wide sums in 1/16 steps; inputs 1/128;
innovations 1/16 sd; outputs as in levels.py.
"""
import math

import torch

from .denoiser import EXACT, HIDDEN_GAIN, INNOVATION_REACH, INPUT_REACH, STEPS, TOP, QConv, scale_exponent
from .errors import TrainingError
from .exact import WEIGHT, Layer
from .lattice import forward_masses, gaussian_masses
from .levels import COLOUR_BITS, MEAN_BITS, SCALE_UNIT, make_steps, sigmas

WIDE = 16                       # wide sums: 1/16 step
# What the 9 outputs are counted in: mean of x, log sd (trunk) or log variance (head), colour.
TRUNK_UNITS = [2.0**MEAN_BITS] * 3 + [SCALE_UNIT / math.log(2)] * 3 + [2.0**COLOUR_BITS] * 3
HEAD_UNITS = [2.0**MEAN_BITS] * 3 + [SCALE_UNIT / math.log(4)] * 3 + [2.0**COLOUR_BITS] * 3


def _log2(value):
    return round(math.log2(value))


def make_layer(weight, bias, *, reach, factor, stride=1):
    """Integers of out = factor * (weight conv input + bias): factor a power of two.

    weight: (O, I, k, k) float, in output units a unit of input; bias: (levels, O) in output units
    before `factor`; reach: largest input integer for an outer layer, 0 for an inner one.
    """
    exponent = scale_exponent(weight, reach)
    scale = torch.exp2(exponent).view(-1, 1, 1, 1)
    integers = torch.round(weight * scale)
    if not reach:
        integers = integers.clamp(-WEIGHT, WEIGHT)
    bias = torch.round(bias.double() * torch.exp2(exponent)).to(torch.int32)
    return Layer(integers.to(torch.int32 if reach else torch.int8), bias, (exponent - _log2(factor)).to(torch.int8), stride)


def largest_sum(layer, reach):
    """(O,) int64: no accumulator, in any order of summation, is larger in absolute value."""
    return layer.weight.long().abs().flatten(1).sum(1) * reach + layer.bias.long().abs().amax(0)


def prove_exact(layers):
    """Refuses a model some sum of which could leave +-2^24.  Returns the largest found.  Errors: TrainingError."""
    reaches = {"first": INPUT_REACH, "head_known": INNOVATION_REACH}
    largest, stages = 0, {}
    for name, layer in layers.items():
        sums = largest_sum(layer, reaches.get(name, TOP))
        largest = max(largest, int(sums.max()))
        if largest >= EXACT:
            raise TrainingError(f"{name}: a sum can reach {int(sums.max())}, float32 is exact below {EXACT} only")
        output = float((sums.double() * torch.exp2(-layer.shift.double())).max()) + 1
        stage = "head" if name.startswith("head") else "trunk"      # all that could ever be added up
        stages[stage] = stages.get(stage, 0) + output
    if max(stages.values()) >= EXACT:
        raise TrainingError(f"wide sums can reach {max(stages.values()):.0f}, float32 is exact below {EXACT} only")
    return largest


@torch.no_grad()
def integer_layers(network, levels, table=None):
    """{name: Layer} of a `Denoiser` for these levels.  table: (K, 9, 2, 2), what calibration.py adds to the trunk's outputs."""
    sigma = torch.tensor(sigmas(levels), dtype=torch.float32)
    embedding = network.embed(sigma.log())
    ratios = torch.cat([torch.zeros(1), torch.log(sigma[1:] / sigma[:-1])])
    pixels = torch.arange(len(levels)) == 0
    network = network.eval()
    layers = {}
    for name, module in network.named_modules():
        if not isinstance(module, QConv):
            continue
        weight, bias, stride = module.weight, module.bias[None], module.stride[0]
        kind = name.split(".")[-1]
        if name == "first":
            made = make_layer(weight, (bias + network.first_level(embedding)) * 128, reach=INPUT_REACH, factor=WIDE * STEPS / 128)
        elif name == "head_known":
            head_bias = network.head_bias(embedding, ratios, pixels).flatten(0, 1)[:, :, 0, 0] / STEPS
            made = make_layer(weight, (bias + head_bias) * 16, reach=INNOVATION_REACH, factor=WIDE * STEPS / 16)
        elif name == "last":
            units = torch.tensor(TRUNK_UNITS).repeat_interleave(4)[:, None, None, None]
            moved = 0 if table is None else table.flatten(1)
            bias = (bias + network.last_level(embedding) + moved) * units.flatten()
            made = make_layer(weight * units / STEPS, bias, reach=TOP, factor=1)
        elif name.startswith("head_out"):
            units = torch.tensor(HEAD_UNITS)[:, None, None, None]
            made = make_layer(weight * units / STEPS, bias * units.flatten(), reach=TOP, factor=1)
        elif kind == "a":
            level = network.get_submodule(name[:-2]).level(embedding)
            made = make_layer(weight * HIDDEN_GAIN, (bias + level) * (STEPS * HIDDEN_GAIN), reach=0, factor=1)
        elif kind == "b":
            made = make_layer(weight / HIDDEN_GAIN, bias * STEPS, reach=0, factor=WIDE)
        else:                   # into a wide sum, but for head_mix
            made = make_layer(weight, bias * STEPS, reach=0, factor=1 if name == "head_mix" else WIDE, stride=stride)
        layers[name] = made
    return layers


def integer_model(network, levels, table=None):
    """All tensors of a model file: layers, steps and tables.  table: see integer_layers.  Errors: TrainingError."""
    layers = integer_layers(network, levels, table)
    prove_exact(layers)
    tensors = {}
    for name, layer in layers.items():
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift,
                    f"{name}.stride": torch.tensor([layer.stride], dtype=torch.int8)}
    steps = make_steps(levels)
    tensors["steps.scalars"] = torch.tensor([[s.input_scale, s.from_y, s.from_f, s.base] for s in steps], dtype=torch.int32)
    for name in ("scale", "gain", "shift", "inverse"):
        tensors[f"steps.{name}"] = torch.stack([torch.from_numpy(getattr(s, name)) for s in steps])
    tensors["gaussian_masses"] = torch.from_numpy(gaussian_masses())
    tensors["forward_masses"] = torch.from_numpy(forward_masses([level.step for level in levels]))
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
