"""gaussian_tables.py: the table of frequencies, and arrays coded each under its own row of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import gaussian_tables
from bitsback.ans.gaussian_tables import (
    CENTRE,
    COLUMNS,
    ESCAPE,
    FRACTIONS,
    MIN_FREQUENCY,
    SCALES,
    TOTAL,
    Gaussians,
)
from bitsback.errors import DamagedFile
from tests.laws import check_codec, credit

NEAR = COLUMNS // 2 - 2  # offsets from the mean's floor that need no escape

escaped = st.integers(-ESCAPE // 2, ESCAPE // 2 - 1)
symbols = st.lists(
    st.tuples(
        st.integers(-(2**18), 2**18),
        st.integers(0, SCALES - 1),
        st.one_of(st.integers(-NEAR, NEAR), st.integers(-40, 40), escaped),
    ),
    max_size=60,
)


def arrays(drawn, clip):
    """(values, mean32, scale) of drawn (mean32, scale, offset).

    clip: limits of the offset, or of the value.
    """
    table = np.array(drawn, np.int32).reshape(-1, 3)
    mean32, scale = table[:, 0].copy(), table[:, 1].copy()
    floor = mean32 >> 5
    if clip == "value":
        values = np.where(
            np.abs(table[:, 2]) > 40,
            table[:, 2],
            np.clip(floor + table[:, 2], -ESCAPE // 2, ESCAPE // 2 - 1),
        )
    else:
        values = floor + np.clip(table[:, 2], -CENTRE, COLUMNS - 1 - CENTRE)
    return values.astype(np.int32), mean32, scale


def test_rows_are_distributions(gaussians):
    """Every row is of integers, at least the floor each, and sums to exactly 2^24."""
    frequencies = gaussians.frequencies
    assert frequencies.shape == (SCALES * FRACTIONS, COLUMNS) and frequencies.dtype == np.int32
    assert (frequencies.sum(1, dtype=np.int64) == TOTAL).all()
    assert frequencies.min() == MIN_FREQUENCY >= 1


def test_forward_rows_are_distributions_without_a_floor():
    """32 rows a step, each of sum 2^24, zeros at the ends only, frequencies rounded Gaussians."""
    steps = [40, 55, 64, 70]
    frequencies = gaussian_tables.forward_frequencies(steps)
    assert frequencies.shape == (len(steps) * FRACTIONS, COLUMNS) and frequencies.dtype == np.int32
    assert (frequencies.sum(1, dtype=np.int64) == TOTAL).all() and frequencies.min() == 0
    for number, row in enumerate(frequencies):
        inside = np.flatnonzero(row)
        assert (row[inside[0] : inside[-1] + 1] > 0).all() and len(inside) < 20
        expected = (
            bin_shares(
                number % FRACTIONS / FRACTIONS, 2 ** ((steps[number // FRACTIONS] - 64) / 16)
            )
            * TOTAL
        )
        allowed = 1e-6 * expected + 0.51
        allowed[np.argmax(row)] += COLUMNS / 2
        assert (np.abs(row - expected) <= allowed).all()


def bin_shares(mean, sd):
    """Probabilities of N(mean, sd^2) by bin, ends open, by Gauss-Legendre quadrature, no erf."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    pieces = max(1, math.ceil(2 / sd))  # a smooth piece is at most half an sd wide
    edges = np.arange(-100, 101)[:, None] - 0.5 + np.arange(pieces) / pieces
    at = edges[..., None] + (nodes + 1) / (2 * pieces)
    density = np.exp(-0.5 * ((at - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    shares = (density * weights).sum((1, 2)) / (2 * pieces)  # of n = -100 .. 100
    first = 100 - CENTRE
    inside = shares[first : first + COLUMNS].copy()
    inside[0] += shares[:first].sum()
    inside[-1] += shares[first + COLUMNS :].sum()
    return inside


@pytest.mark.parametrize("scale", [0, 1, 17, 40, 63, 64, 65, 68, 80, 96, 111])
@pytest.mark.parametrize("fraction", [0, 1, 16, 31])
def test_frequencies_agree_with_an_independent_integral(gaussians, scale, fraction):
    """Frequencies are the Gaussian's shares of what the floors leave, within 1e-6 and rounding.

    The largest takes the remainder.
    """
    row = gaussians.frequencies[scale * FRACTIONS + fraction]
    expected = (
        bin_shares(fraction / FRACTIONS, 2 ** ((scale - 64) / 16))
        * (TOTAL - COLUMNS * MIN_FREQUENCY)
        + MIN_FREQUENCY
    )
    allowed = 1e-6 * expected + 0.51
    allowed[expected > expected.max() - 1] += (
        COLUMNS / 2
    )  # half-way between two columns either may be the largest
    assert (np.abs(row - expected) <= allowed).all()


def test_scale_index_and_sd_are_inverse():
    """scale_index picks the nearest of 16 scales a doubling and clips; index 64 is one spacing."""
    index = np.arange(SCALES)
    sd = np.array([gaussian_tables.scale_sd(i) for i in index])
    assert gaussian_tables.scale_sd(gaussian_tables.SCALE_ONE) == 1
    assert np.array_equal(gaussian_tables.scale_index(sd), index)
    assert np.array_equal(gaussian_tables.scale_index(sd[1:-1] * 2 ** (0.4 / 16)), index[1:-1])
    assert np.array_equal(
        gaussian_tables.scale_index(np.array([0.0, 1e-6, 1e6])), [0, 0, SCALES - 1]
    )


@given(drawn=symbols)
def test_laws_with_escapes(gaussians, drawn):
    """Any value of 16 bits under any mean and scale: both laws, far values included."""
    values, mean32, scale = arrays(drawn, "value")
    check_codec(
        lambda s, v: gaussians.push(s, v, mean32, scale),
        lambda s: gaussians.pop(s, mean32, scale),
        credit(2000),
        values,
    )


@given(drawn=symbols)
def test_laws_without_escapes(gaussians, drawn):
    """Both laws for values -31..32 about the floor of the mean; the end columns do not escape."""
    values, mean32, scale = arrays(drawn, "offset")
    check_codec(
        lambda s, v: gaussians.push(s, v, mean32, scale, escapes=False),
        lambda s: gaussians.pop(s, mean32, scale, escapes=False),
        credit(2000),
        values,
    )


@given(drawn=symbols.filter(len), count=st.integers(1, 5))
def test_arrays_are_in_the_order_of_decoding(gaussians, drawn, count):
    """Pushed last part first, popped first part first: the parts come out in order."""
    values, mean32, scale = arrays(drawn, "value")
    parts, stack = np.array_split(np.arange(len(values)), count), credit(100)
    before = stack.to_bytes()
    for part in reversed(parts):
        gaussians.push(stack, values[part], mean32[part], scale[part])
    assert np.array_equal(
        np.concatenate([gaussians.pop(stack, mean32[part], scale[part]) for part in parts]), values
    )
    assert stack.to_bytes() == before


@pytest.mark.parametrize("escapes", [True, False])
@pytest.mark.parametrize("scales", [(0, SCALES - 1), (64, 64), (0, 8), (100, 112)])
def test_coded_length_is_the_information(gaussians, scales, escapes):
    """The stack grows by -log2 of the frequencies within 0.1 %: 20,000 symbols of mixed rows."""
    rng = np.random.default_rng(scales[0])
    mean32 = rng.integers(-5000, 5000, 20000).astype(np.int32)
    scale = rng.integers(scales[0], scales[1] + 1, 20000).astype(np.int32)
    values = np.rint(mean32 / 32 + rng.normal(0, 1, 20000) * 2 ** ((scale - 64) / 16)).astype(
        np.int32
    )
    if escapes:
        values[::500] += 3000
    else:
        values = np.clip(values, (mean32 >> 5) - CENTRE, (mean32 >> 5) + COLUMNS - 1 - CENTRE)
    stack = credit(1000)
    before = stack.size_bits
    gaussians.push(stack, values, mean32, scale, escapes=escapes)
    information = gaussians.information_bits(values, mean32, scale, escapes=escapes)
    assert stack.size_bits - before == pytest.approx(information, rel=1e-3)
    column = np.clip(values - (mean32 >> 5) + CENTRE, 0, COLUMNS - 1)
    direct = [
        -math.log2(gaussians.frequencies[32 * s + m % 32, c] / TOTAL)
        for s, m, c in zip(scale[:300], mean32[:300], column[:300])
    ]
    far = ((column[:300] == 0) | (column[:300] == COLUMNS - 1)).sum() * 16 * escapes
    assert gaussians.information_bits(
        values[:300], mean32[:300], scale[:300], escapes
    ) == pytest.approx(sum(direct) + far)


def test_an_escape_costs_the_end_column_and_sixteen_bits(gaussians):
    """With escapes a far value costs its column and 16 bits; without, it is the end column's."""
    mean32, scale, values = (
        np.zeros(1, np.int32),
        np.full(1, 64, np.int32),
        np.array([12345], np.int32),
    )
    assert gaussians.information_bits(values, mean32, scale) == pytest.approx(
        24 - math.log2(MIN_FREQUENCY) + 16
    )
    stack = credit(20)
    gaussians.push(stack, values, mean32, scale)
    assert gaussians.pop(stack, mean32, scale) == [12345]
    gaussians.push(stack, values, mean32, scale, escapes=False)
    assert gaussians.pop(stack, mean32, scale, escapes=False) == [COLUMNS - 1 - CENTRE]


@given(mean32=st.lists(st.integers(-(2**18), 2**18), max_size=60), step=st.integers(0, 2))
def test_laws_of_a_forward_table(mean32, step):
    """Both laws for rows with empty ends: what any words pop has a frequency and can be pushed."""
    table = FORWARD
    mean32, scale = np.array(mean32, np.int32), np.full(len(mean32), step, np.int32)
    values = (mean32 + 16) >> 5  # the nearest: it has frequency in every row
    check_codec(
        lambda s, v: table.push(s, v, mean32, scale, escapes=False),
        lambda s: table.pop(s, mean32, scale, escapes=False),
        credit(500),
        values,
    )


FORWARD = Gaussians(gaussian_tables.forward_frequencies([55, 64, 70]))


@pytest.mark.parametrize("offset", [-31, -12, 12, 32, 100, -100])
def test_a_value_of_frequency_zero_is_damage(offset):
    """A value that q cannot draw cannot be pushed: DamagedFile, which only altered words cause."""
    stack = credit(100)
    with pytest.raises(DamagedFile):
        FORWARD.push(
            stack,
            np.array([0, offset], np.int32),
            np.zeros(2, np.int32),
            np.ones(2, np.int32),
            escapes=False,
        )


def test_no_symbols_cost_nothing(gaussians):
    """An empty array neither changes the stack nor fails."""
    none, stack = np.empty(0, np.int32), credit(20)
    before = stack.to_bytes()
    gaussians.push(stack, none, none, none)
    assert len(gaussians.pop(stack, none, none)) == 0 and stack.to_bytes() == before
    assert gaussians.information_bits(none, none, none) == 0
