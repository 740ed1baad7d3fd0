"""Weights in the form that oneDNN's int8 convolutions take."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from bitsback.integer.convolution import TOP, WEIGHT, Layer, Reference

SPLIT = 7  # weights of more bits are 2^7 high + low
# A layer of up to FEW weights is packed once for all inputs of at least MANY pixels, for TYPICAL
# height and width; one whose outputs fill at most BLOCKS blocks of BLOCK, for any input, but for
# one of at most TINY pixels of output, for which it is packed as for TYPICAL_TINY of output.
FEW, MANY, TYPICAL = 2**17, 2**12, (64, 64)
TINY, TYPICAL_TINY = 80, 8
BLOCK, BLOCKS = 16, 8


class _Int8(NamedTuple):
    """A layer in oneDNN's form.  weight (O, I, k, k) int8, scale (O,), zero (O,).

    biases: (O,) float32 of each row; signed: the same for signed inputs, None where float32 could
    not hold a sum then; one_order: whether oneDNN wants the weights in one order for all inputs.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    biases: tuple[torch.Tensor, ...]
    signed: tuple[torch.Tensor, ...] | None
    one_order: bool


class PackedWeights(Reference):
    """The reference, with the weights of onednn.Fast beside its own.

    Weights of more than 7 bits are split, w = 128 high + low, and convolved side by side.
    """

    def __init__(self, layers: Mapping[str, Layer]):
        super().__init__(layers)
        self._int8 = {name: self._split(layer) for name, layer in layers.items()}
        # of each layer, of tiny inputs and others, the latest: (shape it was packed for, weights)
        self._packed: dict[tuple[str, bool], tuple[tuple[int, ...], torch.Tensor]] = {}

    @staticmethod
    def _split(layer: Layer) -> _Int8 | None:
        """The _Int8 of a layer, or None where float32 could not hold a sum."""
        weight, bias = layer.weight.long(), layer.bias.long()
        scale = torch.exp2(-layer.shift.to(torch.float32))
        if not layer.inner:
            high = (weight + WEIGHT) >> SPLIT
            bias = F.pad(bias, (0, len(weight)))
            weight = torch.cat([weight - (high << SPLIT), high])
            scale = torch.cat([scale, scale * 2**SPLIT])
        reach, largest, outputs = weight.flatten(1).abs().sum(1), bias.abs().amax(0), len(weight)
        if weight.abs().max() > WEIGHT or (reach * TOP + largest).max() >= 2**24:
            return None
        bias, offset = bias.to(torch.float32) * scale, -128 * weight.flatten(1).sum(1) * scale
        signed = tuple(bias + offset) if (reach * (TOP + 128) + largest).max() < 2**24 else None
        one_order = outputs < 2 * BLOCK or outputs <= BLOCKS * BLOCK and outputs % BLOCK == 0
        return _Int8(
            layer.weight if layer.inner else weight.to(torch.int8),  # mapped from the file
            scale,
            torch.zeros(outputs, dtype=torch.int64, device="cpu"),
            tuple(bias),
            signed,
            one_order,
        )

    def _pack(self, name: str, layer: _Int8, shape: torch.Size, padding: int) -> torch.Tensor:
        """Weights in the order that oneDNN wants for inputs of this shape.

        Weights in another order are reordered in every call, which can take a hundred times as long
        as the convolution.  Layers of few weights have one order for all inputs of many pixels;
        those whose outputs can be divided in one way only (96 are twice 48; 192 are thrice 64 or
        four times 48) have one for all inputs, and another one for tiny inputs.  Packing needs a
        shape in any case.
        """
        stride = self.layers[name].stride
        tiny = shape[2] * shape[3] <= TINY * stride**2
        wanted = tuple(shape)
        if layer.one_order:
            side = TYPICAL_TINY * stride
            wanted = (1, shape[1], side, side) if tiny else (1, shape[1], *TYPICAL)
        elif shape[2] * shape[3] >= MANY and layer.weight.numel() <= FEW:
            wanted = (1, shape[1], *TYPICAL)
        key = name, tiny
        if key not in self._packed or self._packed[key][0] != wanted:
            packed = torch.ops.onednn.qconv_prepack(
                layer.weight,
                layer.scale,
                1.0,
                0,
                [stride] * 2,
                [padding] * 2,
                [1, 1],
                1,
                list(wanted),
            )
            self._packed[key] = wanted, packed
            return packed  # another thread may have packed it for another shape since
        return self._packed[key][1]
