"""p(y_s | y_t) and p(x | y_0) as integers: four or eight passes, three colours, in the order of decoding.

The network's numbers enter as integers (mean 1/256, scale 1/16 doubling, colour 1/64) and from
there on there is nothing but integer arithmetic with stated rounding: `>>` is a floor, so
(v + half) >> n rounds half up.  Means are kept in 1/64 spacings and rounded to the table's 1/32 at
the very end: three roundings to the table's unit would cost more than the table's own.

One generator serves both directions: it yields the distribution of the next values and is
sent the values.  The encoder knows them and collects the distributions; the decoder pops them.
"""

import numpy as np
import torch

from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.coder.context import free_values
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

COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R
COEFFICIENT_BITS = COLOUR_BITS + GAIN_BITS
FAR = (
    2**12
)  # innovations beyond 64 spacings, 8 sd of the widest row, are clipped: products stay in int32
MEAN_SHIFT = SHIFT - FINE_BITS
TOLD_SHIFT = FINE_BITS + INVERSE_BITS - 4  # innovations are told in 1/16 sd


def rounded_shift(value, bits):
    """floor(value / 2^bits + 1/2)."""
    return (value + (1 << (bits - 1))) >> bits


def looked_up(table, index):
    """table[index] of int32 tensors, four times as fast."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)


def on_host(tensor):
    return tensor.cpu().numpy()


def distributions(network, index, y, context):
    """Generator of (places, colour, mean32, scale) of p(. | y) for step `index`; send it the values there.

    y: (B, 3, H, W) int32, lattice indices of level `index`; context: Context, the same of what lies below
    and to the right (H or W is even where something does).  Values, mean32 and scale are (B, n)
    int32 of one colour of a pass; `places` says where they lie in (B, 3, H, W).  Of a gray image, (B, 1, H, W), the
    network sees its one channel three times, and what it says of G is taken; its colour is number 0.
    All arithmetic is done where the network is, without waiting for it: mean32 and scale are tensors there, y and values numpy's.
    """
    step, device = network.tables(index), network.device
    (channels, height, width), gray = y.shape[1:], y.shape[1] == 1
    seen = torch.from_numpy(context.around(y)).to(device)
    out, state = network.trunk(index, seen)
    told = torch.zeros(
        (len(y), (seen.shape[2] + 7) // 8 * 4, (seen.shape[3] + 7) // 8 * 4, 12),
        dtype=torch.int8,
        device=device,
    )
    order, heard = network.order(index), slice(1, 2) if gray else slice(None)
    for pass_number, parts in enumerate(order):
        more = (
            network.head(index, pass_number, state, told) if pass_number else None
        )  # none of a pass's parts hears of another
        places = Places(parts, height, width)
        if not places.n:
            continue
        said = places.of(out)
        trunk_mean = rounded_shift(
            step.from_y * places.of(seen) + step.from_f * said[:, 0:3], MEAN_SHIFT
        )
        trunk_v = (step.base + said[:, 3:6]).clamp_(0, V_INDICES - 1)
        m, v, rho = trunk_mean, trunk_v, said[:, 6:9]
        if pass_number:
            added = places.of_blocks(more)
            m = m + rounded_shift(looked_up(step.shift, v) * added[:, 0:3], MEAN_SHIFT)
            v = (v + added[:, 3:6]).clamp_(0, V_INDICES - 1)
            rho = rho + added[:, 6:9]
        scale, gain = looked_up(step.scale, v), looked_up(step.gain, v[:, :2])
        fine, innovations = torch.empty_like(trunk_mean), {}
        for colour in COLOURS[:channels]:
            m_c = m[:, colour]
            if colour == 0:
                m_c = m_c + rounded_shift(rho[:, 0] * gain[:, 1] * innovations[1], COEFFICIENT_BITS)
            elif colour == 2:
                shift = (
                    rho[:, 1] * gain[:, 1] * innovations[1]
                    + rho[:, 2] * gain[:, 0] * innovations[0]
                )
                m_c = m_c + rounded_shift(shift, COEFFICIENT_BITS)
            mean32 = rounded_shift(m_c, FINE_BITS - FRACTION_BITS)
            values = yield places, 0 if gray else colour, mean32, scale[:, colour]
            fine[:, colour] = torch.from_numpy(values).to(device) << FINE_BITS
            if colour != COLOURS[-1]:  # nothing is expected from the last one
                innovations[colour] = (fine[:, colour] - m_c).clamp_(-FAR, FAR)
        if pass_number + 1 < len(order):  # nor told of the last pass
            far = (fine[:, heard] - trunk_mean[:, heard]).clamp_(-8 * FAR, 8 * FAR)
            raw = rounded_shift(far * looked_up(step.inverse, trunk_v[:, heard]), TOLD_SHIFT)
            places.put_unshuffled(
                told, raw.clamp_(-INNOVATION_REACH, INNOVATION_REACH).expand(-1, 3, -1)
            )


class Conditional:
    """The codec of values on one lattice given the level above: push and pop."""

    def __init__(self, network, gaussians, index):
        self.network, self.gaussians, self.index = network, gaussians, index

    def push(self, stack, values, y, context, colours=None):
        """values: (B, 3 or 1, H, W) int32 given y of that shape and what is known around it; known.free: which of them are coded.

        colours: Colours, of pixels, which have counted all of them, and none any more then.
        """
        parts, generator = [], distributions(self.network, self.index, y, context)
        try:
            places, colour, mean32, scale = next(generator)
            while True:
                here = places.of_colour(values, colour)
                free = None if context.free is None else places.of_colour(context.free, colour)
                kind, key = colours.asked(places.of(values), colour) if colours else (None, None)
                parts.append((kind, key, here, mean32, scale, free))
                places, colour, mean32, scale = generator.send(here)
        except StopIteration:
            pass
        for kind, key, here, _, _, free in parts if colours and context.free is not None else []:
            colours.count(kind, key[~free], here[~free], -1)
        parts = [
            (
                kind,
                None if key is None else free_values(key, free),
                free_values(here, free),
                free_values(on_host(mean32), free),
                free_values(on_host(scale), free),
            )
            for kind, key, here, mean32, scale, free in parts
        ]
        if colours:
            return colours.push(stack, self.gaussians, parts)
        for _, _, *part in reversed(parts):
            self.gaussians.push(stack, *part)

    def pop(self, stack, y, context, fixed=None, colours=None):
        """The mirror of push: int32 of y's shape; fixed: (n,) the values that are not free; colours count them all."""
        values, generator, given = (
            np.empty(y.shape, np.int32),
            distributions(self.network, self.index, y, context),
            [],
        )
        if context.free is not None:
            values[~context.free] = fixed
        try:
            places, colour, mean32, scale = next(generator)
            while True:
                free = None if context.free is None else places.of_colour(context.free, colour)
                parameters = free_values(on_host(mean32), free), free_values(on_host(scale), free)
                if colours:
                    kind, key = colours.asked(places.of(values), colour)
                    coded = colours.pop(
                        stack, self.gaussians, kind, free_values(key, free), *parameters
                    )
                else:
                    coded = self.gaussians.pop(stack, *parameters)
                here = (
                    coded.reshape(mean32.shape)
                    if free is None
                    else places.of_colour(values, colour)
                )
                if free is not None:
                    here[free] = coded
                    if colours:
                        given.append((kind, key[~free], here[~free]))
                places.put(values[:, colour : colour + 1], here[:, None])
                places, colour, mean32, scale = generator.send(here)
        except StopIteration:
            pass
        for part in given:  # told samples count as well, once all is decoded
            colours.count(*part)
        return values
