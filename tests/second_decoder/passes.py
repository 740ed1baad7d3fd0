"""The passes of a step, and the order of their values (ARITHMETIC.md, section 7)."""

import numpy as np

# Passes of section 7: (row, column, stride) of the parts of each.
PASSES = {
    2: [[(0, 0, 2), (1, 1, 2)], [(0, 1, 2), (1, 0, 2)]],
    4: [[(0, 0, 2)], [(1, 1, 2)], [(0, 1, 2)], [(1, 0, 2)]],
    8: [
        [(0, 0, 4), (2, 2, 4)],
        [(0, 2, 4), (2, 0, 4)],
        [(1, 1, 4), (3, 3, 4)],
        [(1, 3, 4), (3, 1, 4)],
        [(0, 1, 4), (2, 3, 4)],
        [(0, 3, 4), (2, 1, 4)],
        [(1, 0, 4), (3, 2, 4)],
        [(1, 2, 4), (3, 0, 4)],
    ],
}
CONTEXT_ROWS = 8


def gathered(array, parts):
    """(images, C, H, W) -> (images, C, n): the pixels of a pass, part by part."""
    return np.concatenate(
        [array[:, :, i::stride, j::stride].reshape(*array.shape[:2], -1) for i, j, stride in parts],
        axis=2,
    )


def scatter(array, parts, values):
    begin = 0
    for i, j, stride in parts:
        view = array[:, :, i::stride, j::stride]
        view[...] = values[:, :, begin : begin + view[0, 0].size].reshape(view.shape)
        begin += view[0, 0].size


def part(values, parts, colour):
    """(images, n) of (images, 3, H, W): an array of a step; parts: of a pass."""
    return gathered(values, parts)[:, colour if values.shape[1] == 3 else 0]
