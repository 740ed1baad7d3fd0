"""colour_loops.py and colour_intervals.py: the integers of colour_frequencies.py, compiled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import colour_frequencies, colour_intervals, colour_loops
from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.colour_frequencies import BEHIND, MAX_COUNT, SHARPNESS, WIDTH
from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.ans.gaussian_tables import CENTRE, TOTAL
from bitsback.ans.lanes import Lanes
from bitsback.codecs.segments import planes
from bitsback.errors import StackEmpty

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba compiles these loops")
SHARED = TOTAL - WIDTH - 1
LARGEST = 2**37 - 1  # of a sum of weights


@colour_loops.compiled
def quotients(weights, totals, found):
    for j in range(len(weights)):
        ratio = SHARED / totals[j]
        found[j] = colour_intervals.quotient(weights[j], totals[j], ratio)


def check_quotients(weights, totals):
    weights, totals = np.asarray(weights, np.int64), np.asarray(totals, np.int64)
    found = np.empty(len(weights), np.int64)
    quotients(weights.astype(np.float64), totals.astype(np.float64), found)
    assert np.array_equal(found, weights * SHARED // totals)


@given(st.lists(st.tuples(st.integers(1, LARGEST), st.integers(0, LARGEST)), min_size=1))
def test_quotients(pairs):
    """Those of any weights are exact."""
    check_quotients([min(pair) for pair in pairs], [max(pair) for pair in pairs])


def test_quotients_close_to_integers():
    """So are those that a float64 product rounds to the wrong side of an integer."""
    rng = np.random.default_rng(0)
    totals = np.concatenate(
        [rng.integers(1, 2**bits, 20_000) for bits in range(1, 38)] + [[1, 17, LARGEST, SHARED]]
    )
    near = totals * rng.integers(0, SHARED, len(totals), endpoint=True) // SHARED
    wrong = 0
    for weights in (near, near - 1, near + 1, totals, totals - 1, 0 * totals, totals // 2):
        weights = np.clip(weights, 0, totals)
        check_quotients(weights, totals)
        rounded = (weights * (SHARED / totals)).astype(np.int64)
        error = rounded - weights * SHARED // totals
        wrong += np.count_nonzero(error)
        assert abs(error).max() <= 1
    assert wrong > 100


def sample(gaussians, seed, n=300):
    """(counts, keys, values, mean32, scale): rows and counts of every kind, at and past the ends of
    a table of 2^16.
    """
    rng = np.random.default_rng(seed)
    counts = rng.choice(
        [0, 1, 2, 30, MAX_COUNT - 1, MAX_COUNT, MAX_COUNT + 1, 2**31 - 1],
        2**16,
        p=rng.dirichlet(np.full(8, 0.5)),
    ).astype(np.int32)
    keys = rng.choice([0, 7, 255], n).astype(np.int64) << 8
    mean32 = np.rint(rng.normal(0, 2.0 ** rng.integers(4, 15), n)).astype(np.int32)
    mean32[:6] = -(2**31), 2**31 - 1, -(2**12), 2**12, -(2**12) - 1, 2**12 - 1
    scale = rng.choice([0, 30, 64, 90, 112], n).astype(np.int32)
    values = (mean32 >> 5) + np.rint(rng.normal(0.5, rng.choice([1, 9], n), n)).astype(np.int32)
    return counts, keys, np.clip(values, -(2**15), 2**15 - 1).astype(np.int32), mean32, scale


@given(st.integers(0, 2**32), st.sampled_from(SHARPNESS))
def test_intervals(gaussians, seed, sharpness):
    """Those of all symbols are the reference's, and a search of their ends finds them."""
    counts, keys, _, mean32, scale = sample(gaussians, seed, 24)
    window = colour_frequencies.window(gaussians, counts, keys, mean32, scale)
    expected = colour_frequencies.reweighted(window, *sharpness)
    weights, rows = np.empty(WIDTH + 1), scale * 32 + (mean32 & 31)
    for j, frequencies in enumerate(expected.T.tolist()):
        first = (int(mean32[j]) >> 5) + 128 - BEHIND
        table = gaussians.frequencies.ravel(), int(rows[j]), counts, int(keys[j]), first
        total = colour_intervals.weigh(*table, *sharpness, weights)
        assert total == weights.sum() and colour_intervals.FIRST == CENTRE - BEHIND
        start = 0
        for symbol, frequency in enumerate(frequencies):
            interval = colour_intervals.interval(weights, total, symbol)
            assert interval == (start, frequency)
            for slot in (start, start + frequency // 2, start + frequency - 1):
                assert colour_intervals.search(weights, total, slot) == (symbol, *interval)
            start += frequency


@pytest.mark.parametrize("lanes", [1, 16, 299, 300, 1000])
@pytest.mark.parametrize("sharpness", SHARPNESS)
def test_the_words_of_the_reference(gaussians, lanes, sharpness):
    """push and pop change lanes as the reference does, escapes included, and undo one another."""
    counts, keys, values, mean32, scale = sample(gaussians, lanes)
    assert (abs(values - (mean32 >> 5)) > WIDTH).sum() > 5
    message = Lanes(np.random.default_rng(0).bytes(6000))
    message.widen(lanes)
    start, ends = message.to_bytes(), []
    for loops in (colour_frequencies, colour_loops):
        mine = message.copy()
        loops.push(mine, gaussians, counts, keys, values, mean32, scale, *sharpness)
        ends.append(mine.to_bytes())
    assert ends[0] == ends[1] != start
    for loops in (colour_frequencies, colour_loops):
        theirs = mine.copy()
        popped = loops.pop(theirs, gaussians, counts, keys, mean32, scale, *sharpness)
        assert popped.dtype == np.int32 and np.array_equal(popped, values)
        assert theirs.to_bytes() == start
    drawn = [
        loops.pop(message.copy(), gaussians, counts, keys, mean32, scale, *sharpness)
        for loops in (colour_frequencies, colour_loops)
    ]
    assert np.array_equal(*drawn) and not np.array_equal(drawn[0], values)


@pytest.mark.parametrize("loops", [colour_frequencies, colour_loops])
def test_a_dry_stack(gaussians, loops):
    """Words that end too early are StackEmpty."""
    counts, keys, _, mean32, scale = sample(gaussians, 1)
    message = Lanes(bytes(range(1, 41)))
    message.widen(3)
    with pytest.raises(StackEmpty):
        loops.pop(message, gaussians, counts, keys, mean32, scale, 32, 32)


def test_information_bits(gaussians):
    """The reference's, but for the order of the sum; strided arrays too."""
    counts, *rows = sample(gaussians, 2)
    for some in (slice(None), slice(1, None, 3), slice(0, 0)):
        arguments = gaussians, counts, *(row[some] for row in rows)
        expected = colour_frequencies.information_bits(*arguments)
        found = colour_loops.information_bits(*arguments)
        assert expected.shape == (len(SHARPNESS),) and np.allclose(found, expected, 1e-12, 1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_counted_as_planes_are(channels):
    """count_pixels, in numpy and compiled, against count_all: also of turned views."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    for view in (pixels, pixels[::-1, ::-2]):
        expected = ColourCounts(1)
        expected.count_all(planes(view), 3)
        for loops in (colour_frequencies, colour_loops):
            found = ColourCounts(1, loops)
            found.count_pixels(view, 3)
            assert found.counted == expected.counted == 3 * view.size
            assert found._tables.keys() == expected._tables.keys()
            for table, counts in expected._tables.items():
                assert np.array_equal(found._tables[table], counts), table


@given(st.integers(0, 2**32), st.sampled_from([-1, 1, 3]))
def test_counting(seed, times):
    """Counts and indices are the reference's, and adding the indices the other way undoes them."""
    rng = np.random.default_rng(seed)
    keys, before = rng.integers(0, 5, 99) << 8, rng.integers(0, 9, 5 << 8).astype(np.int32)
    values = rng.integers(-140, 140, 99).astype(np.int32)
    tables, indices = [before.copy(), before.copy()], []
    for loops, table in zip((colour_frequencies, colour_loops), tables):
        indices.append(loops.count(table, keys, values, times))
        assert indices[-1].dtype == np.int32
    assert np.array_equal(*tables) and np.array_equal(*indices)
    assert tables[0].sum() == before.sum() + 99 * times
    for loops, table in zip((colour_frequencies, colour_loops), tables):
        loops.add(table, indices[0], -times)
        assert np.array_equal(table, before)
