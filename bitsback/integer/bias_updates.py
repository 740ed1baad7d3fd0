"""Bias updates: changes of a model's biases for the images of one file, stored in it.

A file stores one small integer t for each output channel of each layer of a family of experts, the
same for all its levels.  They are a section of the file, a stack of its own, which a decoder reads
before the payload (codecs/side_information.py).  t adds t * 2^n to the channel's accumulator; n
depends on the channel's shift and on the kind of layer, such that a step is 1/256 of an
activation's 1.0 everywhere (ARITHMETIC.md, section 9).  The encoder chooses how finely a layer's
updates are stored: in steps of 2^coarseness.  A decoder proves anew that no sum can leave
float32's exact range.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from bitsback.ans import gaussian_tables
from bitsback.ans.gaussian_tables import CENTRE, COLUMNS, ESCAPE, FRACTIONS, Gaussians
from bitsback.ans.stack import Stack
from bitsback.errors import DamagedFile, TrainingError
from bitsback.integer.convolution import Layer
from bitsback.integer.experts import Expert
from bitsback.integer.overflow import prove_exact

MAX_UPDATE = 127  # largest update, in the steps in which it is stored
COARSENESS = 8  # these are 2^0, ..., 2^7
SCALE_CODES = 128  # a scale's index is stored in 7 bits
FARTHEST = 14  # largest n: an update moves no accumulator by more than 2^28
# 1/256 in output units of a layer, as a power of two; 2 for other layers, whose unit is 1/1024
STEP_SHIFTS = {"a": -1, "head_mix": -2}
Layers = Mapping[str, Layer]
OUTPUT_SHIFTS = (0, -3, -2)  # of the last layers: mean 1/256, scale 1/16 doubling, colour 1/64


def update_units(name: str, layer: Layer) -> torch.Tensor:
    """(O,) int64: what an update of 1 adds to the accumulators of a layer's channels."""
    if name == "last" or name.startswith("head_out"):
        more = torch.tensor(OUTPUT_SHIFTS, device="cpu").repeat_interleave(len(layer.shift) // 3)
    else:
        more = torch.tensor(STEP_SHIFTS.get(name.split(".")[-1], 2), device="cpu")
    return 1 << (layer.shift.long() + more).clamp(0, FARTHEST)


def count(layers: Layers) -> int:
    """Number of updates of an expert."""
    return sum(len(layer.shift) for layer in layers.values())


def split(updates: np.ndarray, layers: Layers) -> dict[str, np.ndarray]:
    """{name: (O,)} of an expert's updates (count,): layers in the order of their names."""
    names = sorted(layers)
    ends = np.cumsum([len(layers[name].shift) for name in names])
    return dict(zip(names, np.split(updates, ends[:-1])))


def kinds(experts: Sequence[Expert]) -> list[Layers]:
    """[{name: Layer}] of the first expert of each family, whose shifts give the units."""
    return [
        expert.layers
        for before, expert in zip([None, *experts], experts)
        if before is None or before.family < expert.family
    ]


def by_kind(updates: np.ndarray, kinds: Sequence[Layers]) -> list[np.ndarray]:
    """A file's updates in one array -> (count,) of each family."""
    return np.split(updates, np.cumsum([count(layers) for layers in kinds])[:-1])


def by_expert(updates: np.ndarray, experts: Sequence[Expert]) -> list[np.ndarray]:
    """A file's updates in one array -> (count,) of each expert: its family's."""
    parts = by_kind(updates, kinds(experts))
    return [parts[expert.family] for expert in experts]


def updated_layers(layers: Layers, updates: np.ndarray) -> dict[str, Layer]:
    """The layers with updated biases.  updates: (count,) int32.

    Errors: DamagedFile where sums could overflow.
    """
    moved = {}
    for name, part in split(updates, layers).items():
        layer = layers[name]
        bias = layer.bias.long() + torch.from_numpy(part).long() * update_units(name, layer)
        moved[name] = Layer(layer.weight, bias.to(torch.int32), layer.shift, layer.stride)
    try:
        prove_exact(moved)
    except TrainingError as error:
        raise DamagedFile(f"tuned biases out of range ({error})") from None
    return {name: moved[name] for name in layers}


def coarseness(part: np.ndarray) -> int:
    """Largest c < COARSENESS such that 2^c divides all of a layer's updates."""
    bits = int(np.bitwise_or.reduce(np.abs(part)))
    return min(COARSENESS - 1, (bits & -bits).bit_length() - 1) if bits else 0


def _parameters(size: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(size, np.int32), np.full(size, scale, np.int32)


def _ends(columns: np.ndarray) -> np.ndarray:
    """Which columns are escapes."""
    return (columns == 0) | (columns == COLUMNS - 1)


class BiasUpdates:
    """The codec of bias updates, family by family: one bit for a family without any.

    A layer's coarseness and scale come first, then its values under the Gaussian table, mean 0.
    kinds: {name: Layer} of each family.
    """

    def __init__(self, gaussians: Gaussians, kinds: Sequence[Layers]):
        self.gaussians, self.kinds = gaussians, kinds
        self.size = sum(map(count, kinds))

    def _scale(self, values: np.ndarray) -> int:
        """The scale index under which values cost least."""
        costs = [
            self.gaussians.information_bits(values, *_parameters(len(values), scale))
            for scale in range(gaussian_tables.SCALES)
        ]
        return int(np.argmin(costs))

    def _row(self, scale: int) -> np.ndarray:
        """Frequencies of N(0, sd of the scale), (COLUMNS,)."""
        return self.gaussians.frequencies[scale * FRACTIONS]

    def push(self, stack: Stack, updates: np.ndarray) -> None:
        """updates: int32, of all families; each within +-MAX_UPDATE * 2^coarseness of its layer."""
        for some, layers in reversed(list(zip(by_kind(updates, self.kinds), self.kinds))):
            if some.any():
                self._push_layers(stack, some, layers)
            stack.push_uniform(np.array([int(some.any())]), 2)

    def pop(self, stack: Stack) -> np.ndarray:
        """The mirror of push.  Errors: StackEmpty, DamagedFile."""
        return np.concatenate(
            [
                self._pop_layers(stack, layers)
                if stack.pop_uniform(1, 2)[0]
                else np.zeros(count(layers), np.int32)
                for layers in self.kinds
            ]
        )

    def _push_layers(self, stack: Stack, updates: np.ndarray, layers: Layers) -> None:
        for part in reversed(split(updates, layers).values()):
            coarse = coarseness(part)
            values = part >> coarse
            scale = self._scale(values)
            columns = np.clip(values + CENTRE, 0, COLUMNS - 1)
            stack.push_uniform(values[_ends(columns)] + ESCAPE // 2, ESCAPE)
            stack.push_row(columns, self._row(scale))
            stack.push_uniform(np.array([scale]), SCALE_CODES)
            stack.push_uniform(np.array([coarse]), COARSENESS)

    def _pop_layers(self, stack: Stack, layers: Layers) -> np.ndarray:
        parts = []
        for name in sorted(layers):
            coarse, scale = (
                int(stack.pop_uniform(1, number)[0]) for number in (COARSENESS, SCALE_CODES)
            )
            if scale >= gaussian_tables.SCALES:
                raise DamagedFile("a scale of tuned biases is out of range")
            columns = stack.pop_row(len(layers[name].shift), self._row(scale))
            values, far = columns - CENTRE, _ends(columns)
            values[far] = stack.pop_uniform(int(far.sum()), ESCAPE) - ESCAPE // 2
            if np.abs(values).max() > MAX_UPDATE:
                raise DamagedFile("a tuned bias is out of range")
            parts.append(values << coarse)
        return np.concatenate(parts)
