"""The values of a step (ARITHMETIC.md, sections 7, 10 and 11)."""

from collections import Counter

import numpy as np

from tests.second_decoder.colour_counts import keys
from tests.second_decoder.integers import B, G, R, half_up
from tests.second_decoder.passes import gathered, part, scatter


def step(model, k, y, known, code):
    """The level below y.

    y: of level k; known: its context below and to the right; code(parts, colour, mean32, scale)
    returns the values of one array, (images, n); parts: of a pass, in the decoder's order.
    """
    height, width = y.shape[2:]
    _, from_y, from_f, base = model.tensors["steps.scalars"][k].tolist()
    gray = y.shape[1] == 1
    out, state = map(
        np.stack,
        zip(
            *(
                model.trunk(k, np.repeat(n, 3, axis=0) if gray else n)
                for n in np.concatenate([np.concatenate([y, known[1]], axis=3), known[0]], axis=2)
            )
        ),
    )
    f, s, rho = (out[:, i : i + 3, :height, :width] for i in (0, 3, 6))
    mean0 = half_up(from_y * y + from_f * f, 10)
    v0 = (base + s).clip(0, 255)
    scale, gain, shift, inverse = (
        model.table(name, k) for name in ("scale", "gain", "shift", "inverse")
    )
    values, z = np.zeros_like(y), np.zeros((len(y), 3, *out.shape[2:]), np.int64)
    for pass_number, parts in enumerate(model.passes(k)):
        heard = (
            np.stack([model.head(k, pass_number, *one) for one in zip(z, state)])
            if pass_number
            else None
        )
        m0, u0, r = (gathered(array, parts) for array in (mean0, v0, rho))
        m, v = m0, u0
        if pass_number:
            added = gathered(
                heard.repeat(2, axis=2).repeat(2, axis=3)[:, :, :height, :width], parts
            )  # every pixel hears what its block does
            m = m + half_up(shift[v] * added[:, :3], 10)
            v = (v + added[:, 3:6]).clip(0, 255)
            r = r + added[:, 6:]
        d, got = {}, np.zeros_like(m)
        for colour in (G,) if gray else (G, R, B):
            mean = m[:, colour]
            if colour == R:
                mean = mean + half_up(r[:, 0] * gain[v[:, G]] * d[G], 14)
            if colour == B:
                mean = mean + half_up(
                    r[:, 1] * gain[v[:, G]] * d[G] + r[:, 2] * gain[v[:, R]] * d[R], 14
                )
            mean32, row = half_up(mean, 1), scale[v[:, colour]]
            if k == 1 and "whole_masses" in model.tensors:
                row = whole(
                    model, mean32, row, gathered(np.broadcast_to(y, f.shape), parts)[:, colour]
                )
            got[:, colour] = code(parts, colour, mean32, row)
            d[colour] = (64 * got[:, colour] - mean).clip(-4096, 4096)
        told = half_up((64 * got - m0).clip(-32768, 32768) * inverse[u0], 14).clip(-96, 96)
        scatter(values, parts, got[:, G:B] if gray else got)
        scatter(z[:, :, :height, :width], parts, told[:, [G, G, G]] if gray else told)
    return values


def whole(model, mean32, row, n):
    """The row sets of step 1, where pixels are known to be whole."""
    first, shift = model.tensors["whole.scalars"].tolist()
    floor, above = (mean32 >> 5) - (n << shift) + 6, row - first
    inside = (0 <= floor) & (floor < 12) & (0 <= above) & (above < 16)
    return np.where(inside, 113 + 12 * above + floor, row)


def pop_step(model, lanes, k, y, known, free, told, counts=None):
    """free: bool, what is coded, section 11; told: values of the level below where nothing is;
    counts: Counts, or None, section 12.
    """
    below, seen = told.copy(), counts and Counter(counts.seen)

    def code(parts, colour, mean, scale):
        values, coded = part(below, parts, colour), part(free, parts, colour)
        if counts:
            values[coded] = counts.pop_array(
                lanes, model.p, keys(below, parts, colour, coded), mean[coded], scale[coded], seen
            )
        else:
            values[coded] = lanes.pop_array(model.p, mean[coded], scale[coded], escapes=True)
        scatter(
            below[:, colour : colour + 1] if below.shape[1] == 3 else below, parts, values[:, None]
        )
        return values

    return step(model, k, y, known, code)


def distributions(model, k, y, known, below, free=None):
    """All arrays of a step, in the decoder's order, when the level below is known.

    (values, mean32, scale); with `free` only what is coded.
    """
    arrays = []

    def code(parts, colour, mean, scale):
        values, coded = (
            part(below, parts, colour),
            ... if free is None else part(free, parts, colour),
        )
        arrays.append((values[coded], mean[coded], scale[coded]))
        return values

    step(model, k, y, known, code)
    return arrays
