"""Biases moved to suit one picture: what a file may carry of its own beside the model's weights.

A file's deltas are one small integer for each output channel of each layer, the same for all levels.  They are
pushed last and popped first: the network that they make decodes the rest.  Delta t adds t * 2^n to a
channel's accumulator, n by its shift and the kind of its layer, so that a step is 1/64 of an
activation's 1.0 wherever it is added (ARITHMETIC.md, section 9).  Whoever reads deltas proves anew that no sum can leave
float32's exact range.
"""
import numpy as np
import torch

from . import lattice
from .errors import DamagedFile, TrainingError
from .exact import Layer
from .export import prove_exact

LIMIT = 127                     # largest delta
SCALE_CODES = 128               # a scale's index is stored in 7 bits
FARTHEST = 14                   # largest n: a delta moves no accumulator by more than 2^21
STEP_SHIFTS = {"a": 1, "head_mix": 0}       # 1/64 in output units of a layer, as a power of two; others add to wide sums of 1/1024
OUTPUT_SHIFTS = (2, -1, 0)      # of the last layers: mean 1/256, scale 1/16 doubling, colour 1/64


def delta_units(name, layer):
    """(O,) int64: what a delta of 1 adds to the accumulators of a layer's channels."""
    if name == "last" or name.startswith("head_out"):
        more = torch.tensor(OUTPUT_SHIFTS).repeat_interleave(len(layer.shift) // 3)
    else:
        more = STEP_SHIFTS.get(name if name == "head_mix" else name.split(".")[-1], 4)
    return 1 << (layer.shift.long() + more).clamp(0, FARTHEST)


def count(layers):
    """Number of deltas of a model."""
    return sum(len(layer.shift) for layer in layers.values())


def split(deltas, layers):
    """{name: (O,)} of all deltas in one array: layers in the order of their names."""
    names = sorted(layers)
    ends = np.cumsum([len(layers[name].shift) for name in names])
    return dict(zip(names, np.split(deltas, ends[:-1])))


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


class Deltas:
    """The codec of deltas: under the Gaussian table with mean 0, each layer's scale before its values."""

    def __init__(self, gaussians, layers):
        self.gaussians, self.layers = gaussians, layers

    def _scale(self, values):
        """The scale index under which values cost least."""
        costs = [self.gaussians.information_bits(values, *self._parameters(len(values), scale)) for scale in range(lattice.SCALES)]
        return int(np.argmin(costs))

    @staticmethod
    def _parameters(size, scale):
        return np.zeros(size, np.int32), np.full(size, scale, np.int32)

    def push(self, stack, deltas):
        """deltas: (count,) int32 within +-LIMIT."""
        for part in reversed(split(deltas, self.layers).values()):
            scale = self._scale(part)
            self.gaussians.push(stack, part, *self._parameters(len(part), scale))
            stack.push_uniform(np.array([scale]), SCALE_CODES)

    def pop(self, stack):
        """The mirror of push.  Errors: StackEmpty, DamagedFile."""
        parts = []
        for name in sorted(self.layers):
            scale = int(stack.pop_uniform(1, SCALE_CODES)[0])
            if scale >= lattice.SCALES:
                raise DamagedFile("a scale of tuned biases is out of range")
            parts.append(self.gaussians.pop(stack, *self._parameters(len(self.layers[name].shift), scale)))
        deltas = np.concatenate(parts)
        if np.abs(deltas).max() > LIMIT:
            raise DamagedFile("a tuned bias is out of range")
        return deltas
