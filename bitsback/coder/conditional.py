"""The codec of one level given the level above: p(y_{k-1} | y_k), and p(x | y_0).

One iterator of requests (distributions.py) serves both directions.  A decoder pops the values of
each request and writes them into the level's array, which the next request is computed from; an
encoder, which has the array, keeps the requests and pushes them in reverse.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bitsback.ans.colour_counts import PixelArray
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import Array, Context
from bitsback.coder.distributions import Request, distributions
from bitsback.coder.fastest import sample_functions
from bitsback.coder.ledger import Ledger
from bitsback.integer.network import IntegerExperts


class Conditional:
    """The codec of values on one lattice given the level above.

    index: 0 for p(x | y_0), k for p(y_{k-1} | y_k); kernels: for tensors, False for torch
    operations, None for Triton where it runs.  Arrays are numpy's with Lanes and ColourCounts, or
    tensors on one device with DeviceLanes and DeviceCounts.
    """

    def __init__(
        self,
        network: IntegerExperts,
        gaussians: Gaussians,
        index: int,
        kernels: bool | None = None,
    ):
        self.network, self.gaussians, self.index = network, gaussians, index
        self.kernels = kernels

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
        requests = list(self._requests(y, values, context))
        for request in reversed(requests):
            if counts:
                counts.push(stack, self.gaussians, _pixel_array(request, values, free))
            else:
                here = samples.of_colour(request.places, values, request.colour, free)
                self.gaussians.push(stack, here, *_parameters(request, values))
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
        for request in self._requests(y, values, context):
            places, colour = request.places, request.colour
            parameters = _parameters(request, values)
            if counts:
                table, keys = samples.counted(places, values, colour, free)
                coded = counts.pop(stack, self.gaussians, table, keys, *parameters)
            else:
                coded = self.gaussians.pop(stack, *parameters)
            if ledger:
                ledger.record(stack, self.index, places.pass_number, colour)
            samples.put(places, values, colour, free, coded)
        if counts and free is not None:
            samples.count_fixed(counts, values, free, 1)
        return values

    def _requests(self, y: Array, values: Array, context: Context) -> Iterator[Request]:
        return distributions(self.network, self.index, y, values, context, self.kernels)

    def pixel_arrays(self, x: Array, y: Array, context: Context) -> list[PixelArray]:
        """What push pushes under colour counts, in the order of decoding; nothing is pushed."""
        return [_pixel_array(request, x, context.free) for request in self._requests(y, x, context)]


def on_host(array: np.ndarray | torch.Tensor) -> np.ndarray:
    """An array, or a tensor of any device, as numpy's array."""
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array


def _parameters(request: Request, values: Array) -> tuple[Array, Array]:
    """mean32 and scale, (m,) int32 each, on the host if `values` are there."""
    if isinstance(values, torch.Tensor):
        return request.mean32, request.scale
    return on_host(request.mean32), on_host(request.scale)


def _pixel_array(request: Request, x: Array, free: Any) -> PixelArray:
    places, colour, samples = request.places, request.colour, sample_functions(x)
    table, keys = samples.counted(places, x, colour, free)
    here = samples.of_colour(places, x, colour, free)
    return PixelArray(table, keys, here, *_parameters(request, x))
