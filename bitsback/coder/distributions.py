"""The distributions of a level's values as integers: coding passes of three colours, in order.

The network's outputs are integers (mean 1/256, scale 1/16 doubling, colour coefficient 1/64), and
all that follows is integer arithmetic with stated rounding (ARITHMETIC.md, section 7).  Means are
kept in 1/64 spacings and rounded to the table's 1/32 at the very end: three roundings to the
table's unit would cost more than the table's own.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from bitsback.ans.colour_counts import Table
from bitsback.coder.context import Context
from bitsback.coder.fastest import distribution_module, placed, sample_functions
from bitsback.diffusion.passes import Places
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.integer.ensemble import IntegerEnsemble
from bitsback.integer.network import IntegerExperts

COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R


class Request(NamedTuple):
    """What a decoder pops next: one colour of one coding pass.

    places: of its pixels; colour: channel of the values, 0 for gray; mean32 and scale: (m,) int32
    of the free values, in coding order, the rows of the Gaussian table: tensors on the network's
    device, or numpy's on the CPU.  counted: table and keys of colour counts, and coded: the values,
    where Triton kernels have made them.
    """

    places: Places
    colour: int
    mean32: Any
    scale: Any
    counted: Any = None
    coded: Any = None


class Distributions:
    """The requests of p(values | y) for step `index`, in the order of decoding: an iterable.

    y, values: (B, 3 or 1, H, W) int32, lattice indices of level `index` and of the one below, of
    one kind: numpy's, tensors or Placed; context: Context of level `index` (H or W is even where it
    has rows below or columns to the right).  A request's colour must be `put` before the next
    request is asked for, unless `values` have it; fixed samples of `values` are in it before the
    first.
    known: whether all values are there, as an encoder's are; keyed: whether `counted` is used;
    whole: rows that replace the step's (whole_pixels.py), or None.
    A gray image enters the network as three equal channels, and is coded by the outputs for G.
    """

    def __init__(
        self,
        network: IntegerExperts | IntegerEnsemble,
        index: int,
        y: Any,
        values: Any,
        context: Context,
        known: bool = False,
        keyed: bool = False,
        whole: WholeRows | None = None,
    ):
        self._network, self._index, self._y, self._values = network, index, y, values
        self._context, self._known, self._keyed = context, known, keyed
        self._whole, self._samples = whole, sample_functions(values)
        self._kernels: Any = None  # StepDistributions of Placed values

    def __iter__(self) -> Iterator[Request]:
        network, index, y, free = self._network, self._index, self._y, self._context.free
        device = network.device
        (channels, height, width), gray = y.shape[1:], y.shape[1] == 1
        seen = torch.as_tensor(self._context.around(y), device=device)
        out, state = network.trunk(index, seen)
        shape = len(y), *network.blocks(index, *seen.shape[2:])
        room = 16 if placed(self._values) else 12  # channels in memory; kernels read 16
        innovations = torch.zeros((*shape, room), dtype=torch.int8, device=device)[..., :12]
        module, tables = distribution_module(self._values, device), network.tables(index)
        found = module.StepDistributions(tables, out, y, self._values, free)
        if placed(self._values):
            found.known, found.keyed, found.whole = self._known, self._keyed, self._whole
            self._kernels = found
        order = network.order(index)
        for number, parts in enumerate(order):
            # the head is evaluated before any part of the pass is coded: parts do not see one
            # another
            head = network.head(index, number, state, innovations) if number else None
            places = Places(parts, height, width, number)
            if not places.n:
                continue
            # no head follows the last pass
            found.begin(places, head, innovations if number + 1 < len(order) else None)
            for colour in COLOURS[:channels]:
                request = Request(places, 0 if gray else colour, *found.of(colour))
                yield self._with_values(self._with_rows(request), colour)
            found.end()

    def _with_rows(self, request: Request) -> Request:
        """With the rows that know that pixels are whole; kernels have found them already."""
        if self._whole is None or self._kernels is not None:
            return request
        places, colour, mean32, scale = request[:4]
        above = sample_functions(self._y).of_colour(places, self._y, colour, self._context.free)
        if isinstance(scale, torch.Tensor):
            above = torch.as_tensor(above, device=scale.device)
        return request._replace(scale=self._whole.scale(mean32, scale, above))

    def _with_values(self, request: Request, colour: int) -> Request:
        if self._kernels is None or not (self._known or self._keyed):
            return request
        return request._replace(
            counted=self._kernels.keys(colour) if self._keyed else None,
            coded=self._kernels.coded(colour) if self._known else None,
        )

    def coded(self, request: Request) -> Any:
        """(m,) int32: the values of a request, which are known."""
        if request.coded is not None:
            return request.coded
        free = self._context.free
        return self._samples.of_colour(request.places, self._values, request.colour, free)

    def counted(self, request: Request) -> tuple[Table, Any]:
        """Table of colour counts, and (m,) keys, of a request."""
        if request.counted is not None:
            return request.counted
        free = self._context.free
        return self._samples.counted(request.places, self._values, request.colour, free)

    def put(self, request: Request, coded: Any) -> None:
        """Writes the popped values (m,) of the latest request."""
        if self._kernels is not None:
            self._kernels.put(coded)
        else:
            free = self._context.free
            self._samples.put(request.places, self._values, request.colour, free, coded)
