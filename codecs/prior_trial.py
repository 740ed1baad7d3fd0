"""What crops would cost under the prior, counted without a file: for the mode decision."""

import numpy as np

from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import random_lanes
from bitsback.codecs.segments import planes
from bitsback.coder.chain import Chain
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top


class _BitCounter(Gaussians):
    """In place of a chain's Gaussians: adds the bits of what is pushed and subtracts those of what
    is popped, image by image.  bits: (B,) float64."""

    def __init__(self, gaussians, bits):
        self.gaussians, self.frequencies, self.bits = gaussians, gaussians.frequencies, bits

    def _each(self, *arguments):
        return self.gaussians.bits_of_each(*arguments).reshape(len(self.bits), -1).sum(1)

    def push(self, lanes, values, mean32, scale, escapes=True):
        self.bits += self._each(values, mean32, scale, escapes)

    def pop(self, lanes, mean32, scale, escapes=True):
        values = self.gaussians.pop(lanes, mean32, scale, escapes)
        self.bits -= self._each(values, mean32, scale, escapes)
        return values


def prior_bits(crops: np.ndarray, model: Model, device: str = "cpu") -> np.ndarray:
    """(B, H, W, C) uint8 -> (B,) float64: bits of each under the prior.

    The network sees all of them in one batch a level.
    """
    chain, bits, x = model.chain(device), np.zeros(len(crops)), planes(crops)
    lanes = random_lanes(x.size, len(model.levels))
    counting = Chain(
        chain.network,
        _BitCounter(chain.gaussians, bits),
        _BitCounter(chain.forward_table, bits),
        chain.levels,
        whole=chain.whole,
    )
    counting.push(lanes, x, Top.fitted(list(crops), model.levels), no_context(x))
    return bits
