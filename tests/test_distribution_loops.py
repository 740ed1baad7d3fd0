"""Distributions of a step: compiled loops give the integers of the array form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.coder import distribution_arrays, distribution_loops
from bitsback.coder.distributions import COLOURS
from bitsback.diffusion.passes import PASS_COUNTS, Places, coding_passes
from bitsback.integer.network import HEAD_LIMITS, TRUNK_LIMITS, StepTables

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is missing")


def outputs(rng, limits, shape):
    """(B, 9, h, w) int32 outputs of a network, those at the limits included, channels last."""
    parts = [
        rng.choice([low, high, 0, int(rng.integers(low, high))], (*shape, 3))
        for low, high in limits
    ]
    return torch.from_numpy(np.concatenate(parts, 3).astype(np.int32)).permute(0, 3, 1, 2)


def tables(rng):
    """The constants of a step, as wide as section 8 of ARITHMETIC.md allows, small ones too."""
    arrays = (
        (rng.integers(0, limit, 256) >> rng.integers(0, 10, 256)).astype(np.int32)
        for limit in (113, 2**8 + 1, 2**11, 2**14)
    )
    numbers = rng.integers(0, 2**18, 2).tolist()
    return StepTables(*numbers, int(rng.integers(60, 160)), *map(torch.from_numpy, arrays))


@given(
    passes=st.sampled_from(PASS_COUNTS),
    size=st.tuples(*[st.integers(1, 19)] * 2),
    more=st.tuples(*[st.sampled_from([0, 3, 8])] * 2),
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    masked=st.booleans(),
    reach=st.sampled_from([3, 300, 2**15, 2**25 - 1, 2**31 - 1]),
    seed=st.integers(0, 99),
)
def test_as_the_array_form(passes, size, more, batch, channels, masked, reach, seed):
    """Every pass of a step: means, scales and innovations; values of any size wrap alike."""
    rng, (height, width) = np.random.default_rng(seed), size
    shape = (batch, channels, height, width)
    y, values = (
        rng.choice([-reach, reach, 0, rng.integers(-reach, reach)], shape).astype(np.int32)
        for _ in range(2)
    )
    free = rng.random(shape) < 0.7 if masked else None
    whole = height + more[0], width + more[1]
    blocks = [(side + 7) // 8 * 4 for side in whole]
    arguments = tables(rng), outputs(rng, TRUNK_LIMITS, (batch, *whole)), y, values, free
    forms = [
        module.StepDistributions(*arguments) for module in (distribution_arrays, distribution_loops)
    ]
    innovations = [torch.zeros((batch, *blocks, 12), dtype=torch.int8) for _ in forms]
    for number, parts in enumerate(coding_passes(passes)):
        places = Places(parts, height, width, number)
        head = outputs(rng, HEAD_LIMITS, (batch, *blocks)) if number else None
        if not places.n:
            continue
        later = number + 1 < passes
        for form, written in zip(forms, innovations):
            form.begin(places, head, written if later else None)
        for colour in COLOURS[:channels]:
            arrays, loops = (form.of(colour) for form in forms)
            n = batch * places.n
            if masked:
                n = places.of_colour(free, 0 if channels == 1 else colour).sum()
            for expected, found in zip(arrays, loops, strict=True):
                assert isinstance(found, np.ndarray) and found.dtype == np.int32
                assert found.shape == (n,) and np.array_equal(expected.numpy(), found)
        for form in forms:
            form.end()
        assert torch.equal(*innovations)


@pytest.mark.parametrize("columns", [8, 16])
def test_values_are_read_when_they_are_known(columns):
    """A decoder writes each colour after its distribution was asked for, and before the next.

    Also into an array that is not contiguous.
    """
    rng, places = np.random.default_rng(0), Places(coding_passes(4)[0], 8, 8)
    values = rng.integers(-100, 100, (1, 3, 8, 8)).astype(np.int32)
    later = np.zeros((1, 3, 8, columns), np.int32)[..., :8]
    step, trunk = tables(rng), outputs(rng, TRUNK_LIMITS, (1, 8, 8))
    known, decoded = (
        distribution_loops.StepDistributions(step, trunk, values, array, None)
        for array in (values, later)
    )
    known.begin(places, None, None)
    decoded.begin(places, None, None)
    for colour in COLOURS:
        expected, found = known.of(colour), decoded.of(colour)
        assert all(map(np.array_equal, expected, found))
        later[:, colour] = values[:, colour]
