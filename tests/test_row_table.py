"""row_table.py: rows as cumulative frequencies, and where to begin looking for a slot."""

import numpy as np
import pytest

from bitsback.ans.gaussian_tables import forward_frequencies
from bitsback.ans.row_table import COLUMNS, GUIDE_BITS, PRECISION, row_table

TOTAL = 2**PRECISION


def odd_rows():
    """Zeros at the ends, one column alone, all alike, and frequencies at the guide's borders."""
    rows = np.zeros((5, COLUMNS), np.int32)
    rows[0, 31] = TOTAL
    rows[1] = TOTAL // COLUMNS
    rows[2, 5:9] = 1, TOTAL // 2 - 1, TOTAL // 2 - 1, 1
    rows[3, [0, 63]] = TOTAL // 2
    rows[4, 20:23] = TOTAL // 64 - 1, 1, TOTAL - TOTAL // 64
    return rows


@pytest.fixture(params=["p", "q", "odd"])
def frequencies(request, gaussians):
    return {
        "p": gaussians.frequencies[::37],
        "q": forward_frequencies([40, 64, 70]),
        "odd": odd_rows(),
    }[request.param]


def test_edges_are_sums_of_the_frequencies_before(frequencies):
    """65 a row, from 0 to 2^24; their differences are the frequencies."""
    edges = row_table(frequencies).edges
    assert edges.dtype == np.int32 and edges.shape == (len(frequencies) * (COLUMNS + 1),)
    edges = edges.reshape(-1, COLUMNS + 1)
    assert (edges[:, 0] == 0).all() and (edges[:, -1] == TOTAL).all()
    assert np.array_equal(np.diff(edges, axis=1), frequencies)


def test_the_guide_is_the_column_of_the_first_slot(frequencies):
    """For each value of a slot's upper 6 bits: no column before it can hold such a slot."""
    table = row_table(frequencies)
    guide = table.guide.reshape(-1, 2**GUIDE_BITS)
    assert table.guide.dtype == np.uint8 and len(guide) == len(frequencies)
    edges = table.edges.reshape(-1, COLUMNS + 1)
    for upper in range(2**GUIDE_BITS):
        slot, each = upper << PRECISION - GUIDE_BITS, np.arange(len(guide))
        column = guide[:, upper].astype(int)
        assert (edges[each, column] <= slot).all() and (slot < edges[each, column + 1]).all()
