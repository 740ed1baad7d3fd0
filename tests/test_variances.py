"""variances.py on pixels N(0, D^2), for which a network with outputs 0 is the exact denoiser."""

import math

import pytest
import torch

from bitsback.diffusion.schedule import DATA_SD
from bitsback.train.bound import gaussian_noise, level_nats
from bitsback.train.denoiser import Denoiser
from bitsback.train.variances import (
    BOUND_GRADES,
    Moments,
    analytic_variance,
    graded_bits,
    graded_level_nats,
    measure_moments,
)
from tests.conftest import TINY


class Silent:
    """The exact denoiser of N(0, D^2): f = 0; its head says c_out^2, the exact variance."""

    def trunk(self, y, log_sigma, integer=False):
        out = torch.zeros(len(y), 9, *y.shape[2:])
        out[:, 3:6] = 0.5  # log variance 2 (out - 0.5) = 0: v = c_out^2
        return out, out, None

    def heads(self, features, e, log_ratio, pixels, innovations, integer=False):
        return torch.zeros(len(innovations), 9, *innovations.shape[2:])


@pytest.fixture(scope="module")
def data():
    return torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * DATA_SD


@pytest.mark.parametrize("sigma", [1.0, 20.0, 150.0])
def test_scalars_are_the_posterior_variance(data, sigma):
    """Analytic and error variances equal sigma^2 D^2 / (sigma^2 + D^2) within Monte Carlo error."""
    moments = measure_moments(Silent(), sigma, data, torch.Generator().manual_seed(2))
    exact = sigma**2 * DATA_SD**2 / (sigma**2 + DATA_SD**2)
    assert moments.error2.tolist() == pytest.approx([exact] * 3, rel=0.03)
    assert analytic_variance(sigma, moments.score2) == pytest.approx(
        exact, rel=max(0.03, 0.03 * sigma**2 / exact - 0.03)
    )


def test_the_scalar_is_clipped():
    """To [0, min(sigma^2, 127.5^2)], for any estimate of the score."""
    assert (
        analytic_variance(10.0, 1.0) == 0
        and analytic_variance(10.0, -1.0) == 100
        and analytic_variance(1000.0, 0.0) == 127.5**2
    )


def test_the_right_variance_costs_least(data):
    """With the exact variance a chain of few levels costs the exact entropy.

    beta-tilde and beta cost more; head equals error here.
    """
    sigmas = [8.0, 32.0, 128.0]
    moments = [
        measure_moments(Silent(), sigma, data, torch.Generator().manual_seed(3)) for sigma in sigmas
    ]
    bits = {
        grade: sum(parts[1:])
        for grade, parts in graded_bits(Silent(), sigmas, data, moments).items()
    }
    # the levels' KLs telescope: I(y_0; y_K-1's rest) = sum of log ratios of total variances
    exact = sum(
        0.5 * math.log2((s**2 + DATA_SD**2) / s**2) - 0.5 * math.log2((t**2 + DATA_SD**2) / t**2)
        for s, t in zip(sigmas, sigmas[1:])
    )
    assert bits["head"] == pytest.approx(exact, abs=0.02) and bits["error"] == pytest.approx(
        exact, abs=0.02
    )
    assert bits["analytic"] == pytest.approx(exact, abs=0.05)
    assert bits["beta-tilde"] > exact + 0.3 and bits["beta"] > exact + 0.05


def test_the_last_grade_is_the_coders():
    """head+colour+passes is bound.level_nats on the same noise; head+colour differs from head."""
    torch.manual_seed(5)
    network = Denoiser(TINY)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    x = torch.randn(2, 3, 16, 16) * 40
    log_s, log_t = torch.full((2,), 1.0), torch.full((2,), 1.6)
    y = x + log_t.exp()[0] * gaussian_noise(x, torch.Generator().manual_seed(1))
    with torch.no_grad():
        costs = graded_level_nats(
            network,
            x,
            y,
            log_s,
            log_t,
            Moments(0.01, torch.ones(3)),
            torch.Generator().manual_seed(2),
        )
        generator = torch.Generator().manual_seed(2)
        gaussian_noise(x, generator)  # head+colour's
        assert torch.equal(
            costs["head+colour+passes"], level_nats(network, x, y, log_s, log_t, generator)
        )
    assert tuple(costs) == BOUND_GRADES and not torch.allclose(costs["head"], costs["head+colour"])
    # green depends on no other channel
    assert torch.allclose(costs["head"][:, 1], costs["head+colour"][:, 1])
