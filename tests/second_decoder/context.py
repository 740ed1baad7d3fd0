"""Levels and context (ARITHMETIC.md, sections 4, 5 and 13).

Latents and x of a segment are (images, C, H, W).
"""

import numpy as np

from tests.second_decoder.integers import half_up


def forward(model, k, below):
    """Mean and row set of q(y_k | y_{k-1})."""
    e = model.exponents[k] - (model.exponents[k - 1] if k else 0)
    return 32 * below >> e if e >= 0 else 32 * below << -e, np.full(below.shape, k)


def top_parameters(shape, top, more):
    """mean32 and scale, (images, 3, H, W) each.

    top: mean32 and scale of R, of G, of B; more: (images, 3, H, W), section 13.
    """
    mean, scale = (
        np.broadcast_to(
            np.reshape(top[i::2] if shape[1] == 3 else top[2 + i : 3 + i], (-1, 1, 1)), shape
        )
        for i in (0, 1)
    )
    return mean + more, scale


# Section 13: block means


def between(count, n):
    """For each of `count` pixels: (block, weight) of two of n blocks."""
    places = [min(max(2 * r + 1 - 32, 0), 64 * (n - 1)) for r in range(count)]
    return [((p // 64, 64 - p % 64), (min(p // 64 + 1, n - 1), p % 64)) for p in places]


def mean_map(model, means, height, width):
    """What `means` (r, c, C) add to mean32: (C, H, W)."""
    down, across = between(height, means.shape[0]), between(width, means.shape[1])
    more = np.zeros((means.shape[2], height, width), np.int64)
    for colour, y, x in np.ndindex(*more.shape):
        more[colour, y, x] = sum(
            v * w * (int(means[i, j, colour]) - 8) for i, v in down[y] for j, w in across[x]
        )
    return half_up(more, 2 + model.exponents[-1])


def mean_maps(model, sizes, means):
    """(C, H, W) of each image; means: None, or (r, c, C) or None for each."""
    return [
        np.zeros((channels, height, width), np.int64)
        if means is None or means[i] is None
        else mean_map(model, means[i], height, width)
        for i, (height, width, channels) in enumerate(sizes)
    ]


# Section 5: context


def draw(k, side, shape):
    """24 bits for each place of (images, C, h, w), the same for all images."""
    _, colour, row, column = (axis.astype(np.uint64) for axis in np.indices(shape, sparse=True))
    place = np.uint64(4 * k) + colour << np.uint64(2) | np.uint64(side)
    z = (place << np.uint64(22)) + row
    z = (z << np.uint64(24)) + column + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (z ^ z >> np.uint64(31)) >> np.uint64(40)


def context(model, sides):
    """x of the rows below (images, 3, h, W + w) and the columns to the right (images, 3, H, w)
    -> pairs of their latents, one a level.
    """
    return list(zip(*(side_context(model, side, x) for side, x in enumerate(sides))))


def side_context(model, side, x):
    """One side's latents, one array per level."""
    latents, edges = [], np.array(model.q)
    for k in range(model.count):
        mean, row_set = forward(model, k, x)
        drawn = draw(k, side, x.shape).astype(np.int64)[..., None]
        column = (edges[32 * row_set + (mean & 31)] <= drawn).sum(-1) - 1
        x = column - 31 + (mean >> 5)
        latents.append(x)
    return latents
