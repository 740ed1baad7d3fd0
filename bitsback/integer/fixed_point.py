"""Integer arithmetic of fixed-point numbers, with stated rounding."""

from typing import TypeVar

import numpy as np
import torch

Integers = TypeVar("Integers", int, np.ndarray, torch.Tensor)


def rounded_shift(value: Integers, bits: int) -> Integers:
    """floor(value / 2^bits + 1/2), bits >= 1."""
    return (value + (1 << (bits - 1))) >> bits
