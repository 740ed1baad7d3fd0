"""The codec of one level given the level above: p(y_{k-1} | y_k), and p(x | y_0).

One generator of requests (distributions.py) serves both directions.  A decoder pops the values of
each request; an encoder, which has the values, keeps the requests and pushes them in reverse.
"""

from collections.abc import Callable, Generator

import numpy as np
import torch

from bitsback.ans.colour_counts import ColourCounts, PixelArray, table_and_keys
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.stack import Stack
from bitsback.coder.context import Context, free_values
from bitsback.coder.distributions import Request, distributions
from bitsback.coder.ledger import Ledger
from bitsback.integer.network import IntegerExperts


def on_host(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of any device as numpy's array."""
    return tensor.cpu().numpy()


def run_requests(
    requests: Generator[Request, np.ndarray, None], answer: Callable[[Request], np.ndarray]
) -> None:
    """Runs a generator of requests to its end; sends it `answer(request)` for each.

    Both directions use it: a decoder's answer pops the values; an encoder's looks them up and
    keeps the request, because what a decoder pops first must be pushed last.
    """
    try:
        request = next(requests)
        while True:
            request = requests.send(answer(request))
    except StopIteration:
        return


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
        if counts and context.free is not None:
            counts.count_all(values, -1, ~context.free)
        for request, here in reversed(self._requests(values, y, context)):
            if counts:
                array = _pixel_array(request, here, values, context)
                counts.push(stack, self.gaussians, array)
            else:
                free = _free(request, context)
                self.gaussians.push(stack, free_values(here, free), *_parameters(request, free))
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
        values = np.empty(y.shape, np.int32)
        if context.free is not None and fixed is not None:
            values[~context.free] = fixed

        def popped(request: Request) -> np.ndarray:
            free = _free(request, context)
            parameters = _parameters(request, free)
            if counts:
                table, keys = table_and_keys(request.places.of(values), request.colour)
                keys = free_values(keys, free)
                coded = counts.pop(stack, self.gaussians, table, keys, *parameters)
            else:
                coded = self.gaussians.pop(stack, *parameters)
            if ledger:
                ledger.record(stack, self.index, request.places.pass_number, request.colour)
            if free is None:
                here = coded.reshape(tuple(request.mean32.shape))
            else:
                here = request.places.of_colour(values, request.colour)
                here[free] = coded
            request.places.put(values[:, request.colour : request.colour + 1], here[:, None])
            return here

        run_requests(distributions(self.network, self.index, y, context), popped)
        if counts and context.free is not None:
            counts.count_all(values, 1, ~context.free)
        return values

    def pixel_arrays(self, x: np.ndarray, y: np.ndarray, context: Context) -> list[PixelArray]:
        """What push pushes under colour counts, in the order of decoding; nothing is pushed."""
        return [
            _pixel_array(request, here, x, context)
            for request, here in self._requests(x, y, context)
        ]

    def _requests(
        self, values: np.ndarray, y: np.ndarray, context: Context
    ) -> list[tuple[Request, np.ndarray]]:
        """Each request and its values (B, n), in the order of decoding."""
        found = []

        def known(request: Request) -> np.ndarray:
            here = request.places.of_colour(values, request.colour)
            found.append((request, here))
            return here

        run_requests(distributions(self.network, self.index, y, context), known)
        return found


def _free(request: Request, context: Context) -> np.ndarray | None:
    """(B, n) bool: which of a request's values are coded; None for all."""
    if context.free is None:
        return None
    return request.places.of_colour(context.free, request.colour)


def _parameters(request: Request, free: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """mean32 and scale, (m,) int32 each, of the values that are coded."""
    return (
        free_values(on_host(request.mean32), free),
        free_values(on_host(request.scale), free),
    )


def _pixel_array(request: Request, here: np.ndarray, x: np.ndarray, context: Context) -> PixelArray:
    free = _free(request, context)
    table, keys = table_and_keys(request.places.of(x), request.colour)
    return PixelArray(
        table, free_values(keys, free), free_values(here, free), *_parameters(request, free)
    )
