"""The distributions of a level's values as integers: coding passes of three colours, in order.

The network's outputs are integers (mean 1/256, scale 1/16 doubling, colour coefficient 1/64), and
all that follows is integer arithmetic with stated rounding (ARITHMETIC.md, section 7).  Means are
kept in 1/64 spacings and rounded to the table's 1/32 at the very end: three roundings to the
table's unit would cost more than the table's own.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from bitsback.coder.context import Context
from bitsback.coder.fastest import distribution_module
from bitsback.diffusion.passes import Places
from bitsback.integer.network import IntegerExperts

COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R


class Request(NamedTuple):
    """What a decoder pops next: one colour of one coding pass.

    places: of its pixels; colour: channel of the values, 0 for gray; mean32 and scale: (m,) int32
    of the free values, in coding order, the rows of the Gaussian table: numpy's on the CPU, else
    tensors on the network's device.
    """

    places: Places
    colour: int
    mean32: Any
    scale: Any


def distributions(
    network: IntegerExperts, index: int, y: np.ndarray, values: np.ndarray, context: Context
) -> Iterator[Request]:
    """The requests of p(values | y) for step `index`, in the order of decoding.

    y, values: (B, 3 or 1, H, W) int32, lattice indices of level `index` and of the one below;
    context: Context of level `index` (H or W is even where it has rows below or columns to the
    right).  A request's colour must be in `values` before the next request is asked for; fixed
    samples of `values` are in it before the first.
    A gray image enters the network as three equal channels, and is coded by the outputs for G.
    """
    device = network.device
    (channels, height, width), gray = y.shape[1:], y.shape[1] == 1
    seen = torch.from_numpy(context.around(y)).to(device)
    out, state = network.trunk(index, seen)
    innovations = torch.zeros(
        (len(y), (seen.shape[2] + 7) // 8 * 4, (seen.shape[3] + 7) // 8 * 4, 12),
        dtype=torch.int8,
        device=device,
    )
    found = distribution_module(device).StepDistributions(
        network.tables(index), out, y, values, context.free
    )
    order = network.order(index)
    for pass_number, parts in enumerate(order):
        # the head is evaluated before any part of the pass is coded: parts do not see one another
        head = network.head(index, pass_number, state, innovations) if pass_number else None
        places = Places(parts, height, width, pass_number)
        if not places.n:
            continue
        found.begin(places, head)
        for colour in COLOURS[:channels]:
            yield Request(places, 0 if gray else colour, *found.of(colour))
        if pass_number + 1 < len(order):  # no head follows the last pass
            found.put_innovations(innovations)
