"""Rows of p(y_0 | y_1) that know that pixels are whole numbers.

Given y_1, the network says where x is, mean and variance of x, and a Gaussian row of y_0 follows.
Where the variance is small, as in smooth images, x is one of two or three whole numbers, and y_0 is
a mixture of as many narrow bumps, which a Gaussian row misses by 0.016 bits/dim of smooth
photographs, 0.004 of others.  The rows here are those mixtures:

    sum over n of P(x = n) P(y_0 | y_1, x = n),    P(x = n) ~ exp(-(n - xhat)^2 / (2 V))

xhat and V are those that the Gaussian row's mean and scale come from, and P(y_0 | y_1, x) follows
from the two forward rows.  Since y_1 is a whole number too, all depends on n - y_1 only: a row is
found by scale, by the mean's fraction, and by how many spacings its floor is from y_1.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitsback.ans.gaussian_tables import (
    FRACTION_BITS,
    FRACTIONS,
    MIN_FREQUENCY,
    SCALES,
    TOTAL,
    forward_frequencies,
    scale_index,
    scale_sd,
)
from bitsback.ans.row_table import CENTRE, COLUMNS
from bitsback.diffusion.levels import Levels, forward_shift, sigmas
from bitsback.diffusion.schedule import reverse_step

LOW, FLOORS = -6, 12  # of the mean's floor less y_1, spacings of y_0: the first, how many
SETS = 16  # scales that have such rows, from that of a certain x on
REACH = 6  # largest |x - y_1| considered, gray levels
LEAST_V = 0.004  # a^2 V, squared gray levels: the scale of a certain x holds variances up to 0.02
INDEX = 1  # of the step that has them


@dataclass(frozen=True)
class WholeRows:
    """Which row sets of the table of p replace which: begin: the first of them; first: the scale
    that it belongs to; shift: doublings of the spacing from y_0 to y_1."""

    begin: int
    first: int
    shift: int

    def scale(self, mean32: Any, scale: Any, y: Any) -> Any:
        """Row sets (m,) int32 in place of `scale` for values y_0 with these means, y: of y_1.

        All are numpy's arrays, or tensors on one device.
        """
        floor = (mean32 >> FRACTION_BITS) - (y << self.shift) - LOW
        above = scale - self.first
        inside = (floor >= 0) & (floor < FLOORS) & (above >= 0) & (above < SETS)
        choose = torch.where if isinstance(scale, torch.Tensor) else np.where
        return choose(inside, self.begin + above * FLOORS + floor, scale)


def whole_rows(levels: Levels) -> WholeRows | None:
    """Those of these levels; None unless y_1 is a whole number and y_0 on a finer lattice."""
    if len(levels) < 2 or levels[1].exponent != 0 or levels[0].exponent > 0:
        return None
    noise = sigmas(levels)
    spacing, lambda2 = levels[0].spacing, reverse_step(noise[0], noise[1])[1]
    first = int(scale_index(math.sqrt(max(lambda2 - spacing**2 / 12, 1e-12)) / spacing))
    return WholeRows(SCALES, first, forward_shift(levels, 1))


def _given_pixels(levels: Levels, offsets: np.ndarray) -> np.ndarray:
    """(2 REACH + 1, offsets) P(y_0 - y_1 | y_1, x - y_1 = -REACH .. REACH); offsets: of y_0 from
    y_1, in spacings of y_0."""
    table = forward_frequencies([level.step for level in levels[:2]]).astype(np.float64)

    def forward(k: int, mean32: np.ndarray, value: np.ndarray) -> np.ndarray:
        column = np.clip(value - (mean32 >> FRACTION_BITS) + CENTRE, 0, COLUMNS - 1)
        return table[k * FRACTIONS + (mean32 & (FRACTIONS - 1)), column] / TOTAL

    x = np.arange(-REACH, REACH + 1)[:, None]
    shift_0, shift_1 = forward_shift(levels, 0), forward_shift(levels, 1)
    y_0 = forward(0, x << FRACTION_BITS - shift_0, offsets[None])
    y_1 = forward(1, offsets << FRACTION_BITS - shift_1, np.zeros_like(offsets))
    joint = y_0 * y_1 + 1e-30
    return joint / joint.sum(1, keepdims=True)


def whole_frequencies(levels: Levels) -> np.ndarray:
    """(SETS * FLOORS * FRACTIONS, COLUMNS) int32, as gaussian_tables'.  For export only.

    Errors: ValueError where whole_rows is None.
    """
    rows, noise = whole_rows(levels), sigmas(levels)
    if rows is None:
        raise ValueError("these levels have no rows of whole pixels")
    spacing = levels[0].spacing
    a, lambda2 = reverse_step(noise[0], noise[1])
    offsets = np.arange(LOW - CENTRE, LOW + FLOORS + COLUMNS - CENTRE)
    known, pixels = _given_pixels(levels, offsets), np.arange(-REACH, REACH + 1)
    found = []
    for scale in range(rows.first, rows.first + SETS):
        v = (scale_sd(scale) ** 2 + 1 / 12) * spacing**2 - lambda2
        variance = max(v, LEAST_V) / a**2
        for floor in range(LOW, LOW + FLOORS):
            xhat = (floor + np.arange(FRACTIONS) / FRACTIONS) * spacing / a
            log = -((pixels[None] - xhat[:, None]) ** 2) / (2 * variance)
            share = np.exp(log - log.max(1, keepdims=True))
            mixture = share / share.sum(1, keepdims=True) @ known
            begin = floor - LOW  # column 0 is the offset floor - CENTRE
            found.append(mixture[:, begin : begin + COLUMNS])
    shares = np.concatenate(found)
    shares /= shares.sum(1, keepdims=True)
    table = np.rint(shares * (TOTAL - COLUMNS * MIN_FREQUENCY)).astype(np.int64) + MIN_FREQUENCY
    table[np.arange(len(table)), table.argmax(1)] += TOTAL - table.sum(1)
    return table.astype(np.int32)
