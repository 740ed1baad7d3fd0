"""Phases: the pixels of a level that are coded together, each given those of the phases before it.

Pixels next to one another say much of one another's noise, which one pass over all of them cannot use (subset coding, as in multi-scale
autoregression, arXiv 1703.03664).  More phases know more neighbours, and each asks the head once more.
"""
ORDER = ((0, 0), (1, 1), (0, 1), (1, 0))        # inside a 2x2 block
PHASE_COUNTS = (4, 8)


def phases(count):
    """The phases in order: for each its parts, each (row, column, stride) of a regular grid of pixels.

    count: 4, the pixels of a 2x2 block one after the other; or 8, each of those in two halves, like the colours of a chessboard.
    """
    if count == 4:
        return tuple(((row, column, 2),) for row, column in ORDER)
    halves = (((0, 0), (2, 2)), ((0, 2), (2, 0)))
    return tuple(tuple((row + i, column + j, 4) for i, j in half) for row, column in ORDER for half in halves)
