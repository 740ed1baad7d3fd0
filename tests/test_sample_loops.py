"""Coding order, masks and context noise: compiled loops do what the array form does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.ans.gaussian_tables import COLUMNS, TOTAL, Gaussians, forward_frequencies
from bitsback.coder import sample_arrays, sample_loops
from bitsback.coder.context import BELOW, INSIDE, RIGHT
from bitsback.diffusion.levels import default_levels
from bitsback.diffusion.passes import PASS_COUNTS, Places, coding_passes

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is missing")

SIZES = st.tuples(*[st.integers(1, 13)] * 2)
MASKS = st.sampled_from([None, 0.0, 0.6, 1.0])  # share of free samples
SHAPES = st.tuples(st.integers(1, 3), st.sampled_from([1, 3]), *[st.integers(0, 11)] * 2)


def mask_of(share, shape, rng):
    return None if share is None else rng.random(shape) < share


def same(expected, found):
    return found.dtype == expected.dtype and np.array_equal(expected, found)


@given(SHAPES, MASKS, st.sampled_from([np.int32, np.float32]), st.integers(0, 99))
def test_masks(shape, share, dtype, seed):
    """free_values keeps what is free, placed puts it back."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-(2**20), 2**20, shape).astype(dtype)
    free = mask_of(share, shape, rng)
    assert same(sample_arrays.free_values(values, free), sample_loops.free_values(values, free))
    if free is not None:
        whole = sample_loops.placed(values[free], values[~free], free)
        assert whole.dtype == np.int32 and np.array_equal(whole, values)
        assert same(sample_arrays.placed(values[free], values[~free], free), whole)
        for module in (sample_arrays, sample_loops):
            partly = np.full(shape, 7, np.int32)
            module.put_fixed(partly, whole[~free], free)
            assert np.array_equal(partly, np.where(free, 7, whole))


def test_placed_refuses_another_number_of_values():
    free = np.array([True, False, True]).reshape(1, 1, 1, 3)
    with pytest.raises(ValueError, match="values"):
        sample_loops.placed(np.zeros(1, np.int32), np.zeros(2, np.int32), free)
    with pytest.raises(ValueError, match="values"):
        sample_loops.put_fixed(np.zeros(free.shape, np.int32), np.zeros(2, np.int32), free)


@given(
    passes=st.sampled_from(PASS_COUNTS),
    size=SIZES,
    batch=st.integers(1, 2),
    channels=st.sampled_from([1, 3]),
    share=MASKS,
    seed=st.integers(0, 99),
)
def test_coding_order(passes, size, batch, channels, share, seed):
    """of_colour, put and counted for every colour of every pass, values that are no pixels too."""
    rng, shape = np.random.default_rng(seed), (batch, channels, *size)
    array = rng.integers(-140, 140, shape).astype(np.int32)
    free = mask_of(share, shape, rng)
    written = [np.full(shape, 999, np.int32) for _ in range(2)]
    for number, parts in enumerate(coding_passes(passes)):
        places = Places(parts, *size, number)
        if not places.n:
            continue
        for colour in range(channels):
            here = sample_arrays.of_colour(places, array, colour, free)
            assert same(here, sample_loops.of_colour(places, array, colour, free))
            for module, back in zip((sample_arrays, sample_loops), written):
                module.put(places, back, colour, free, here)
            (name, keys), (our_name, our_keys) = (
                module.counted(places, array, colour, free)
                for module in (sample_arrays, sample_loops)
            )
            assert name == our_name and same(keys, our_keys)
    assert np.array_equal(*written)
    everywhere = np.ones(shape, bool) if free is None else free
    assert np.array_equal(written[0], np.where(everywhere, array, 999))


@given(SHAPES, st.sampled_from([0.3, 1.0]), st.integers(0, 99))
def test_noise_of_the_context(shape, share, seed):
    """Samples of both sides and fixed ones, level by level; levels of rising spacing and the first,
    whose lattice is finer than the pixels."""
    rng, levels = np.random.default_rng(seed), default_levels()
    forward = Gaussians(forward_frequencies([level.step for level in levels]))
    values = rng.integers(-140, 140, shape).astype(np.int32)
    free = rng.random(shape) >= share
    fixed = values[~free]
    for k in range(len(levels)):
        for side in (BELOW, RIGHT):
            arrays, loops = (
                module.noised(forward, levels, k, side, values)
                for module in (sample_arrays, sample_loops)
            )
            assert same(arrays, loops)
        arrays, loops = (
            module.noised_where(forward, levels, k, INSIDE, fixed, free)
            for module in (sample_arrays, sample_loops)
        )
        assert same(arrays, loops)
        values = sample_loops.noised(forward, levels, k, BELOW, values)
        fixed = loops


@pytest.mark.parametrize("above, column", [(0, 32), (1, 31)])
def test_noise_at_the_edge_of_a_column(above, column):
    """The column is the first whose cumulative frequency exceeds the bits."""
    levels = default_levels()
    edge = int(sample_arrays.hash_bits(0, BELOW, 1, 1, 1)[0, 0, 0]) + above
    frequencies = np.zeros((32, COLUMNS), np.int32)
    frequencies[:, 31:33] = edge, TOTAL - edge
    sample = np.zeros((1, 1, 1, 1), np.int32)
    for module in (sample_arrays, sample_loops):
        assert module.noised(Gaussians(frequencies), levels, 0, BELOW, sample) == column - 31
