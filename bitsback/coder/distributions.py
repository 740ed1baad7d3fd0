"""The distributions of a level's values as integers: coding passes of three colours, in order.

The network's outputs are integers (mean 1/256, scale 1/16 doubling, colour coefficient 1/64), and
all that follows is integer arithmetic with stated rounding (ARITHMETIC.md, section 7).  Means are
kept in 1/64 spacings and rounded to the table's 1/32 at the very end: three roundings to the
table's unit would cost more than the table's own.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch

from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.coder.context import Context
from bitsback.diffusion.passes import Places
from bitsback.diffusion.steps import (
    COLOUR_BITS,
    FINE_BITS,
    GAIN_BITS,
    INVERSE_BITS,
    SHIFT,
    V_INDICES,
)
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.fixed_point import rounded_shift
from bitsback.integer.network import IntegerExperts

COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R
COEFFICIENT_BITS = COLOUR_BITS + GAIN_BITS
FAR = (
    2**12
)  # differences to the mean are clipped to 64 spacings, 8 sd of the widest row: int32 holds
MEAN_SHIFT = SHIFT - FINE_BITS
INNOVATION_SHIFT = FINE_BITS + INVERSE_BITS - 4  # innovations are counted in 1/16 sd


class Request(NamedTuple):
    """What a decoder pops next: one colour of one coding pass.

    places: of its n pixels; colour: channel of the values, 0 for gray; mean32 and scale: (B, n)
    int32 on the network's device, the rows of the Gaussian table.
    """

    places: Places
    colour: int
    mean32: torch.Tensor
    scale: torch.Tensor


def looked_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index] of int32 tensors, four times as fast."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)


def distributions(
    network: IntegerExperts, index: int, y: np.ndarray, context: Context
) -> Generator[Request, np.ndarray, None]:
    """The requests of p(. | y) for step `index`; send the values (B, n) int32 of each.

    y: (B, 3 or 1, H, W) int32, lattice indices of level `index`; context: Context of that level (H
    or W is even where it has rows below or columns to the right).  A gray image enters the network
    as three equal channels, and is coded by the network's outputs for G.
    All arithmetic is done on the network's device without waiting for it.
    """
    step, device = network.tables(index), network.device
    (channels, height, width), gray = y.shape[1:], y.shape[1] == 1
    seen = torch.from_numpy(context.around(y)).to(device)
    out, state = network.trunk(index, seen)
    innovations = torch.zeros(
        (len(y), (seen.shape[2] + 7) // 8 * 4, (seen.shape[3] + 7) // 8 * 4, 12),
        dtype=torch.int8,
        device=device,
    )
    order, used = network.order(index), slice(1, 2) if gray else slice(None)
    for pass_number, parts in enumerate(order):
        # the head is evaluated before any part of the pass is coded: parts do not see one another
        head = network.head(index, pass_number, state, innovations) if pass_number else None
        places = Places(parts, height, width, pass_number)
        if not places.n:
            continue
        trunk = places.of(out)
        trunk_mean = rounded_shift(
            step.from_y * places.of(seen) + step.from_f * trunk[:, 0:3], MEAN_SHIFT
        )
        trunk_v = (step.base + trunk[:, 3:6]).clamp_(0, V_INDICES - 1)
        m, v, rho = trunk_mean, trunk_v, trunk[:, 6:9]
        if head is not None:
            added = places.of_blocks(head)
            m = m + rounded_shift(looked_up(step.shift, v) * added[:, 0:3], MEAN_SHIFT)
            v = (v + added[:, 3:6]).clamp_(0, V_INDICES - 1)
            rho = rho + added[:, 6:9]
        scale, gain = looked_up(step.scale, v), looked_up(step.gain, v[:, :2])
        fine = torch.empty_like(trunk_mean)
        d: dict[int, torch.Tensor] = {}  # value - mean of the colours coded so far
        for colour in COLOURS[:channels]:
            m_c = m[:, colour]
            if colour == 0:
                m_c = m_c + rounded_shift(rho[:, 0] * gain[:, 1] * d[1], COEFFICIENT_BITS)
            elif colour == 2:
                shift = rho[:, 1] * gain[:, 1] * d[1] + rho[:, 2] * gain[:, 0] * d[0]
                m_c = m_c + rounded_shift(shift, COEFFICIENT_BITS)
            mean32 = rounded_shift(m_c, FINE_BITS - FRACTION_BITS)
            values = yield Request(places, 0 if gray else colour, mean32, scale[:, colour])
            fine[:, colour] = torch.from_numpy(values).to(device) << FINE_BITS
            if colour != COLOURS[-1]:  # no other colour depends on the last one
                d[colour] = (fine[:, colour] - m_c).clamp_(-FAR, FAR)
        if pass_number + 1 < len(order):  # no head follows the last pass
            far = (fine[:, used] - trunk_mean[:, used]).clamp_(-8 * FAR, 8 * FAR)
            raw = rounded_shift(far * looked_up(step.inverse, trunk_v[:, used]), INNOVATION_SHIFT)
            places.put_unshuffled(
                innovations, raw.clamp_(-INNOVATION_REACH, INNOVATION_REACH).expand(-1, 3, -1)
            )
