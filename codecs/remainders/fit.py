"""The encoder's choice of parameters for an image's remainders (model.py).

Weights by least squares, in floating point: what is stored are the rounded ones.  A sample weighs
less the further its neighbours are from it, since the bits to be saved are where they are near.
Each context then gets the standard deviation under which its samples cost least.
"""

import functools
from collections import defaultdict

import numpy as np

from bitsback.ans.gaussian_digits import DEVIATIONS, information_bits
from bitsback.codecs.remainders.model import (
    CONTEXTS,
    MAX_WEIGHT,
    WEIGHT_BITS,
    Parameters,
    feature_count,
    mean_in_cell,
    neighbourhood,
    of_place,
    places,
    predicted,
    split,
)
from bitsback.diffusion.passes import ORDER

CROP = 256  # side of the crops of a larger image to which parameters are fitted, around ...
QUARTERS = ((1, 1), (1, 3), (3, 1), (3, 3))  # ... these quarters of its height and width
CONTEXT_SAMPLES = 1024  # of a context on which deviations are tried
NEAREST = 5 / 16  # of a cell: a distance of neighbours that adds to theirs
EMPHASIS = 1.5  # exponent of the mean square distance
RIDGE = 1e-3
COARSE = 4  # every so manieth deviation is tried first


def _crops(numbers: np.ndarray) -> list[np.ndarray]:
    """Parts of (H, W, C) that stand for it: all of a small one."""
    height, width = numbers.shape[:2]
    if height * width <= len(QUARTERS) * CROP**2:
        return [numbers]
    corners = [
        [max(0, side * quarter // 4 - CROP // 2) for side, quarter in zip((height, width), pair)]
        for pair in QUARTERS
    ]
    return [numbers[top : top + CROP, left : left + CROP] for top, left in corners]


def _weights(features: np.ndarray, target: np.ndarray, near: np.ndarray, bits: int) -> np.ndarray:
    """(F,) int64 weights that predict target (n,), half steps, by weighted least squares."""
    far = np.square(near, dtype=float).mean(1) + (NEAREST * 2**bits) ** 2
    x, importance = features.astype(float), far**-EMPHASIS
    weighted = x * importance[:, None]
    gram = weighted.T @ x
    gram[np.diag_indices(len(gram))] *= 1 + RIDGE
    gram[np.diag_indices(len(gram))] += 1e-12 + importance.mean() * RIDGE
    found = np.linalg.solve(gram, weighted.T @ target)
    return np.clip(np.rint(found * 2**WEIGHT_BITS), -MAX_WEIGHT, MAX_WEIGHT - 1).astype(np.int64)


def fitted(numbers: np.ndarray, bits: int, table: np.ndarray) -> Parameters:
    """The Parameters for the lowest `bits` bits of numbers, (H, W, C) uint16.

    table: the Gaussian table (rows, 64).
    """
    channels = numbers.shape[2]
    found: dict = defaultdict(list)
    for part in _crops(numbers):
        middles, remainders = split(part, bits)
        known = middles.copy()
        for place in places(known.shape):
            around = neighbourhood(known, middles, place)
            values = of_place(remainders, place)
            found[place].append((around, values.ravel()))
            known_here = of_place(known, place)
            known_here += 2 * values - (1 << bits) + 1
    weights = np.zeros((len(ORDER), channels, feature_count(channels)), np.int64)
    samples = defaultdict(list)
    for place, parts in found.items():
        features, near = (np.concatenate([a[i] for a, _ in parts]) for i in range(2))
        values = np.concatenate([v for _, v in parts])
        target = 2 * values - (1 << bits) + 1
        weights[place.number, place.channel] = _weights(features, target, near, bits)
        for around, values in parts:
            mean, context = predicted(around, weights[place.number, place.channel])
            samples[place.deviations].append((context, values, mean_in_cell(mean, bits)))
    deviations = np.zeros((2, channels, CONTEXTS), np.int64)
    for which, of_places in samples.items():
        deviations[which] = _deviations(of_places, bits, table)
    return Parameters(weights, deviations)


def _deviations(samples: list, bits: int, table: np.ndarray) -> np.ndarray:
    """(CONTEXTS,) int64 for samples that share them, [(contexts, remainders, mean32), ...]."""
    contexts, values, mean32 = (np.concatenate(part) for part in zip(*samples))
    best, last = np.zeros(CONTEXTS, np.int64), 0
    for context in range(CONTEXTS):
        which = np.flatnonzero(contexts == context)
        if len(which):
            which = which[:: -(-len(which) // CONTEXT_SAMPLES)]
            cost = functools.partial(information_bits, table, values[which], mean32[which], bits)
            last = min(range(0, DEVIATIONS, COARSE), key=cost)
            near = range(max(0, last - COARSE + 1), min(DEVIATIONS, last + COARSE))
            last = min(near, key=cost)
        best[context] = last
    return best
