"""The float networks of a family of experts, whose biases are moved together.

A file stores one small integer for each output channel of each layer, in steps of a power of two
(integer/bias_updates.py).  Layers differ a thousandfold in what a step of their biases does to the
bound; the steps they are stored in, and how far they move, follow that.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitsback.diffusion.levels import Level, sigmas
from bitsback.integer.bias_updates import COARSENESS, MAX_UPDATE, update_units
from bitsback.integer.experts import Expert
from bitsback.train.denoiser import Denoiser
from bitsback.train.dequantise import dequantised, real_scales
from bitsback.train.estimates import estimate_at_levels
from bitsback.train.quantised import QConv
from bitsback.tune.patches import Batch

REFERENCE_PIXELS = 400_000  # size of the image that FINENESS and numbers of steps are for
LEARNING_RATE = 0.6  # Adam's, in the finest steps; times the root of a layer's stored step
# log2 of the steps that bias updates are stored in, against the finest: those whose rounding costs
# about half a bit an update in an image of REFERENCE_PIXELS, measured with the default model, where
# uniform noise in a bias costs 1000 times as much in `first` as in `middle`
FINENESS = {
    "first": 0,
    "down1.a": 1,
    "down1.b": 0,
    "to2": 1,
    "down2.a": 2,
    "down2.b": 2,
    "to3": 3,
    "middle.a": 4,
    "middle.b": 4,
    "from3": 4,
    "up2.a": 4,
    "up2.b": 3,
    "from2": 1,
    "up1.a": 2,
    "up1.b": 1,
    "last": 0,
    "head_features": 4,
    "head_known": 5,
    "head_mix": 5,
    "head_out": 2,
}


def storage_exponent(name: str, total: int) -> int:
    """log2 of the steps that a layer's bias updates are stored in, by the file's number of pixels.

    A larger file has finer steps, since rounding costs it more.
    """
    stage, _, kind = name.partition(".")
    fineness = FINENESS.get(f"{stage}.{kind[-1:]}", FINENESS.get(stage, 2))
    exponent = fineness - round(0.5 * math.log2(total / REFERENCE_PIXELS))
    return min(max(exponent, 0), COARSENESS - 1)


def native_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware, in half the time of float32.

    Decided by its kind: a timing could differ from run to run, and files with it.
    """

    def cpu_has(name: str) -> bool:
        return getattr(torch.cpu, name, lambda: False)()

    return (
        torch.device(device).type == "cuda"
        or cpu_has("_is_avx512_bf16_supported")
        or cpu_has("_is_amx_tile_supported")
    )


class FloatExpert(NamedTuple):
    """An expert's float network, its levels, its convolutions and what their biases are made of.

    starts: biases in the model; units: what one stored step adds; both (O,) by layer name.
    """

    network: Denoiser
    steps: range
    convolutions: dict[str, QConv]
    starts: dict[str, Tensor]
    units: dict[str, Tensor]


def _float_expert(
    expert: Expert, noise: list[float], exponents: dict[str, int], device: str
) -> FloatExpert:
    network = dequantised(
        expert.layers, expert.config, noise[expert.steps.start : expert.steps.stop]
    ).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    convolutions = {
        name: module for name, module in network.named_modules() if isinstance(module, QConv)
    }
    starts = {name: module.bias.detach() for name, module in convolutions.items()}
    for module in convolutions.values():
        module.fix_weights()
        del module.bias  # no parameter any more: FloatFamily.move sets a tensor
    units = {
        name: (update_units(name, layer) * real_scales(name, layer)[1] * 2 ** exponents[name])
        .float()
        .to(device)
        for name, layer in expert.layers.items()
    }
    return FloatExpert(network, expert.steps, convolutions, starts, units)


class FloatFamily:
    """The float networks of a family's experts; `moves`, (O,) by layer, are what Adam learns.

    moves: bias updates in the steps that a file of `total` pixels stores, float, not yet rounded.
    """

    def __init__(
        self, experts: Sequence[Expert], levels: tuple[Level, ...], total: int, device: str
    ) -> None:
        self.levels, self.bfloat16 = levels, native_bfloat16(device)
        self.sizes = {name: len(layer.shift) for name, layer in sorted(experts[0].layers.items())}
        self.exponents = {name: storage_exponent(name, total) for name in self.sizes}
        self.moves = {
            name: torch.zeros(size, dtype=torch.float32, device=device, requires_grad=True)
            for name, size in self.sizes.items()
        }
        self.parts = [_float_expert(e, sigmas(levels), self.exponents, device) for e in experts]

    def rate(self, name: str) -> float:
        """Adam's learning rate of a layer's moves."""
        exponent = storage_exponent(name, REFERENCE_PIXELS) / 2 - self.exponents[name]
        return LEARNING_RATE * 2.0**exponent

    def move(self, moves: dict[str, Tensor]) -> None:
        """Moves the networks' biases by moves, (O,) by layer, stored steps."""
        for part in self.parts:
            for name, module in part.convolutions.items():
                module.bias = part.starts[name] + moves[name] * part.units[name]  # type: ignore

    def bound(
        self, batch: Batch, generator: torch.Generator, moves: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Estimate of the family's share of the bound, bits a dimension, for a batch of patches.

        The patches are shared among the experts; moves None: the family's own.
        """
        self.move(self.moves if moves is None else moves)
        total = torch.zeros((), dtype=torch.float32)
        for i, part in enumerate(self.parts):
            x, gray, weight = (tensor[i :: len(self.parts)] for tensor in batch)
            costs = estimate_at_levels(
                part.network,
                None,
                x,
                generator,
                True,
                self.bfloat16,
                gray,
                levels=self.levels,
                only=part.steps,
                weight=weight,
            )
            total = total + sum(cost.mean() for cost in costs[:3])
        return total

    def flat(self) -> Tensor:
        """All moves as one tensor, layers in the order of their names."""
        return torch.cat(list(self.moves.values()))

    def stored(self, moves: Tensor) -> np.ndarray:
        """Bias updates (count,) int32 nearest to moves (count,)."""
        steps = moves.detach().round().clamp(-MAX_UPDATE, MAX_UPDATE).to("cpu", torch.int32)
        parts = steps.split(list(self.sizes.values()))
        shifted = [part << self.exponents[name] for name, part in zip(self.sizes, parts)]
        return torch.cat(shifted).numpy()

    def moves_of(self, updates: np.ndarray) -> dict[str, Tensor]:
        """The inverse of `stored`: moves, (O,) by layer, of bias updates (count,) int32."""
        parts = torch.from_numpy(updates).split(list(self.sizes.values()))
        return {
            name: (part >> self.exponents[name]).to(self.moves[name])
            for name, part in zip(self.sizes, parts)
        }
