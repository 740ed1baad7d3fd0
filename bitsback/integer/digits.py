"""Layers on int8 operands: integers of more bits become digits of base 128.

A weight is the sum of 128^i w_i, an input of more than 8 bits 128 high + low; digits below the
highest lie within -64..63.  Horner's rule adds the products up.  Activations a = 0..255 are taken
as a - 128, with 128 x the sum of the weights in the bias.
"""

from typing import NamedTuple

import torch

from bitsback.integer.convolution import Layer

BITS = 7  # of a digit


class Int8Layer(NamedTuple):
    """A layer on int8 operands.

    parts: digits of the weights, the highest first, (O, I, k, k) int8, or (O, 2 I, k, k) for the
    low, then the high digits of float32 inputs; bias: (rows, O) int64.
    """

    parts: list[torch.Tensor]
    bias: torch.Tensor


def digits(values: torch.Tensor) -> list[torch.Tensor]:
    """Integers -> their digits, int8, lowest first, as many as the largest value needs."""
    values, parts = values.long(), []
    while values.numel() and values.abs().max() > 127:
        low = ((values + 64) & 127) - 64
        parts.append(low.to(torch.int8))
        values = (values - low) >> BITS
    return [*parts, values.to(torch.int8)]


def two_digits(x: torch.Tensor) -> torch.Tensor:
    """Float32 integers within +-2^13, channels last, (..., I) -> (..., 2 I) int8: low, high."""
    values = x.to(torch.int32)
    low = ((values + 64) & 127) - 64
    return torch.cat([low, (values - low) >> BITS], -1).to(torch.int8)


def int8_layer(layer: Layer, kind: torch.dtype) -> Int8Layer:
    """The layer for inputs of `kind`: uint8, int8, or float32 integers within +-2^13."""
    weight, bias = layer.weight.long(), layer.bias.long()
    if kind == torch.uint8:
        bias = bias + 128 * weight.flatten(1).sum(1)
    parts = digits(weight)
    if kind == torch.float32:
        # Digit i of a product: digit i of the weight x the low, digit i - 1 x the high one.
        zeros = torch.zeros_like(parts[0])
        parts = [torch.cat([low, high], 1) for low, high in zip([*parts, zeros], [zeros, *parts])]
    return Int8Layer(parts[::-1], bias)
