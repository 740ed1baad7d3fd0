"""samplers.py on data with a known score: moments, orders, identities, noise, other processes.

Gaussian data make every sampler affine in its start and noises, so a batch of basis vectors has the
law without Monte Carlo.  On a mixture, steps are integrated on a grid: Gauss-Hermite in the noises,
backwards from the function.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from bitsback.diffusion.schedule import geometric
from bitsback.sampling import samplers
from bitsback.sampling.samplers import SAMPLERS, ancestral, ddim, restoration_degradation, seeds

VARIANCE = 4.0  # of Gaussian data
WEIGHTS, MEANS, SD = (0.3, 0.7), (-2.0, 2.0), 0.5  # of the mixture


def gaussian(variance=VARIANCE, mean=0.0):
    """The exact denoiser of N(mean, variance)."""

    def denoise(y, sigma):
        share = variance / (variance + sigma**2)
        return mean + share * (y - mean), share * sigma**2

    return denoise


def mixture(y, sigma):
    """The exact denoiser of the mixture."""
    share = SD**2 / (SD**2 + sigma**2)
    logs = torch.stack(
        [math.log(w) - (y - m) ** 2 / (2 * (SD**2 + sigma**2)) for w, m in zip(WEIGHTS, MEANS)]
    )
    parts = torch.stack([m + share * (y - m) for m in MEANS])
    responsibility = torch.softmax(logs, 0)
    xhat = (responsibility * parts).sum(0)
    return xhat, share * sigma**2 + (responsibility * (parts - xhat) ** 2).sum(0)


def end_variance(monkeypatch, sampler, levels, variance=VARIANCE, **options):
    """Variance at levels[-1] from N(0, variance + levels[0]^2).

    Component j of y is the weight of the j-th noise.
    """
    drawn = [0]

    def unit(like, generator):
        drawn[0] += 1
        return torch.nn.functional.one_hot(torch.tensor(drawn[0]), len(like)).to(like.dtype)

    monkeypatch.setattr(samplers, "gaussian_noise", unit)
    start = torch.zeros(4 * len(levels), dtype=torch.float64)
    start[0] = math.sqrt(variance + levels[0] ** 2)
    end = sampler(gaussian(variance), start, levels, None, **options)
    return float(end @ end)


def slopes(errors):
    """log2 of the gain of each halving of the step."""
    return [math.log2(a / b) for a, b in pairwise(errors)]


ORDERS = [
    ("ancestral", {"grade": "beta-tilde"}, 1),
    ("ancestral", {"grade": "beta"}, 1),
    ("seeds1", {}, 1),
    ("seeds2", {}, 2),
    ("seeds3", {}, 2),
    ("ddim", {}, 1),
    ("restoration-degradation", {}, 1),
    ("restoration-degradation", {"depth": 0.75}, 1),
    ("seeds1", {"noise": 0.0}, 1),
    ("seeds2", {"noise": 0.0}, 2),
    ("seeds3", {"noise": 0.0}, 3),
    ("seeds2", {"noise": 0.5}, 2),
    ("seeds3", {"noise": 0.5}, 2),
]


@pytest.mark.parametrize("name, options, order", ORDERS)
def test_order_on_gaussian_data(monkeypatch, name, options, order):
    """The variance converges to the exact one, at the order of each method, and no faster."""
    errors = []
    for count in (384, 768, 1536):
        levels = geometric(0.1, 50.0, count + 1)[::-1]
        errors.append(
            abs(
                end_variance(monkeypatch, SAMPLERS[name], levels, **options)
                - (VARIANCE + levels[-1] ** 2)
            )
        )
    assert errors[-1] < 0.02 * VARIANCE
    assert all(order - 0.25 < slope < order + 0.1 for slope in slopes(errors)), (
        errors,
        slopes(errors),
    )


@pytest.mark.parametrize("share", [0.3, 0.75])
def test_a_stage_anywhere(monkeypatch, share):
    """SEEDS-2 keeps its order 2 with its stage anywhere: a model's levels are not evenly spaced."""
    errors = []
    for count in (192, 384, 768):
        ends = geometric(0.1, 50.0, count + 1)[::-1]
        levels = [
            sigma for a, b in pairwise(ends) for sigma in (a, a ** (1 - share) * b**share)
        ] + [ends[-1]]
        errors.append(
            abs(end_variance(monkeypatch, SAMPLERS["seeds2"], levels) - (VARIANCE + 0.01))
        )
    assert all(1.9 < slope < 2.1 for slope in slopes(errors)), (errors, slopes(errors))


@pytest.mark.parametrize("name", SAMPLERS)
def test_mean_on_gaussian_data(monkeypatch, name):
    """The start's mean becomes the end's: exactly where y - mean stays in proportion to its sd."""
    monkeypatch.setattr(samplers, "gaussian_noise", lambda like, generator: torch.zeros_like(like))
    mean, levels = 1.5, geometric(0.1, 50.0, 97)[::-1]
    end = SAMPLERS[name](
        gaussian(mean=mean), torch.tensor([mean], dtype=torch.float64), levels, None
    )
    assert abs(float(end) - mean) < 1e-12


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_head_grade_is_exact_on_gaussian_data(monkeypatch, count):
    """With the true variance of x given y the reverse step is exact, for any number of steps."""
    levels = geometric(0.1, 50.0, count + 1)[::-1]
    assert abs(end_variance(monkeypatch, ancestral, levels) - (VARIANCE + 0.01)) < 1e-12


def test_the_scalar_grade():
    """On Gaussian data the average is the true variance too: exact in two steps, by channel."""
    generator = torch.Generator().manual_seed(1)
    variance = torch.tensor([1.0, 25.0, 400.0], dtype=torch.float64).view(1, 3, 1, 1)

    def denoiser(y, sigma):
        return variance / (variance + sigma**2) * y, (
            variance * sigma**2 / (variance + sigma**2)
        ).expand(y.shape)

    start = torch.sqrt(variance + 50**2) * torch.randn(
        2, 3, 200, 200, dtype=torch.float64, generator=generator
    )
    end = ancestral(denoiser, start, [50.0, 9.0, 2.0], generator, grade="scalar")
    assert (end.var((2, 3)) / (variance + 4).view(1, 3) - 1).abs().max() < 0.03
    assert (
        ancestral(denoiser, start, [50.0, 9.0, 2.0], generator, grade="beta-tilde").var((2, 3))
        / (variance + 4).view(1, 3)
        - 1
    ).abs().max() > 0.1


@pytest.mark.parametrize(
    "stages, noise, errors",
    [
        (1, 1.0, (0.124, 0.0679, 0.0356, 0.0182)),
        (2, 1.0, (7.08e-3, 1.84e-3, 4.65e-4, 1.17e-4)),
        (3, 1.0, (1.02e-3, 4.02e-4, 1.25e-4, 3.48e-5)),
        (2, 0.0, (1.86e-3, None, None, 2.92e-5)),
        (3, 0.0, (2.31e-5, None, None, 5.97e-8)),
    ],
)
def test_errors_derived_apart(monkeypatch, stages, noise, errors):
    """Equal to variance errors of 20, 40, 80, 160 steps that other code computed.

    In variance-preserving variables: data N(0, 1/2), log SNR / 2 from -3 to 3.
    """
    for steps, expected in zip((20, 40, 80, 160), errors):
        if expected:
            levels = geometric(math.exp(-3), math.exp(3), steps * stages + 1)[::-1]
            exploding = end_variance(
                monkeypatch, seeds, levels, 0.5, stages=stages, noise=noise
            ) - (0.5 + math.exp(-6))
            assert abs(exploding) / (1 + math.exp(-6)) == pytest.approx(expected, rel=0.01)


# --- a mixture ---------------------------------------------------------------------------------


def density(y, sigma):
    return sum(
        w
        * np.exp(-((y - m) ** 2) / (2 * (SD**2 + sigma**2)))
        / math.sqrt(2 * math.pi * (SD**2 + sigma**2))
        for w, m in zip(WEIGHTS, MEANS)
    )


def grid(sigma, size=401):
    return np.linspace(-1, 1, size) * (4 + 6 * sigma)


def cubic(points, places, values):
    """Interpolation by cubics through the four nearest values on an even grid."""
    at = (points - places[0]) / (places[1] - places[0])
    first = np.clip(np.floor(at).astype(int) - 1, 0, len(places) - 4)
    u = at - first
    return (
        values[first] * (u - 1) * (u - 2) * (u - 3) / -6
        + values[first + 1] * u * (u - 2) * (u - 3) / 2
        + values[first + 2] * u * (u - 1) * (u - 3) / -2
        + values[first + 3] * u * (u - 1) * (u - 2) / 6
    )


def end_moments(monkeypatch, sampler, levels, stages, nodes):
    """E[y], E[y^2] at levels[-1] from the exact law at levels[0], by blocks of levels."""
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    drawn = [0]

    def along_next_axis(like, generator):
        drawn[0] += 1
        return torch.from_numpy(z).reshape(
            [-1 if axis == drawn[0] else 1 for axis in range(stages + 1)]
        )

    monkeypatch.setattr(samplers, "gaussian_noise", along_next_axis)
    here = grid(levels[-1])
    functions = [here, here**2]
    for begin in range(len(levels) - 1 - stages, -1, -stages):
        block = levels[begin : begin + stages + 1]
        drawn[0] = 0
        start = torch.from_numpy(grid(block[0])).reshape(-1, *[1] * stages)
        end = sampler(mixture, start, block, None).numpy()
        below = grid(block[-1])
        functions = [cubic(end, below, f) for f in functions]
        for _ in range(drawn[0]):
            functions = [f @ weights for f in functions]
        functions = [f.reshape(-1) for f in functions]
    y = grid(levels[0])
    share = density(y, levels[0])
    return [float((f * share).sum() / share.sum()) for f in functions]


EXACT_MEAN = sum(w * m for w, m in zip(WEIGHTS, MEANS))
EXACT_SQUARE = sum(w * (m * m + SD**2) for w, m in zip(WEIGHTS, MEANS))


def graded(monkeypatch, grade):
    """ancestral of a grade; "scalar" averages by the mixture's density: a grid is no sample."""

    def sampler(denoiser, start, levels, generator):
        share = torch.from_numpy(density(start.numpy(), levels[0]))
        monkeypatch.setattr(samplers, "_mean", lambda v: (v * share).sum() / share.sum())
        return ancestral(denoiser, start, levels, generator, grade=grade)

    return sampler


def moment_errors(monkeypatch, name, levels, stages):
    """(of the mean, of the second moment) at levels[-1]; name: of SAMPLERS or VARIANCE_GRADES."""
    sampler = SAMPLERS[name] if name in SAMPLERS else graded(monkeypatch, name)
    mean, square = end_moments(monkeypatch, sampler, levels, stages, nodes=16 if stages == 1 else 6)
    return mean - EXACT_MEAN, square - EXACT_SQUARE - levels[-1] ** 2


@pytest.mark.parametrize(
    "name, stages, counts, error, low, high",
    [
        ("beta", 1, (32, 64, 128), 0.05, 0.9, 1.1),
        ("beta-tilde", 1, (32, 64, 128), 0.05, 0.9, 1.1),
        ("seeds1", 1, (32, 64, 128), 0.05, 0.9, 1.1),
        ("scalar", 1, (32, 64, 128), 0.05, 0.9, 1.1),
        ("head", 1, (64, 128, 256), 0.0005, 1.7, 2.1),
        ("seeds2", 2, (24, 48, 96), 0.0005, 1.8, 2.1),
        ("seeds3", 3, (128, 256), 0.00005, 1.7, 2.1),
    ],
)
def test_order_on_a_mixture(monkeypatch, name, stages, counts, error, low, high):
    """Two modes: mean and second moment converge to the exact ones, at the method's weak order.

    SEEDS-3 reaches its order 2 late: 1.2, 1.5, 1.8 for 48, 96, 192 steps; its error is always far
    below SEEDS-2's.  Grade head tends to 2 too.
    """
    errors = [
        math.hypot(
            *moment_errors(
                monkeypatch, name, geometric(0.2, 20.0, count * stages + 1)[::-1], stages
            )
        )
        for count in counts
    ]
    assert errors[-1] < error
    assert all(low < slope < high for slope in slopes(errors)), (errors, slopes(errors))


@pytest.mark.parametrize(
    "grade, exact", [("head", True), ("scalar", True), ("beta", False), ("beta-tilde", False)]
)
def test_moments_of_one_step_on_a_mixture(monkeypatch, grade, exact):
    """From the exact law the true mean and variance of x given y lead to exact moments in any step.

    So does the variance's mean.
    """
    for levels in ([20.0, 1.0], [3.0, 0.5]):
        mean, square = moment_errors(monkeypatch, grade, levels, 1)
        assert (
            abs(mean) < 1e-6 and (abs(square) < 1e-6) == exact and (exact or abs(square) > 0.1)
        ), (mean, square)


@pytest.mark.parametrize("levels", [[50.0, 40.0], [3.0, 0.5]])
def test_the_beta_grade(monkeypatch, levels):
    """The variance of a step is sigma_t^2 - sigma_s^2 (DDPM's beta), for any denoiser."""
    ends = []
    for noise in (0.0, 1.0):
        monkeypatch.setattr(
            samplers, "gaussian_noise", lambda like, generator: torch.full_like(like, noise)
        )  # noqa: B023
        ends.append(
            ancestral(
                mixture, torch.tensor([-7.0, 1.0], dtype=torch.float64), levels, None, grade="beta"
            )
        )
    np.testing.assert_allclose(
        ((ends[1] - ends[0]) ** 2).numpy(), levels[0] ** 2 - levels[1] ** 2, rtol=1e-12
    )


def exact_map(y, sigma_t, sigma_s):
    """The probability flow in one dimension keeps quantiles: y at sigma_t to sigma_s."""

    def cdf(y, sigma):
        return sum(
            w * 0.5 * math.erfc(-(y - m) / math.sqrt(2 * (SD**2 + sigma**2)))
            for w, m in zip(WEIGHTS, MEANS)
        )

    wanted, low, high = cdf(y, sigma_t), -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, sigma_s) < wanted else (low, middle)
    return low


@pytest.mark.parametrize(
    "name, options, order",
    [
        ("ddim", {}, 1),
        ("restoration-degradation", {"depth": 0.75}, 1),
        ("seeds2", {"noise": 0.0}, 2),
        ("seeds3", {"noise": 0.0}, 3),
    ],
)
def test_deterministic_samplers_follow_the_flow_of_a_mixture(name, options, order):
    """Point by point they reach the end of the probability flow, at their order."""
    starts = torch.tensor([-30.0, -12.0, -1.0, 6.0, 25.0], dtype=torch.float64)
    exact = torch.tensor([exact_map(y, 20.0, 0.2) for y in starts.tolist()], dtype=torch.float64)
    errors = [
        (
            SAMPLERS[name](mixture, starts, geometric(0.2, 20.0, count + 1)[::-1], None, **options)
            - exact
        )
        .abs()
        .max()
        .item()
        for count in (192, 384, 768)
    ]
    assert all(order - 0.1 < slope < order + 0.1 for slope in slopes(errors)), (
        errors,
        slopes(errors),
    )


# --- identities --------------------------------------------------------------------------------


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def start():
    return 60 * torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=generator(0))


LEVELS = [50.0, 21.0, 9.0, 7.0, 2.0, 0.7, 0.0]


def test_seeds1_is_the_ancestral_step(start):
    """The same noise, the same image: SEEDS-1 is the coder's reverse step with beta-tilde."""
    ours = SAMPLERS["seeds1"](mixture, start, LEVELS, generator())
    torch.testing.assert_close(
        ours,
        ancestral(mixture, start, LEVELS, generator(), grade="beta-tilde"),
        rtol=1e-12,
        atol=1e-12,
    )
    assert (ours - ancestral(mixture, start, LEVELS, generator(), grade="beta")).abs().max() > 0.01


def test_restoration_degradation_is_ddim_for_the_linear_process(start):
    """Restored to clean data, then degraded: DDIM at every level; less deeply: another sampler."""
    for end in range(2, len(LEVELS) + 1):
        ours = restoration_degradation(mixture, start, LEVELS[:end])
        torch.testing.assert_close(ours, ddim(mixture, start, LEVELS[:end]), rtol=1e-12, atol=1e-12)
    assert (
        restoration_degradation(mixture, start, LEVELS[:4], depth=0.5)
        - ddim(mixture, start, LEVELS[:4])
    ).abs().max() > 0.01


def test_seeds1_without_noise_is_ddim(start):
    """The exponential step of the probability-flow ODE."""
    torch.testing.assert_close(
        seeds(mixture, start, LEVELS, None, stages=1, noise=0.0),
        ddim(mixture, start, LEVELS),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_evaluation_a_level(name, start):
    """One evaluation at each positive level, noisiest first; the last answer is the result."""
    asked = []

    def denoiser(y, sigma):
        asked.append(sigma)
        assert y.shape == start.shape and y.dtype == start.dtype
        return torch.full_like(y, float(len(asked))), 0.0

    end = SAMPLERS[name](denoiser, start, LEVELS, generator())
    assert asked == LEVELS[:-1]
    torch.testing.assert_close(end, torch.full_like(start, len(asked)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_is_an_image(name, start):
    """The generator alone decides; ddim and restoration-degradation do not use it."""
    first, again, other = (
        SAMPLERS[name](mixture, start, LEVELS, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in ("ddim", "restoration-degradation"))


# --- the noise of SEEDS ------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("noise", [1.0, 0.4])
def test_noise_of_a_seeds_step(stages, noise):
    """One path of noise, not a new draw a stage, by simulation from y = 0, xhat = 0.

    Variance sigma_s^2 (1 - e^-2 noise h) at every stage and at the end; covariance of stage and end
    e^-k(h - h') times the stage's.
    """
    block, seen = [8.0, 5.0, 3.5, 2.0][: stages + 1], []

    def silent(y, sigma):
        seen.append(y)
        return torch.zeros_like(y), 0.0

    end = seeds(
        silent,
        torch.zeros(400_000, dtype=torch.float64),
        block,
        generator(),
        stages=stages,
        noise=noise,
    )
    points = [*seen[1:], end]
    for i, (sigma, y) in enumerate(zip(block[1:], points)):
        variance = sigma**2 * (1 - (sigma / block[0]) ** (2 * noise))
        assert y.var().item() == pytest.approx(variance, rel=0.01)
        for later, after in zip(block[i + 2 :], points[i + 1 :]):
            assert (y * after).mean().item() == pytest.approx(
                (later / sigma) ** (1 + noise) * variance, rel=0.03
            )


# --- a forward process that is not linear ------------------------------------------------------

BENES_V, BENES_T = 0.5, 2.0
BENES_PAIRS = [
    (-5.26809, -1.74414),
    (-3.83090, -1.12301),
    (-2.50308, -0.605052),
    (-1.22110, -0.229599),
    (1.22110, 0.229599),
    (3.83090, 1.12301),
]


def benes_score(y, t):
    """The score at t when the data are N(v, v) / 2 + N(-v, v) / 2."""
    return torch.tanh(y) - y / (BENES_V + t)


def benes_error(steps, restore_to):
    """Largest distance from the exact backward map (quantiles to quantiles) at the test points."""
    start, exact = torch.tensor(BENES_PAIRS, dtype=torch.float64).T
    times = np.linspace(BENES_T, 0, steps + 1).tolist()
    return (
        (
            samplers.restore_and_degrade(samplers.benes, benes_score, start, times, restore_to)
            - exact
        )
        .abs()
        .max()
        .item()
    )


def test_restoration_degradation_of_a_process_that_is_not_linear():
    """The Benes process dy = tanh(y) dt + dW, whose score is known.

    Order 1/2 when the restoration's depth is sqrt(step) / 2; no convergence when it is the step
    itself, without degradation.
    """

    def shallow(t, s):
        return max(0.0, t - max(t - s, math.sqrt(t - s) / 2))

    errors = [benes_error(steps, shallow) for steps in (40, 160, 640)]
    assert errors == pytest.approx([0.172, 0.0726, 0.0322], rel=0.02)  # computed with other code
    assert all(
        0.7 < slope < 1.5 for slope in slopes(errors)
    )  # four times the steps: half the error
    assert benes_error(640, lambda t, s: s) > 0.5


def test_the_laws_of_the_benes_process():
    """Its kernel, in many small steps, leads from the data to the law with the score used above."""
    source = generator()
    y = math.sqrt(BENES_V) * torch.randn(200_000, dtype=torch.float64, generator=source) + BENES_V
    y[::2] *= -1
    for i in range(100):
        mean, sd = samplers.benes(y, i * BENES_T / 100, (i + 1) * BENES_T / 100)
        y = mean + sd * torch.randn(y.shape, dtype=torch.float64, generator=source)
    reach = BENES_V + BENES_T
    assert (y * y).mean().item() == pytest.approx(reach**2 + reach, rel=0.02)
    counts, edges = np.histogram(y.numpy(), 40, (-6, 6))
    middle = (edges[1:] + edges[:-1]) / 2
    law = sum(np.exp(-((middle - m) ** 2) / (2 * reach)) for m in (reach, -reach)) / math.sqrt(
        8 * math.pi * reach
    )
    assert np.abs(counts / (len(y) * (edges[1] - edges[0])) - law).max() < 0.005
