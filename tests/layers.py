"""Layers of an integer network, made for one test."""

import numpy as np
import torch

from bitsback.integer.convolution import Layer


def make_layer(weight, bias=0, shift=0, stride=1):
    """weight: (O, I, k, k) array, int8 makes an inner layer; bias and shift: a number or (O,)."""
    outputs = len(weight)
    return Layer(
        torch.from_numpy(np.ascontiguousarray(weight)),
        torch.from_numpy(np.broadcast_to(bias, (1, outputs)).astype(np.int32)),
        torch.from_numpy(np.broadcast_to(shift, outputs).astype(np.int8)),
        stride,
    )
