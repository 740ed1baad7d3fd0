"""The learned schedule.  The formulas of a reverse step are tested in test_levels.py."""

import math

import numpy as np
import pytest
import torch

from bitsback.diffusion.schedule import LearnedSchedule, geometric


def schedules():
    """The schedule as it starts, and three with every parameter moved at random, signs included."""
    made = [LearnedSchedule()]
    for seed in range(3):
        generator, schedule = torch.Generator().manual_seed(seed), LearnedSchedule(0.4, 300.0)
        with torch.no_grad():
            for parameter in (schedule.w1, schedule.b1, schedule.w2):
                parameter.add_(
                    3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
                )
        made.append(schedule)
    return [schedule.double() for schedule in made]


@pytest.mark.parametrize("schedule", schedules(), ids=["new", "0", "1", "2"])
def test_learned_schedule_is_monotone_between_its_ends(schedule):
    """log sigma(t) rises from ends[0] to ends[1], nowhere slower than FLOOR of a straight line."""
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    log_sigma, slope = schedule(t)
    low, high = schedule.ends.tolist()
    assert log_sigma[0].item() == pytest.approx(low) and log_sigma[-1].item() == pytest.approx(high)
    assert (torch.diff(log_sigma) >= 0.999 * LearnedSchedule.FLOOR * (high - low) / 2000).all()
    assert (slope >= 0.999 * LearnedSchedule.FLOOR * (high - low)).all()


@pytest.mark.parametrize("schedule", schedules(), ids=["new", "0", "1", "2"])
def test_learned_slope_is_the_derivative(schedule):
    """The second output agrees with central differences of the first, and with autograd."""
    t = torch.linspace(0.001, 0.999, 501, dtype=torch.float64, requires_grad=True)
    log_sigma, slope = schedule(t)
    difference = (schedule(t + 1e-6)[0] - schedule(t - 1e-6)[0]) / 2e-6
    assert torch.allclose(slope, difference, rtol=1e-5)
    assert torch.allclose(slope, torch.autograd.grad(log_sigma.sum(), t)[0], rtol=1e-9)


def test_geometric_levels_have_one_ratio():
    """geometric(a, b, n): n levels from a to b in equal ratios; one level is a."""
    levels = np.array(geometric(0.5, 300, 7))
    assert len(levels) == 7 and levels[0] == 0.5 and levels[-1] == pytest.approx(300)
    assert np.allclose(np.log(levels[1:] / levels[:-1]), math.log(600) / 6)
    assert geometric(0.5, 300, 1) == [0.5]
