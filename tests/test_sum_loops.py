"""What follows a convolution, compiled."""

import pytest
import torch

from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.integer import sum_loops
from tests.sums import check

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is missing")


def test_every_function():
    check(sum_loops)


def test_values_in_several_pieces_are_refused():
    """What lies apart cannot be written in one pass: no half of it is written."""
    whole = torch.zeros(1, 4, 6, 5).contiguous(memory_format=torch.channels_last)
    narrow = torch.zeros(1, 4, 6, 3, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="view"):
        sum_loops.add_and_narrow(whole[:, :, :, :3], 16, whole[:, :, :, :3], narrow)
