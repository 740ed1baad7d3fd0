"""gaussian_digits.py: digits under a Gaussian cut to a cell; the compiled loop alike."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.ans import gaussian_digit_loops, gaussian_digits
from bitsback.ans.gaussian_digits import DEVIATIONS, digits
from bitsback.ans.gaussian_tables import TOTAL


def test_digits_are_all_bits():
    """From the highest on, four bits each, the last one what is left."""
    assert list(digits(8)) == [(4, 4), (4, 0)] and list(digits(5)) == [(4, 1), (1, 0)]
    assert list(digits(3)) == [(3, 0)] and list(digits(0)) == []


@settings(max_examples=50)
@given(
    mean32=st.integers(-(2**24), 2**24),
    deviation=st.integers(0, DEVIATIONS - 1),
    digit=st.sampled_from([pair for bits in range(1, 9) for pair in digits(bits)]),
)
def test_digits_have_frequencies(gaussians, mean32, deviation, digit):
    """Every digit has one and all have 2^24, wherever the mean lies; no other value has any."""
    bits, below = digit
    found = gaussian_digits.frequencies(
        gaussians.frequencies, np.array([mean32]), np.array([deviation]), bits, below
    )
    assert found.shape == (1, 2**bits + 1) and found.sum() == TOTAL
    assert found[0, :-1].min() > 0 and found[0, -1] == 0


@pytest.mark.parametrize("sd", [0.5, 4, 30, 200, 2000])
@pytest.mark.parametrize("bits", [8, 5])
def test_digits_are_a_gaussian_in_its_cell(gaussians, sd, bits):
    """Values drawn from it cost at most 0.03 bits and 1 % more than their entropy."""
    cell, mean = 2**bits, 0.4 * 2**bits
    z = [(edge - 0.5 - mean) / sd / math.sqrt(2) for edge in range(cell + 1)]
    share = np.diff([math.erf(one) for one in z])
    share /= share.sum()
    deviation = round(2 * math.log2(sd)) + 8
    values, mean32 = np.arange(cell), np.full(cell, round(32 * mean))
    costs = [
        gaussian_digits.information_bits(
            gaussians.frequencies, values[i : i + 1], mean32[:1], bits, min(deviation, 31)
        )
        for i in range(cell)
    ]
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert (share * costs).sum() < entropy + 0.03 + 0.01 * entropy


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    digit=st.sampled_from([pair for bits in range(1, 9) for pair in digits(bits)]),
)
def test_compiled_loop_is_the_reference(gaussians, seed, digit):
    """The same frequencies, whatever mean and deviation."""
    rng, (bits, below) = np.random.default_rng(seed), digit
    mean32 = rng.integers(-(2**20), 2**20, 40) >> rng.integers(0, 18, 40)
    arguments = gaussians.frequencies, mean32, rng.integers(0, DEVIATIONS, 40), bits, below
    ours, theirs = (
        loops.frequencies(*arguments) for loops in (gaussian_digit_loops, gaussian_digits)
    )
    assert ours.dtype == theirs.dtype == np.int64 and np.array_equal(ours, theirs)
