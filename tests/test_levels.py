"""The ladder of noise levels, one reverse step, and its integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from bitsback.ans import gaussian_tables
from bitsback.coder.distribution_arrays import FAR, INNOVATION_SHIFT, MEAN_SHIFT
from bitsback.diffusion.levels import default_levels, doubling, sigmas, spaced
from bitsback.diffusion.schedule import DATA_SD, geometric, preconditioning, reverse_step
from bitsback.diffusion.steps import (
    COLOUR_BITS,
    FINE_BITS,
    GAIN_BITS,
    INVERSE_BITS,
    MEAN_BITS,
    SCALE_UNIT,
    SHIFT,
    V_INDICES,
    V_ONE,
    make_step,
    make_steps,
)
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.network import HEAD_LIMITS, TRUNK_LIMITS

LADDERS = {"doubling": doubling(), "default": default_levels(), "many": spaced(40)}
DEFAULT = [(-1, 63), (0, 55), (0, 70), (1, 67), (2, 71), (4, 59), (5, 67), (7, 60), (8, 63)]
VALUES = 2**12  # largest lattice index of any latent of an image, as ARITHMETIC.md promises
PAIRS = [(0.5, 0.9), (0.6, 1.2), (1.0, 1.001), (20.0, 40.0), (150.0, 290.0)]


def ladder(names=tuple(LADDERS)):
    return pytest.mark.parametrize("levels", [LADDERS[n] for n in names], ids=names)


def test_doubling_doubles():
    """Each level of `doubling` doubles the noise and the spacing of the lattice."""
    levels = doubling()
    assert [level.exponent for level in levels] == list(range(-1, len(levels) - 1))
    ratios = np.array(sigmas(levels)[1:]) / sigmas(levels)[:-1]
    assert np.allclose(ratios, 2, rtol=0.03) and sigmas(levels)[0] == pytest.approx(0.61, abs=0.01)


@ladder(("doubling", "default"))
def test_levels_are_a_ladder(levels):
    """Sigmas rise, spacings never fall and stay near sigma: 0.4 to 1.3 of it."""
    sigma, spacing = np.array(sigmas(levels)), np.array([level.spacing for level in levels])
    assert (np.diff(sigma) > 0).all() and (np.diff(spacing) >= 0).all()
    assert 0.4 < (spacing / sigma).min() and (spacing / sigma).max() < 1.3


def test_default_levels_are_further_apart_where_there_is_more_noise():
    """12 levels from 0.5 to 285: the first four in equal ratios, later ones further apart.

    Equal as far as 1/16 doublings and powers of two allow; later ratios are at most twice as large
    in the logarithm.
    """
    sigma = np.array(sigmas(default_levels()))
    assert sigma[0] == pytest.approx(0.5, rel=0.03) and sigma[-1] == pytest.approx(285, rel=0.03)
    even, steps = math.log(285 / 0.5) / 11, np.log(sigma[1:] / sigma[:-1])
    assert (
        np.allclose(steps[:3], even, rtol=0.1)
        and (steps[3:] > 1.2 * even).all()
        and (steps[3:] < 2 * even).all()
    )


def test_default_levels_are_what_shipped_models_were_trained_for():
    """Exponents and steps, number by number."""
    assert [(level.exponent, level.step) for level in default_levels()] == DEFAULT


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12, 20, 40, 100])
def test_spacings_follow_what_is_left_to_say(count):
    """With more levels each codes less, and spacings fall, at most 1.2 sigma; sigmas stay put.

    They fall with a sigma, where lambda = sqrt(a) sigma is the sd of what is coded.
    """
    levels, wanted = spaced(count), np.array(geometric(0.5, 285.0, count))
    spacing, sigma = np.array([level.spacing for level in levels]), np.array(sigmas(levels))
    a = 1 - (wanted[0] / wanted[1]) ** 2 if count > 1 else 1.0
    limit = min(1.2, 1.7 * a) * wanted
    assert (spacing <= limit).all() and (spacing > limit / 2).all()
    assert np.allclose(sigma, wanted, rtol=0.06)


@ladder()
def test_a_simulated_forward_chain_has_these_sigmas(levels):
    """Simulated: y_k - x has variance sigma_k^2 within sampling error, and mean 0."""
    rng, count = np.random.default_rng(3), 200_000
    x = rng.integers(-128, 128, count).astype(float)
    y = x
    for level, sigma in zip(levels, sigmas(levels)):
        y = (
            np.rint(
                (y + rng.normal(0, gaussian_tables.scale_sd(level.step) * level.spacing, count))
                / level.spacing
            )
            * level.spacing
        )
        assert np.mean((y - x) ** 2) == pytest.approx(sigma**2, rel=5 * math.sqrt(2 / count))
        assert abs(np.mean(y - x)) < 5 * sigma / math.sqrt(count)


@ladder()
@pytest.mark.parametrize("fraction", range(0, 32, 8))
def test_forward_rows_have_the_variance_the_sigmas_assume(levels, fraction):
    """The rows of q have mean 0 and variance tau^2 + 1/12 within 0.1 %.

    A floor of 16 in far columns added 2 % to it, and 1 % to the rate.
    """
    for level, rows in zip(
        levels,
        gaussian_tables.forward_frequencies([level.step for level in levels]).reshape(
            -1, gaussian_tables.FRACTIONS, gaussian_tables.COLUMNS
        ),
    ):
        row, offset = (
            rows[fraction] / gaussian_tables.TOTAL,
            np.arange(gaussian_tables.COLUMNS)
            - gaussian_tables.CENTRE
            - fraction / gaussian_tables.FRACTIONS,
        )
        assert (row * offset**2).sum() == pytest.approx(
            gaussian_tables.scale_sd(level.step) ** 2 + 1 / 12, rel=1e-3
        )
        assert abs((row * offset).sum()) < 1e-4


@pytest.mark.parametrize("sigma_s, sigma_t", PAIRS)
def test_reverse_step_is_bayes(sigma_s, sigma_t):
    """(1-a) y_t + a x and lambda2 are the moments of q(y_s given x, y_t), by Bayes' rule.

    It is N(y_s; x, sigma_s^2) N(y_t; y_s, sigma_t^2 - sigma_s^2), normalised.
    """
    a, lambda2 = reverse_step(sigma_s, sigma_t)
    s2, t2 = Fraction(sigma_s) ** 2, Fraction(sigma_t) ** 2
    precision = 1 / s2 + 1 / (t2 - s2)
    assert lambda2 == pytest.approx(float(1 / precision), rel=1e-12)
    assert 1 - a == pytest.approx(float(1 / (t2 - s2) / precision), rel=1e-12)
    assert a == pytest.approx(float(1 / s2 / precision), rel=1e-12)


def test_reverse_step_on_tensors_is_the_same():
    """Tensors and floats agree."""
    s, t = (
        torch.tensor([p[0] for p in PAIRS], dtype=torch.float64),
        torch.tensor([p[1] for p in PAIRS], dtype=torch.float64),
    )
    a, lambda2 = reverse_step(s, t)
    assert np.allclose(
        np.stack([a, lambda2], 1), [reverse_step(*pair) for pair in PAIRS], rtol=1e-12
    )


@pytest.mark.parametrize("sigma", [0.5, 1.0, 17.0, 64.0, 285.0])
def test_preconditioning_is_the_best_linear_estimate(sigma):
    """For x ~ N(0, D^2): c_skip y is E[x

    y], c_out^2 is Var[x

    y], c_in y has variance 1.

    And c_skip + (sigma/D)^2 c_skip = 1.
    """
    c_skip, c_out, c_in = preconditioning(sigma)
    total = DATA_SD**2 + sigma**2
    assert c_in**2 * total == pytest.approx(1)
    assert c_skip == pytest.approx(DATA_SD**2 / total)  # Cov[x, y] / Var[y]
    assert c_out**2 == pytest.approx(DATA_SD**2 - c_skip * DATA_SD**2)  # Var[x] - Cov^2 / Var[y]
    assert c_out**2 == pytest.approx((1 - c_skip) ** 2 * DATA_SD**2 + c_skip**2 * sigma**2)


@ladder()
def test_products_of_a_step_fit_32_bits(levels):
    """Worst cases of every product and sum that the coder forms from a step's integers."""
    (_, f_max), (_, _), (_, rho_trunk) = TRUNK_LIMITS
    (_, f_head), (_, _), (_, rho_head) = HEAD_LIMITS
    limit = 2**31
    for step in make_steps(levels):
        tables = {
            name: getattr(step, name).astype(object)
            for name in ("scale", "gain", "shift", "inverse")
        }
        assert all(
            getattr(step, name).dtype == np.int32 and len(getattr(step, name)) == V_INDICES
            for name in tables
        )
        assert all((table >= 0).all() for table in tables.values())
        assert step.input_scale * VALUES + 128 < limit
        assert step.from_y * VALUES + step.from_f * f_max + 2 ** (MEAN_SHIFT - 1) < limit
        assert max(tables["shift"]) * f_head + 2 ** (MEAN_SHIFT - 1) < limit
        assert (
            2 * (rho_trunk + rho_head) * max(tables["gain"]) * FAR
            + 2 ** (COLOUR_BITS + GAIN_BITS - 1)
            < limit
        )
        assert 8 * FAR * max(tables["inverse"]) + 2 ** (INNOVATION_SHIFT - 1) < limit
        head = (max(tables["shift"]) * f_head >> MEAN_SHIFT) + 1
        colour = (
            2 * (rho_trunk + rho_head) * max(tables["gain"]) * FAR >> COLOUR_BITS + GAIN_BITS
        ) + 1
        mean = ((step.from_y * VALUES + step.from_f * f_max) >> MEAN_SHIFT) + 1 + head + colour
        assert (VALUES << FINE_BITS) + mean < limit  # what innovations are clipped from
        assert max(tables["scale"]) < gaussian_tables.SCALES and 0 <= step.base < V_INDICES


@ladder()
def test_integers_of_a_step_are_its_formulas(levels):
    """The integers of a step reproduce the float formulas to the precision of their units."""
    sigma, rng = sigmas(levels), np.random.default_rng(1)
    for k, step in enumerate(make_steps(levels)):
        spacing_s, a, lambda2 = (
            (1.0, 1.0, 0.0)
            if k == 0
            else (levels[k - 1].spacing, *reverse_step(sigma[k - 1], sigma[k]))
        )
        c_skip, c_out, c_in = preconditioning(sigma[k])
        y = rng.integers(-300, 300, 1000)
        f = rng.uniform(-2, 2, 1000)
        xhat = c_skip * y * levels[k].spacing + c_out * f
        mean = ((1 - a) * y * levels[k].spacing + a * xhat) / spacing_s
        mean64 = (
            step.from_y * y
            + step.from_f * np.rint(f * 2**MEAN_BITS).astype(int)
            + 2 ** (MEAN_SHIFT - 1)
        ) >> MEAN_SHIFT
        assert (
            np.abs(mean64 / 64 - mean).max()
            < 0.01 + a * c_out / spacing_s / 2**MEAN_BITS + 2e-3 * np.abs(mean).max()
        )
        assert (
            np.abs((step.input_scale * y + 128 >> 8) / 256 - c_in * y * levels[k].spacing).max()
            < 2.5 / 256
        )
        v = a * a * 4.0 ** ((np.arange(V_INDICES) - V_ONE) / SCALE_UNIT)
        inside = (v > 1e-2 * spacing_s**2) & (v + lambda2 < 60 * spacing_s**2)
        sd = np.array([gaussian_tables.scale_sd(index) for index in step.scale])
        variance = sd**2 + (
            0 if k == 0 else 1 / 12
        )  # the lattice's own rounding is part of y_s, not of x
        assert np.allclose(variance[inside], ((v + lambda2) / spacing_s**2)[inside], rtol=0.05)
        assert np.allclose(step.gain / 2**GAIN_BITS, v / (v + lambda2), atol=2 / 2**GAIN_BITS)
        assert np.allclose(
            step.shift[inside] / 2 ** (SHIFT - MEAN_BITS),
            (np.sqrt(v + lambda2) / spacing_s * v / (v + lambda2))[inside],
            atol=0.003,
        )
        innovation = np.sqrt(v + lambda2 + (1 / 12 if k == 0 else 0))
        assert np.allclose(
            step.inverse / 2**INVERSE_BITS, spacing_s / innovation, atol=2**-INVERSE_BITS
        )
        assert V_ONE + SCALE_UNIT * math.log2(c_out / math.sqrt(math.e)) == pytest.approx(
            step.base, abs=0.5
        )


def test_a_step_says_what_its_levels_say():
    """make_steps takes each level with the one below it, p(x | y_0) on the lattice of pixels."""
    levels, sigma = doubling(4), sigmas(doubling(4))
    steps = make_steps(levels)
    assert steps[0].from_y == make_step(sigma[0], levels[0].spacing).from_y
    for k in range(1, 4):
        alone = make_step(sigma[k], levels[k].spacing, sigma[k - 1], levels[k - 1].spacing)
        assert all(
            np.array_equal(getattr(alone, name), getattr(steps[k], name)) for name in vars(alone)
        )
    assert INNOVATION_REACH * 4 <= 8 * FAR
