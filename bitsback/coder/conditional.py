"""The codec of one level given the level above: p(y_{k-1} | y_k), and p(x | y_0).

One iterator of requests (distributions.py) serves both directions.  A decoder pops the values of
each request and writes them into the level's array, which the next request is computed from; an
encoder, which has the array, keeps the requests and pushes them in reverse.
"""

import numpy as np
import torch

from bitsback.ans.colour_counts import ColourCounts, PixelArray
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.stack import Stack
from bitsback.coder.context import Context
from bitsback.coder.distributions import Request, distributions
from bitsback.coder.fastest import sample_functions
from bitsback.coder.ledger import Ledger
from bitsback.integer.network import IntegerExperts


class Conditional:
    """The codec of values on one lattice given the level above.

    index: 0 for p(x | y_0), k for p(y_{k-1} | y_k).
    """

    def __init__(self, network: IntegerExperts, gaussians: Gaussians, index: int):
        self.network, self.gaussians, self.index = network, gaussians, index

    def push(
        self,
        stack: Stack,
        values: np.ndarray,
        y: np.ndarray,
        context: Context,
        counts: ColourCounts | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """values, y: (B, 3 or 1, H, W) int32; context: of y's level; codes where it is free.

        counts: for pixels only; on entry they include these values, push removes them.
        """
        free, samples = context.free, sample_functions()
        if counts and free is not None:
            counts.count_all(values, -1, ~free)
        requests = list(distributions(self.network, self.index, y, values, context))
        for request in reversed(requests):
            if counts:
                counts.push(stack, self.gaussians, _pixel_array(request, values, free))
            else:
                here = samples.of_colour(request.places, values, request.colour, free)
                self.gaussians.push(stack, here, *_parameters(request))
            if ledger:
                ledger.record(stack, self.index, request.places.pass_number, request.colour)

    def pop(
        self,
        stack: Stack,
        y: np.ndarray,
        context: Context,
        fixed: np.ndarray | None = None,
        counts: ColourCounts | None = None,
        ledger: Ledger | None = None,
    ) -> np.ndarray:
        """The mirror of push: int32 of y's shape.

        fixed: (n,) the known values of the level that is returned, in C order.  Errors: StackEmpty.
        """
        free, samples = context.free, sample_functions()
        values = np.empty(y.shape, np.int32)
        if free is not None and fixed is not None:
            samples.put_fixed(values, fixed, free)
        for request in distributions(self.network, self.index, y, values, context):
            places, colour, parameters = request.places, request.colour, _parameters(request)
            if counts:
                table, keys = samples.counted(places, values, colour, free)
                coded = counts.pop(stack, self.gaussians, table, keys, *parameters)
            else:
                coded = self.gaussians.pop(stack, *parameters)
            if ledger:
                ledger.record(stack, self.index, places.pass_number, colour)
            samples.put(places, values, colour, free, coded)
        if counts and free is not None:
            counts.count_all(values, 1, ~free)
        return values

    def pixel_arrays(self, x: np.ndarray, y: np.ndarray, context: Context) -> list[PixelArray]:
        """What push pushes under colour counts, in the order of decoding; nothing is pushed."""
        return [
            _pixel_array(request, x, context.free)
            for request in distributions(self.network, self.index, y, x, context)
        ]


def on_host(array: np.ndarray | torch.Tensor) -> np.ndarray:
    """An array, or a tensor of any device, as numpy's array."""
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array


def _parameters(request: Request) -> tuple[np.ndarray, np.ndarray]:
    """mean32 and scale, (m,) int32 each, on the host."""
    return on_host(request.mean32), on_host(request.scale)


def _pixel_array(request: Request, x: np.ndarray, free: np.ndarray | None) -> PixelArray:
    places, colour, samples = request.places, request.colour, sample_functions()
    table, keys = samples.counted(places, x, colour, free)
    here = samples.of_colour(places, x, colour, free)
    return PixelArray(table, keys, here, *_parameters(request))
