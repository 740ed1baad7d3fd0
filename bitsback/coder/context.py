"""Context of a segment: pixels around it that are decoded before it, and fixed samples inside.

The network expects noised pixels y_k = x + noise of level k.  Encoder and decoder both compute them
for known pixels by the forward chain, with a hash of (level, channel, side, row, column) in place
of random numbers: distributed as the network expects, equal on every machine, at no cost in bits.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bitsback.ans.gaussian_tables import Gaussians
from bitsback.coder.fastest import sample_functions
from bitsback.diffusion.levels import Levels
from bitsback.diffusion.passes import Pass

# Rows and columns of context.  16 and 32 are no better (within 0.05 % on six images) and take a
# twentieth and a tenth more time.
CONTEXT_ROWS = 8
BELOW, RIGHT, INSIDE = 0, 1, 2  # sides
Array = Any  # numpy's or torch's


class Context(NamedTuple):
    """Values around a segment (B, C, H, W): below (B, C, h, W + w), to the right (B, C, H, w).

    free: (B, C, H, W) bool, which values of the segment are coded; None for all.  fixed: (n,) the
    other values, which side information gives, in C order.  Arrays are numpy's, or tensors on a
    device (`on_device`); there `free` is a FreeSamples.
    """

    below: Any
    right: Any
    free: Any = None
    fixed: Any = None

    def placed(self, coded: Array, shape: tuple[int, ...]) -> Array:
        """(n,) int32, the coded values -> the segment (B, C, H, W), fixed values included."""
        if self.free is None or self.fixed is None:
            return coded.reshape(shape)
        return sample_functions(coded).placed(coded, self.fixed, self.free)

    def around(self, values: Array) -> Array:
        """The segment (B, C, H, W) and its context, as one (B, C, H + h, W + w) array."""
        height, width = values.shape[2:]
        size = height + self.below.shape[2], width + self.right.shape[3]
        shape = *values.shape[:2], *size
        whole = sample_functions(values).empty(values, shape)
        whole[:, :, :height, :width], whole[:, :, :height, width:] = values, self.right
        whole[:, :, height:] = self.below
        return whole


def free_values(values: Array, free: Any) -> Array:
    """(n,) the values where `free` is true, in C order; all of them where it is None."""
    return sample_functions(values).free_values(values, free)


def no_context(values: np.ndarray) -> Context:
    """The empty Context of a segment (B, C, H, W)."""
    return Context(values[:, :, :0], values[:, :, :, :0])


def context_chain(forward: Gaussians, levels: Levels, context: Context) -> list[Context]:
    """Context of int32 pixels - 128 -> [Context of y_0, ..., of y_{K-1}], lattice indices.

    forward: Gaussians over the forward table, row set k for level k.
    """
    chain, values, samples, free = [], context, sample_functions(context.right), context.free
    for k in range(len(levels)):
        below, right = (
            samples.noised(forward, levels, k, side, previous)
            for side, previous in ((BELOW, values.below), (RIGHT, values.right))
        )
        fixed = values.fixed
        if free is not None and fixed is not None:
            fixed = samples.noised_where(forward, levels, k, INSIDE, fixed, free)
        values = Context(below, right, free, fixed)
        chain.append(values)
    return chain


def on_device(
    contexts: Sequence[Context], orders: Iterable[tuple[Pass, ...]], device: torch.device
) -> list[Context]:
    """Contexts of one segment with their arrays as tensors on a device.

    orders: the coding passes of all steps, for the lists of indices that replace `free`.
    """
    from bitsback.coder.sample_tensors import FreeSamples

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    free = contexts[0].free
    samples = None if free is None else FreeSamples(free, orders, device)
    return [
        Context(
            there(context.below),
            there(context.right),
            samples,
            None if context.fixed is None else there(context.fixed),
        )
        for context in contexts
    ]
