"""Bits-back along the noise levels, in Bit-Swap order (arXiv 1905.06845), for one group of pixels.

    push:  pop y_0 ~ q(y_0|x)      push x under p(x|y_0)
           pop y_1 ~ q(y_1|y_0)    push y_0 under p(y_0|y_1)
           ...                     push y_{K-1} under its top Gaussian
    pop:   the same lines from the last to the first, push and pop swapped

What is popped comes back with interest: the net growth is the bound of these levels, and the
message is never deeper in debt than about two levels' worth (3.4 bits a dimension).
"""

from dataclasses import dataclass

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.coder.context import chosen, context_chain
from bitsback.diffusion.levels import forward_mean32, sigmas
from bitsback.coder.conditional import Conditional


class Forward:
    """q(y_k | y_{k-1}): mean y_{k-1}, the k-th scale of the forward table; bits are popped here and
    pushed back on decoding."""

    def __init__(self, forward, levels, k):
        self.gaussians, self.levels, self.k = forward, levels, k

    def _parameters(self, previous, known):
        mean32 = forward_mean32(self.levels, self.k, chosen(previous, known.free))
        return mean32, np.full(mean32.shape, self.k, np.int32)

    def push(self, stack, values, previous, known):
        """values, previous: (B, 3 or 1, H, W) int32 of levels k and k - 1; known: Known of level k."""
        self.gaussians.push(
            stack, chosen(values, known.free), *self._parameters(previous, known), escapes=False
        )

    def pop(self, stack, previous, known):
        """The mirror of push: int32 of previous's shape."""
        return known.placed(
            self.gaussians.pop(stack, *self._parameters(previous, known), escapes=False),
            previous.shape,
        )


@dataclass(frozen=True)
class Top:
    """y_{K-1} under a Gaussian a channel; mean32 and scale: three integers each, in the header.  Of one group mean32 may be (B, 3 or 1, H, W) int32."""

    mean32: tuple | np.ndarray
    scale: tuple

    @classmethod
    def fitted(cls, images, levels):
        """From the mean and variance of x over a list of (H, W, 3) or (H, W, 1) uint8."""
        count = sum(p.shape[0] * p.shape[1] for p in images)
        total = np.zeros(3, np.int64) + sum(p.sum((0, 1), dtype=np.int64) for p in images)
        squares = np.zeros(3, np.int64) + sum(
            np.square(row, dtype=np.int64).sum(0) for p in images for row in p
        )  # row by row: 8 bytes a sample
        mean = total / count
        spacing, sigma = levels[-1].spacing, sigmas(levels)[-1]
        variance = np.maximum(squares / count - mean**2 + sigma**2 - spacing**2 / 12, 1e-3)
        mean32 = np.rint((mean - 128) / spacing * gaussian_tables.FRACTIONS).astype(int)
        return cls(
            tuple(mean32.tolist()),
            tuple(gaussian_tables.scale_index(np.sqrt(variance) / spacing).tolist()),
        )

    def at(self, place, channels):
        """The Top of the group at a Place of pictures with `channels`: the same everywhere."""
        return self

    def _parameters(self, shape, free):
        colours = slice(None) if shape[1] == 3 else slice(1, 2)  # a grey picture's is G's
        each = lambda values: np.array(values[colours], np.int32)[None, :, None, None]  # noqa: E731
        mean32 = self.mean32 if isinstance(self.mean32, np.ndarray) else each(self.mean32)
        return tuple(
            chosen(np.broadcast_to(values, shape), free) for values in (mean32, each(self.scale))
        )

    def push(self, gaussians, stack, values, known):
        """values: (B, 3 or 1, H, W) int32; known: Known of that level."""
        gaussians.push(
            stack, chosen(values, known.free), *self._parameters(values.shape, known.free)
        )

    def pop(self, gaussians, stack, shape, known):
        """The mirror of push."""
        return known.placed(gaussians.pop(stack, *self._parameters(shape, known.free)), shape)


class Chain:
    """The codec of a group: x (B, 3, H, W) int32, or (B, 1, H, W) of grey ones, pixels - 128, under the diffusion prior."""

    def __init__(self, network, gaussians, forward, levels):
        self.network, self.gaussians, self.levels, self.forward_table = (
            network,
            gaussians,
            levels,
            forward,
        )
        self.forward = [Forward(forward, levels, k) for k in range(len(levels))]
        self.reverse = [Conditional(network, gaussians, k) for k in range(len(levels))]

    def push(self, stack, x, top, known, watch=lambda stack: None, colours=None):
        """known: Known, pixels - 128 around the group and in it; colours: Colours, counts of what is known when the group is decoded; watch: called after every pop, to follow the debt.

        Errors: StackEmpty, x is then lost half-way: work on a copy of the stack.
        """
        value, contexts = x, context_chain(self.forward_table, self.levels, known)
        for k, (forward, reverse, around) in enumerate(zip(self.forward, self.reverse, contexts)):
            y = forward.pop(stack, value, around)
            watch(stack)
            reverse.push(stack, value, y, around, None if k else colours)
            value = y
        top.push(self.gaussians, stack, value, contexts[-1])

    def pop(self, stack, shape, top, known, down_to=-1, colours=None):
        """The mirror of push: x of `shape`, which colours have counted then.  down_to: stops at y_k of that level k, lattice indices."""
        contexts = context_chain(self.forward_table, self.levels, known)
        y = top.pop(self.gaussians, stack, shape, contexts[-1])
        for k in range(len(self.levels) - 1, down_to, -1):
            value = self.reverse[k].pop(
                stack,
                y,
                contexts[k],
                (contexts[k - 1] if k else known).fixed,
                None if k else colours,
            )
            self.forward[k].push(stack, y, value, contexts[k])
            y = value
        return y
