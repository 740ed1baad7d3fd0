"""Biases moved to suit one image: what a file may carry of its own beside the model's weights.

A file's deltas are one small integer for each output channel of each layer of an expert, the same for all its levels and for all
experts of its family.  They are
pushed last and popped first: the network that they make decodes the rest.  Delta t adds t * 2^n to a
channel's accumulator, n by its shift and the kind of its layer, so that a step is 1/256 of an
activation's 1.0 wherever it is added (ARITHMETIC.md, section 9).  How finely a layer's deltas are told is the encoder's
choice: it stores them in steps of 2^coarseness.  Whoever reads deltas proves anew that no sum can leave
float32's exact range.
"""

import numpy as np
import torch

from bitsback.ans import gaussian_tables
from bitsback.errors import DamagedFile, TrainingError
from bitsback.integer.convolution import Layer
from bitsback.integer.overflow import prove_exact

MAX_UPDATE = 127  # largest delta, in the steps that it is stored in
COARSENESS = 8  # these are 2^0, ..., 2^7
SCALE_CODES = 128  # a scale's index is stored in 7 bits
FARTHEST = 14  # largest n: a delta moves no accumulator by more than 2^28
STEP_SHIFTS = {
    "a": -1,
    "head_mix": -2,
}  # 1/256 in output units of a layer, as a power of two; others add to wide sums of 1/1024
OUTPUT_SHIFTS = (0, -3, -2)  # of the last layers: mean 1/256, scale 1/16 doubling, colour 1/64


def delta_units(name, layer):
    """(O,) int64: what a delta of 1 adds to the accumulators of a layer's channels."""
    if name == "last" or name.startswith("head_out"):
        more = torch.tensor(OUTPUT_SHIFTS).repeat_interleave(len(layer.shift) // 3)
    else:
        more = STEP_SHIFTS.get(name if name == "head_mix" else name.split(".")[-1], 2)
    return 1 << (layer.shift.long() + more).clamp(0, FARTHEST)


def count(layers):
    """Number of deltas of an expert."""
    return sum(len(layer.shift) for layer in layers.values())


def split(deltas, layers):
    """{name: (O,)} of all deltas in one array: layers in the order of their names."""
    names = sorted(layers)
    ends = np.cumsum([len(layers[name].shift) for name in names])
    return dict(zip(names, np.split(deltas, ends[:-1])))


def kinds(experts):
    """[{name: Layer}] of the first expert of each family: what a family's deltas are told by."""
    return [
        expert.layers
        for before, expert in zip([None, *experts], experts)
        if before is None or before.family < expert.family
    ]


def by_kind(deltas, kinds):
    """[(count,)] of all deltas of a file in one array: one for each family."""
    return np.split(deltas, np.cumsum([count(layers) for layers in kinds])[:-1])


def by_expert(deltas, experts):
    """The same, one for each expert: its family's."""
    parts = by_kind(deltas, kinds(experts))
    return [parts[expert.family] for expert in experts]


def tuned_layers(layers, deltas):
    """The layers with their biases moved.  deltas: (count,) int32.  Errors: DamagedFile where sums could overflow."""
    moved = {}
    for name, part in split(deltas, layers).items():
        layer = layers[name]
        bias = layer.bias.long() + torch.from_numpy(part).long() * delta_units(name, layer)
        moved[name] = Layer(layer.weight, bias.to(torch.int32), layer.shift, layer.stride)
    try:
        prove_exact(moved)
    except TrainingError as error:
        raise DamagedFile(f"tuned biases out of range ({error})") from None
    return {name: moved[name] for name in layers}


def coarseness(part):
    """Largest exponent, below COARSENESS, of a power of two that divides all of a layer's deltas."""
    bits = int(np.bitwise_or.reduce(np.abs(part)))
    return min(COARSENESS - 1, (bits & -bits).bit_length() - 1) if bits else 0


class Deltas:
    """The codec of deltas, family by family: under the Gaussian table with mean 0, each layer's coarseness and scale before its values.

    kinds: [{name: Layer}], one for each family; one whose deltas are all zero takes a bit.
    """

    def __init__(self, gaussians, kinds):
        self.gaussians, self.kinds = gaussians, kinds
        self.size = sum(map(count, kinds))

    def _scale(self, values):
        """The scale index under which values cost least."""
        costs = [
            self.gaussians.information_bits(values, *self._parameters(len(values), scale))
            for scale in range(gaussian_tables.SCALES)
        ]
        return int(np.argmin(costs))

    @staticmethod
    def _parameters(size, scale):
        return np.zeros(size, np.int32), np.full(size, scale, np.int32)

    def push(self, stack, deltas):
        """deltas: all families' in one array of int32, each within +-MAX_UPDATE times its layer's 2^coarseness."""
        for some, layers in reversed(list(zip(by_kind(deltas, self.kinds), self.kinds))):
            if some.any():
                self._push_layers(stack, some, layers)
            stack.push_uniform(np.array([int(some.any())]), 2)

    def _push_layers(self, stack, deltas, layers):
        for part in reversed(split(deltas, layers).values()):
            coarse = coarseness(part)
            values = part >> coarse
            scale = self._scale(values)
            self.gaussians.push(stack, values, *self._parameters(len(part), scale))
            stack.push_uniform(np.array([scale]), SCALE_CODES)
            stack.push_uniform(np.array([coarse]), COARSENESS)

    def pop(self, stack):
        """The mirror of push.  Errors: StackEmpty, DamagedFile."""
        return np.concatenate(
            [
                self._pop_layers(stack, layers)
                if stack.pop_uniform(1, 2)[0]
                else np.zeros(count(layers), np.int32)
                for layers in self.kinds
            ]
        )

    def _pop_layers(self, stack, layers):
        parts = []
        for name in sorted(layers):
            coarse, scale = (
                int(stack.pop_uniform(1, number)[0]) for number in (COARSENESS, SCALE_CODES)
            )
            if scale >= gaussian_tables.SCALES:
                raise DamagedFile("a scale of tuned biases is out of range")
            values = self.gaussians.pop(stack, *self._parameters(len(layers[name].shift), scale))
            if np.abs(values).max() > MAX_UPDATE:
                raise DamagedFile("a tuned bias is out of range")
            parts.append(values << coarse)
        return np.concatenate(parts)
