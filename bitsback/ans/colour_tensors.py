"""The frequencies under colour counts in torch operations, on any device.

The integers of colour_frequencies.py.  In all functions `counts` is a table of counts, int32; keys,
values, mean32 and scale: (n,) int32.
"""

import torch
from torch import Tensor

from bitsback.ans.colour_frequencies import BEHIND, MAX_COUNT, WIDTH
from bitsback.ans.gaussian_tables import CENTRE, FRACTION_BITS, FRACTIONS, TOTAL


def byte(values: Tensor) -> Tensor:
    """Pixels - 128 -> 0..255; a value that is no pixel (a damaged file) counts as the nearest."""
    return values.clamp(-128, 127) + 128


def count(counts: Tensor, keys: Tensor, values: Tensor, times: int) -> None:
    """Adds `times` to the counts of values after keys."""
    counts.index_add_(0, keys + byte(values), torch.full_like(values, times))


def ends(
    frequencies: Tensor,
    counts: Tensor,
    keys: Tensor,
    mean32: Tensor,
    scale: Tensor,
    share: int,
    base: int,
) -> Tensor:
    """(WIDTH + 1, n) int32: cumulative frequencies of the window's values, then the escape.

    frequencies: (rows, 64) int32, those of the Gaussian table.
    """
    rows = scale * FRACTIONS + (mean32 & (FRACTIONS - 1))
    columns = slice(CENTRE - BEHIND, CENTRE - BEHIND + WIDTH)
    inside = frequencies[:, columns].index_select(0, rows).T.long()
    outside = (TOTAL - inside.sum(0) >> 4) + 1
    symbols = torch.arange(WIDTH, dtype=torch.int32, device=keys.device)[:, None]
    places = (mean32 >> FRACTION_BITS) + (128 - BEHIND) + symbols
    pixel = (places >= 0) & (places < 256)
    index = (keys + places.clamp(0, 255)).view(-1)
    n = counts.index_select(0, index).view(places.shape).clamp(max=MAX_COUNT).long() * pixel
    total = n.sum(0)
    even = (total * share >> 4) + base
    weights = torch.cat(
        [((inside >> 4) + 1) * ((16 * n + even) * pixel), (outside * (total + even))[None]]
    )
    found = weights * (TOTAL - WIDTH - 1)
    found = torch.div(found, weights.sum(0), rounding_mode="floor") + 1
    found[BEHIND] += TOTAL - found.sum(0)  # the rest of rounding down, at most 17
    return found.cumsum(0).to(torch.int32)
