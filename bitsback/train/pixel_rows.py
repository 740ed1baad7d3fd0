"""Rows of p(x | y_0) fitted to what is coded under them: mixtures of Gaussians of one mean.

Given y_0 alone a pixel is not quite Gaussian: where a network is mostly right and sometimes not,
its error is a Gaussian of varying scale.  For each scale the weights of 13 scales around it are
found by expectation maximisation on the values of images that no network was trained on.  Levels
above are Gaussian: most of their variance is the noise's (measured: no gain).
"""

from collections.abc import Sequence

import numpy as np

from bitsback.ans.gaussian_tables import FRACTION_BITS, FRACTIONS, MIN_FREQUENCY, SCALES, TOTAL
from bitsback.ans.lanes import random_lanes
from bitsback.ans.row_table import CENTRE, COLUMNS
from bitsback.coder.context import no_context
from bitsback.coder.model import Model

OFFSETS = np.arange(-24, 49, 6)  # of the scales that are mixed: a quarter to eight times the sd
ITERATIONS = 300
LEAST_VALUES = 2000  # of a scale: with fewer it stays Gaussian
SPREAD = 6.0  # of the weights that the search begins with, in scales


def value_counts(model: Model, images: Sequence[np.ndarray]) -> np.ndarray:
    """(SCALES, FRACTIONS * COLUMNS) int64: how often each column of each row is coded at step 0.

    images: (H, W, 3) uint8, sides multiples of 8; model: one without rows of its own for pixels.
    """
    found, chain = np.zeros(SCALES * FRACTIONS * COLUMNS, np.int64), model.chain()
    for pixels in images:
        x = pixels.transpose(2, 0, 1)[None].astype(np.int32) - 128
        y = chain.forward[0].pop(random_lanes(x.size), x, no_context(x))
        for array in chain.reverse[0].pixel_arrays(x, y, no_context(x)):
            column = array.values - (array.mean32 >> FRACTION_BITS) + CENTRE
            row = array.scale.astype(np.int64) * FRACTIONS + (array.mean32 & FRACTIONS - 1)
            index = row * COLUMNS + column.clip(0, COLUMNS - 1)
            found += np.bincount(index, minlength=len(found))
    return found.reshape(SCALES, -1)


def _weights(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(13,) weights of rows (13, n), probabilities, under which counts (n,) are most probable."""
    weights = np.exp(-np.abs(OFFSETS) / SPREAD)
    weights /= weights.sum()
    for _ in range(ITERATIONS):
        weights = weights * (rows / (weights @ rows) @ counts) / counts.sum()
    return weights


def pixel_frequencies(counts: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """(SCALES * FRACTIONS, COLUMNS) int32, the rows that take the Gaussians' place at step 0.

    counts: of value_counts; frequencies: the table of Gaussians, whose rows begin with these.
    """
    rows = frequencies[: SCALES * FRACTIONS].reshape(SCALES, -1) / TOTAL
    table = np.empty((SCALES * FRACTIONS, COLUMNS), np.int64)
    for scale in range(SCALES):
        mixed = rows[np.clip(scale + OFFSETS, 0, SCALES - 1)]
        own = counts[scale]
        some = _weights(own, mixed) @ mixed if own.sum() >= LEAST_VALUES else rows[scale]
        begin = scale * FRACTIONS
        shares = np.rint(some * TOTAL).astype(np.int64).reshape(FRACTIONS, COLUMNS)
        table[begin : begin + FRACTIONS] = np.maximum(shares, MIN_FREQUENCY)
    table[np.arange(len(table)), table.argmax(1)] += TOTAL - table.sum(1)
    return table.astype(np.int32)
