"""Bits-back along the noise levels, in Bit-Swap order (arXiv 1905.06845), for one group of pixels.

    push:  pop y_0 ~ q(y_0|x)      push x under p(x|y_0)
           pop y_1 ~ q(y_1|y_0)    push y_0 under p(y_0|y_1)
           ...                     push y_{K-1} under its top Gaussian
    pop:   the same lines from the last to the first, push and pop swapped

What is popped comes back with interest: the net growth is the bound of these levels, and the
message is never deeper in debt than about two levels' worth (3.4 bits a dimension).
"""

import numpy as np

from bitsback.coder.conditional import Conditional
from bitsback.coder.context import context_chain, free_values
from bitsback.diffusion.levels import forward_mean32


class Forward:
    """q(y_k | y_{k-1}): mean y_{k-1}, the k-th scale of the forward table; bits are popped here and
    pushed back on decoding."""

    def __init__(self, forward, levels, k):
        self.gaussians, self.levels, self.k = forward, levels, k

    def _parameters(self, previous, context):
        mean32 = forward_mean32(self.levels, self.k, free_values(previous, context.free))
        return mean32, np.full(mean32.shape, self.k, np.int32)

    def push(self, stack, values, previous, context):
        """values, previous: (B, 3 or 1, H, W) int32 of levels k and k - 1; context: Context of level k."""
        self.gaussians.push(
            stack,
            free_values(values, context.free),
            *self._parameters(previous, context),
            escapes=False,
        )

    def pop(self, stack, previous, context):
        """The mirror of push: int32 of previous's shape."""
        return context.placed(
            self.gaussians.pop(stack, *self._parameters(previous, context), escapes=False),
            previous.shape,
        )


class Chain:
    """The codec of a group: x (B, 3, H, W) int32, or (B, 1, H, W) of gray ones, pixels - 128, under the diffusion prior."""

    def __init__(self, network, gaussians, forward, levels):
        self.network, self.gaussians, self.levels, self.forward_table = (
            network,
            gaussians,
            levels,
            forward,
        )
        self.forward = [Forward(forward, levels, k) for k in range(len(levels))]
        self.reverse = [Conditional(network, gaussians, k) for k in range(len(levels))]

    def push(self, stack, x, top, context, watch=lambda stack: None, colours=None):
        """context: Context, pixels - 128 around the group and in it; colours: Colours, counts of what is known when the group is decoded; watch: called after every pop, to follow the debt.

        Errors: StackEmpty, x is then lost half-way: work on a copy of the stack.
        """
        value, contexts = x, context_chain(self.forward_table, self.levels, context)
        for k, (forward, reverse, around) in enumerate(zip(self.forward, self.reverse, contexts)):
            y = forward.pop(stack, value, around)
            watch(stack)
            reverse.push(stack, value, y, around, None if k else colours)
            value = y
        top.push(self.gaussians, stack, value, contexts[-1])

    def pop(self, stack, shape, top, context, down_to=-1, colours=None):
        """The mirror of push: x of `shape`, which colours have counted then.  down_to: stops at y_k of that level k, lattice indices."""
        contexts = context_chain(self.forward_table, self.levels, context)
        y = top.pop(self.gaussians, stack, shape, contexts[-1])
        for k in range(len(self.levels) - 1, down_to, -1):
            value = self.reverse[k].pop(
                stack,
                y,
                contexts[k],
                (contexts[k - 1] if k else context).fixed,
                None if k else colours,
            )
            self.forward[k].push(stack, y, value, contexts[k])
            y = value
        return y
