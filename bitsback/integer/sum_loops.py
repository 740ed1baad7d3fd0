"""What follows a convolution, compiled: each function of sum_arrays.py in one pass, in one thread.

The same integers.  Tensors are on a CPU, channels last, and lie in one piece each.
"""

import functools

import numpy as np
import torch

from bitsback.ans.compiled import compiled, inlined
from bitsback.integer.convolution import Limits

NONE, HIGHEST = np.float32(0), np.float32(255)
AT_ONCE = 16  # pixels whose values are limited in one loop, for processors that do several at once


def _flat(tensor: torch.Tensor) -> np.ndarray:
    """A view of the values as they lie.  Errors: RuntimeError where they do not in one piece."""
    return tensor.permute(0, 2, 3, 1).view(-1).numpy()


@inlined
def _byte(value, factor):
    """clamp(round_half_even(value * factor), 0, 255); clamped first, for which all is the same."""
    return np.uint8(np.int32(np.rint(min(max(value * factor, NONE), HIGHEST))))


@compiled
def _round_and_narrow(out, factor, wide, narrow):
    for i in range(out.size):
        rounded = np.rint(out[i])
        wide[i] = rounded
        narrow[i] = _byte(rounded, factor)


@compiled
def _add_and_narrow(out, factor, wide, narrow):
    for i in range(out.size):
        total = wide[i] + np.rint(out[i])
        wide[i] = total
        narrow[i] = _byte(total, factor)


@compiled
def _narrow_sum(out, factor, wide, narrow):
    for i in range(out.size):
        narrow[i] = _byte(np.float32(wide[i]) + np.rint(out[i]), factor)


@compiled
def _limit(out, low, high, limited):
    n, many = out.size, low.size
    for begin in range(0, n - n % many, many):
        values, there = out[begin : begin + many], limited[begin : begin + many]
        for i in range(many):
            there[i] = np.int32(min(max(np.rint(values[i]), low[i]), high[i]))
    for i in range(n - n % many, n):
        limited[i] = np.int32(min(max(np.rint(out[i]), low[i % many]), high[i % many]))


def round_and_narrow(
    out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor
) -> None:
    _round_and_narrow(_flat(out), np.float32(1 / divisor), _flat(wide), _flat(narrow))


def add_and_narrow(
    out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor
) -> None:
    _add_and_narrow(_flat(out), np.float32(1 / divisor), _flat(wide), _flat(narrow))


def narrow_sum(out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor) -> None:
    _narrow_sum(_flat(out), np.float32(1 / divisor), _flat(wide), _flat(narrow))


def limit(out: torch.Tensor, limits: Limits, limited: torch.Tensor) -> None:
    low, high = _ends(tuple(limits), out.shape[1] // len(limits))
    _limit(_flat(out), low, high, _flat(limited))


@functools.cache
def _ends(limits: tuple[tuple[int, int], ...], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The limits of AT_ONCE pixels' values, `channels` for each pair."""
    ends = np.array(limits, np.float32)
    low, high = np.tile(np.repeat(ends, channels, 0), (AT_ONCE, 1)).T.copy()
    return low, high
