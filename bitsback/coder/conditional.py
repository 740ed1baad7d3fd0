"""The codec of one level given the level above: p(y_{k-1} | y_k), and p(x | y_0).

One iterator of requests (distributions.py) serves both directions.  A decoder pops the values of
each request and writes them into the level's array, which the next request is computed from; an
encoder, which has the array, keeps the requests and pushes them in reverse.
"""

from typing import Any

import numpy as np
import torch

from bitsback.ans.colour_counts import PixelArray
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import Array, Context
from bitsback.coder.distributions import Distributions, Request
from bitsback.coder.fastest import sample_functions
from bitsback.coder.ledger import Ledger
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.integer.ensemble import IntegerEnsemble
from bitsback.integer.network import IntegerExperts


class Conditional:
    """The codec of values on one lattice given the level above.

    index: 0 for p(x | y_0), k for p(y_{k-1} | y_k); whole: rows that replace the step's
    (whole_pixels.py), or None.  Arrays are numpy's with Lanes and ColourCounts, or tensors or
    Placed on one device with DeviceLanes and DeviceCounts.
    """

    def __init__(
        self,
        network: IntegerExperts | IntegerEnsemble,
        gaussians: Gaussians,
        index: int,
        whole: WholeRows | None = None,
    ):
        self.network, self.gaussians, self.index, self.whole = network, gaussians, index, whole

    def push(
        self,
        stack: Lanes | DeviceLanes,
        values: Array,
        y: Array,
        context: Context,
        counts: Any = None,
        ledger: Ledger | None = None,
    ) -> None:
        """values, y: (B, 3 or 1, H, W) int32; context: of y's level; codes where it is free.

        counts: ColourCounts or DeviceCounts, for pixels only; on entry they include these values,
        push removes them.
        """
        free, samples = context.free, sample_functions(values)
        if counts and free is not None:
            samples.count_fixed(counts, values, free, -1)
        step = self._step(y, values, context, True, counts)
        for request in reversed(list(step)):
            if counts:
                counts.push(stack, self.gaussians, _pixel_array(step, request, values))
            else:
                self.gaussians.push(stack, step.coded(request), *_parameters(request, values))
            if ledger:
                ledger.record(stack, self.index, request.places.pass_number, request.colour)

    def pop(
        self,
        stack: Lanes | DeviceLanes,
        y: Array,
        context: Context,
        fixed: Array | None = None,
        counts: Any = None,
        ledger: Ledger | None = None,
    ) -> Array:
        """The mirror of push: int32 of y's shape.

        fixed: (n,) the known values of the level that is returned, in C order.  Errors: StackEmpty.
        """
        free, samples = context.free, sample_functions(y)
        values = samples.empty(y, y.shape)
        if free is not None and fixed is not None:
            samples.put_fixed(values, fixed, free)
        step = self._step(y, values, context, False, counts)
        for request in step:
            parameters = _parameters(request, values)
            if counts:
                table, keys = step.counted(request)
                coded = counts.pop(stack, self.gaussians, table, keys, *parameters)
            else:
                coded = self.gaussians.pop(stack, *parameters)
            if ledger:
                ledger.record(stack, self.index, request.places.pass_number, request.colour)
            step.put(request, coded)
        if counts and free is not None:
            samples.count_fixed(counts, values, free, 1)
        return values

    def _step(
        self, y: Array, values: Array, context: Context, known: bool, counts: Any
    ) -> Distributions:
        arrays = y, values, context
        return Distributions(self.network, self.index, *arrays, known, bool(counts), self.whole)

    def pixel_arrays(self, x: np.ndarray, y: np.ndarray, context: Context) -> list[PixelArray]:
        """What push pushes under colour counts, in the order of decoding; nothing is pushed."""
        step = self._step(y, x, context, True, True)
        return [_pixel_array(step, request, x) for request in step]


def on_host(array: np.ndarray | torch.Tensor) -> np.ndarray:
    """An array, or a tensor of any device, as numpy's array."""
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array


def _parameters(request: Request, values: Array) -> tuple[Array, Array]:
    """mean32 and scale, (m,) int32 each, on the host if `values` are there."""
    if isinstance(values, np.ndarray):
        return on_host(request.mean32), on_host(request.scale)
    return request.mean32, request.scale


def _pixel_array(step: Distributions, request: Request, x: Array) -> PixelArray:
    table, keys = step.counted(request)
    return PixelArray(table, keys, step.coded(request), *_parameters(request, x))
