"""Pushes of symbols whose intervals are known, in one thread and in several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import lane_intervals, lanes_numba, lanes_numpy
from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.codecs import decode, encode
from tests.small_parts import in_small_parts

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is missing")


@given(
    n=st.integers(0, 90), lanes=st.integers(1, 40), seed=st.integers(0, 999), shared=st.booleans()
)
def test_as_numpy_pushes_them(n, lanes, seed, shared):
    """States and words of lanes_numpy.push, whoever pushes: fewer values than lanes, one lane."""
    rng = np.random.default_rng(seed)
    frequencies = rng.integers(1, 2 ** rng.integers(1, 24, n), dtype=np.int32, endpoint=True)
    starts = rng.integers(0, 2**24 - frequencies, dtype=np.int32, endpoint=True)
    begin = rng.integers(2**31, 2**62, lanes)
    expected, words = begin.copy(), np.zeros(n + 3, np.uint32)
    count = lanes_numpy.push(
        expected, words, 2, starts.astype(np.int64), frequencies.astype(np.int64)
    )
    state, found = begin.copy(), np.zeros(n + 4, np.uint32)
    with pytest.MonkeyPatch.context() as patch:
        if shared:
            in_small_parts(patch)
        got = lane_intervals.push_intervals(state, found, 2, starts, frequencies)
    assert got == count and np.array_equal(state, expected)
    assert np.array_equal(found[2:got], words[2:count])


def test_nothing_is_pushed_of_an_impossible_value(monkeypatch):
    state, words, values = np.full(3, 2**40), np.zeros(9, np.uint32), np.ones(3, np.int32)
    found = iter([lane_intervals.ESCAPED, lanes_numpy.IMPOSSIBLE, lane_intervals.NO_ESCAPE])
    in_small_parts(monkeypatch)
    monkeypatch.setattr(lane_intervals, "shared_out", lambda loop, calls: [loop(*a) for a in calls])
    arguments = state, words, 0, values
    got = lane_intervals.push_looked_up(lambda *_: next(found), *arguments)
    assert got == lanes_numpy.IMPOSSIBLE and next(found, None) is None
    assert (state == 2**40).all()


@pytest.mark.parametrize("reach", [3, 60])
@pytest.mark.parametrize("n", [1, 200, 1001])
def test_gaussian_pushes_in_parts(gaussians, n, reach, monkeypatch):
    """With escapes and without, look-ups and lanes in three parts: as in numpy."""
    rng = np.random.default_rng(n)
    mean32 = rng.integers(-999, 999, n).astype(np.int32)
    values = ((mean32 >> 5) + rng.integers(-reach, reach + 1, n)).astype(np.int32)
    scale, outcomes = rng.integers(40, 100, n).astype(np.int32), []
    in_small_parts(monkeypatch)
    for loops in (lanes_numpy, lanes_numba):
        state, words = rng.integers(2**31, 2**33, 7) * 0 + 2**35, np.zeros(2 * n + 1, np.uint32)
        arrays = *gaussians.table, values, mean32, scale, True
        count = loops.push_gaussian(state, words, 0, *arrays)
        outcomes.append((count, state.tolist(), words[:count].tolist()))
    assert outcomes[0] == outcomes[1]


def test_files_do_not_depend_on_threads(tiny_model, photograph, monkeypatch):
    """The same bytes, and the pixels back, where every loop is shared out."""
    pixels = photograph(72, 88)
    pixels[:16, :24] = 9  # a flat area: fixed samples
    right = encode(pixels, model=tiny_model)
    in_small_parts(monkeypatch)
    assert encode(pixels, model=tiny_model) == right
    assert np.array_equal(decode(right, model=tiny_model), pixels)
