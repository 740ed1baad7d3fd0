"""What one lane does for one symbol."""

import numpy as np
import pytest

from bitsback.ans import lane_steps
from bitsback.ans.compiled import HAVE_NUMBA, compiled
from bitsback.ans.lanes_numpy import FLOOR, SLOTS

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is missing")


@compiled
def _there(s, start, frequency, words):
    s, count = lane_steps.give(s, frequency, words, 0)
    return lane_steps.push_update(s, start, frequency), count


@compiled
def _back(s, start, frequency, words, count):
    return lane_steps.take(lane_steps.pop_update(s, s & SLOTS, start, frequency), words, count)


@pytest.mark.parametrize("frequency", [1, 3, 2**10, 2**23, 2**24 - 1])
@pytest.mark.parametrize("s", [FLOOR, FLOOR + 1, 2**39, 2**40 - 1, 2**61, 2**63 - 1])
def test_pop_is_the_mirror_of_push(s, frequency):
    words, start = np.zeros(1, np.uint32), 2**24 - frequency
    pushed, count = _there(np.int64(s), np.int64(start), np.int64(frequency), words)
    assert FLOOR <= pushed < 2**63 and start <= pushed & SLOTS
    assert count == (s >> 39 >= frequency)
    quotient, rest = divmod(s >> 32 * count, frequency)
    assert pushed == (quotient << 24) + rest + start
    assert _back(pushed, np.int64(start), np.int64(frequency), words, count) == (s, 0)


def test_escapes():
    """Any value of 16 bits, and back."""
    state, words = np.full(2, 2**50), np.zeros(4, np.uint32)

    @compiled
    def there(state, words, value):
        return lane_steps.push_escape(state, 1, words, 0, value)

    @compiled
    def back(state, words, count):
        return lane_steps.pop_escape(state, 1, words, count)

    for value in (0, -1, 2**15 - 1, -(2**15)):
        count = there(state, words, value)
        assert back(state, words, count) == (0, value) and state.tolist() == [2**50] * 2
