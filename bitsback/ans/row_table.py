"""Rows of frequencies in the form in which lanes code under them."""

from typing import NamedTuple

import numpy as np

COLUMNS = 64
CENTRE = 31  # column of the floor of a row's mean
PRECISION = 24  # frequencies sum to 2^24
GUIDE_BITS = 6


class RowTable(NamedTuple):
    """What coding under rows needs, for each row one after the other.

    edges: (rows * 65,) int32, cumulative frequencies from 0 to 2^24; guide: (rows * 64,) uint8, for
    each value of a slot's upper 6 bits the first column that can hold such a slot.
    """

    edges: np.ndarray
    guide: np.ndarray


def row_table(frequencies: np.ndarray) -> RowTable:
    """The RowTable of frequencies (rows, COLUMNS) int32."""
    edges = np.zeros((len(frequencies), COLUMNS + 1), np.int32)
    np.cumsum(frequencies, 1, out=edges[:, 1:])
    slots = np.arange(2**GUIDE_BITS) << PRECISION - GUIDE_BITS
    guide = [np.searchsorted(row[1:], slots, side="right") for row in edges]
    return RowTable(edges.ravel(), np.array(guide, np.uint8).ravel())
