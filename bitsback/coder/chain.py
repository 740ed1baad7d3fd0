"""Bits-back along the noise levels, in Bit-Swap order (arXiv 1905.06845), for one segment.

    encode: pop y_0 ~ q(y_0|x)      push x under p(x|y_0)
            pop y_1 ~ q(y_1|y_0)    push y_0 under p(y_0|y_1)
            ...                     push y_{K-1} under its top Gaussian
    decode: the same lines from the last to the first, push and pop swapped

The pushes add more than the pops took: the net growth is the bound of these levels.  Because each
level is pushed as soon as the next one is popped, about two levels' bits are borrowed at a time.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import DeviceLanes, Kernels, Tables
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.coder.conditional import Conditional
from bitsback.coder.context import Array, Context, context_chain, free_values, on_device
from bitsback.coder.fastest import placed, sample_functions
from bitsback.coder.ledger import Ledger
from bitsback.coder.top import Top
from bitsback.diffusion.levels import Levels, forward_mean32
from bitsback.diffusion.whole_pixels import INDEX, WholeRows
from bitsback.integer.ensemble import IntegerEnsemble
from bitsback.integer.network import IntegerExperts

# Version of the arithmetic that ARITHMETIC.md specifies beyond a model's integers, for which there
# is integer.installed.MODEL_ARITHMETIC.  No file stores it: the format version (FORMAT.md)
# implies it.
CODER_ARITHMETIC = 9


class Forward:
    """q(y_k | y_{k-1}): mean y_{k-1}, the k-th scale of the forward table.

    An encoder pops y_k from the stack's bits, a decoder pushes it back.
    """

    def __init__(self, forward: Gaussians, levels: Levels, k: int):
        self.gaussians, self.levels, self.k = forward, levels, k
        self._scale = np.array([k], np.int32)
        self._scale_there: torch.Tensor | None = None  # on the device of latest use

    def _parameters(self, previous: Array, context: Context) -> tuple[Array, Array]:
        """mean32 (n,) and scale (1,), which is that of all values."""
        mean32 = forward_mean32(self.levels, self.k, free_values(previous, context.free))
        if isinstance(mean32, torch.Tensor):
            if self._scale_there is None or self._scale_there.device != mean32.device:
                self._scale_there = torch.from_numpy(self._scale).to(mean32.device)
            return mean32, self._scale_there
        return mean32, self._scale

    def push(
        self,
        stack: Lanes | DeviceLanes,
        values: Array,
        previous: Array,
        context: Context,
        ledger: Ledger | None = None,
    ) -> None:
        """values, previous: (B, 3 or 1, H, W) int32, y_k and y_{k-1}; context: of level k.

        Errors: DamagedFile for a value that no encoder pops.
        """
        parameters = self._parameters(previous, context)
        self.gaussians.push(stack, free_values(values, context.free), *parameters, escapes=False)
        if ledger:
            ledger.record(stack, self.k)

    def pop(
        self,
        stack: Lanes | DeviceLanes,
        previous: Array,
        context: Context,
        ledger: Ledger | None = None,
    ) -> Array:
        """The mirror of push: int32 of previous's shape.  Errors: StackEmpty."""
        coded = self.gaussians.pop(stack, *self._parameters(previous, context), escapes=False)
        if ledger:
            ledger.record(stack, self.k)
        return context.placed(coded, previous.shape)


class Chain:
    """The codec of a segment under the diffusion prior.

    x: (B, 3, H, W) int32, or (B, 1, H, W) of gray images, pixels - 128.
    tensors: whether a segment is coded as tensors on the network's device, which nothing leaves
    but the lanes and x at its end.  kernels: whose work Triton kernels do then.  whole: rows of the
    table for y_0 (whole_pixels.py), or None.
    """

    def __init__(
        self,
        network: IntegerExperts | IntegerEnsemble,
        gaussians: Gaussians,
        forward: Gaussians,
        levels: Levels,
        tensors: bool = False,
        kernels: Kernels = Kernels(False, False, False),
        whole: WholeRows | None = None,
    ):
        self.network, self.gaussians, self.levels = network, gaussians, levels
        self.forward_table, self.kernels = forward, kernels
        self.tensors, self.whole = tensors, whole
        self._tables: Tables = {}
        self.forward = [Forward(forward, levels, k) for k in range(len(levels))]
        self.reverse = [
            Conditional(network, gaussians, k, whole if k == INDEX else None)
            for k in range(len(levels))
        ]

    def counts_for(self, counts: ColourCounts | None) -> Any:
        """What push and pop take for `counts`, for all segments of a file: they, or DeviceCounts.

        These are on the device; `counts` does not change then.
        """
        if counts is None or not self.tensors:
            return counts
        from bitsback.ans.device_counts import DeviceCounts

        return DeviceCounts(counts, self.network.device, self.kernels.counts)

    def _contexts(self, context: Context) -> list[Context]:
        """Those of the levels, where the segment is coded."""
        contexts = context_chain(self.forward_table, self.levels, context)
        if not self.tensors:
            return contexts
        orders = [self.network.order(k) for k in range(len(self.levels))]
        if self.kernels.distributions:
            from bitsback.coder.placed import placed_contexts

            return [*placed_contexts(contexts, orders, self.network.device)]
        return on_device(contexts, orders, self.network.device)

    def _pixels(self, x: np.ndarray) -> Any:
        """x where the segment is coded."""
        if not self.tensors:
            return x
        there = torch.from_numpy(x).to(self.network.device)
        if not self.kernels.distributions:
            return there
        from bitsback.coder.placed import Placed

        return Placed(there, x.shape)

    def _lanes(self, lanes: Lanes, values: int) -> Lanes | DeviceLanes:
        """The lanes where the segment is coded; values: in the segment."""
        if not self.tensors:
            return lanes
        pushed = values * (len(self.levels) + 1)  # at most, if nothing were popped
        room = min(2 * pushed, pushed // 2 + 2**16)
        return DeviceLanes(lanes, self.network.device, room, self.kernels.lanes, self._tables)

    def push(
        self,
        lanes: Lanes,
        x: np.ndarray,
        top: Top,
        context: Context,
        watch: Callable[[Any], object] = lambda lanes: None,
        counts: Any = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Pushes x.  context: Context of pixels - 128; watch: called after every pop, with lanes.

        counts: from counts_for; on entry they include this segment, on return only what is decoded
        before it.  Errors: StackEmpty, half-way: the caller restores lanes and counts.
        """
        if self._all_fixed(context):
            if counts:
                sample_functions(x).count_fixed(counts, x, context.free, -1)
            for _ in self.levels:
                watch(lanes)
            return
        stack, contexts = self._lanes(lanes, x.size), self._contexts(context)
        value = self._pixels(x)
        for k, (forward, reverse, around) in enumerate(zip(self.forward, self.reverse, contexts)):
            y = forward.pop(stack, value, around, ledger)
            watch(stack)
            reverse.push(stack, value, y, around, None if k else counts, ledger)
            value = y
        top.push(self.gaussians, stack, value, contexts[-1])
        if ledger:
            ledger.record(stack, len(self.levels))
        if isinstance(stack, DeviceLanes):
            stack.to_lanes()

    def pop(
        self,
        lanes: Lanes,
        shape: tuple[int, ...],
        top: Top,
        context: Context,
        down_to: int = -1,
        counts: Any = None,
        ledger: Ledger | None = None,
    ) -> np.ndarray:
        """The mirror of push: x of `shape`.  It has been added to the counts.

        down_to: k to stop at y_k, lattice indices of that level.  Errors: StackEmpty.
        """
        if down_to < 0 and self._all_fixed(context):
            x = context.fixed.reshape(shape).astype(np.int32)
            if counts:
                sample_functions(x).count_fixed(counts, x, context.free, 1)
            return x
        stack, contexts = self._lanes(lanes, math.prod(shape)), self._contexts(context)
        y = top.pop(self.gaussians, stack, shape, contexts[-1])
        if ledger:
            ledger.record(stack, len(self.levels))
        for k in range(len(self.levels) - 1, down_to, -1):
            fixed = contexts[k - 1].fixed if k else self._fixed(context)
            value = self.reverse[k].pop(stack, y, contexts[k], fixed, None if k else counts, ledger)
            self.forward[k].push(stack, y, value, contexts[k], ledger)
            y = value
        if isinstance(stack, DeviceLanes):
            stack.to_lanes()
            return (y.values if placed(y) else y).cpu().numpy()
        return y

    def _all_fixed(self, context: Context) -> bool:
        """Whether no sample of a segment is coded, on the host: then nothing is computed for it."""
        return not self.tensors and context.free is not None and not context.free.any()

    def _fixed(self, context: Context) -> Array | None:
        """The fixed samples of the pixels, where the segment is coded."""
        if context.fixed is None or not self.tensors:
            return context.fixed
        return torch.from_numpy(context.fixed).to(self.network.device)
