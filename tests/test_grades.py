"""grades.py: grades of the reverse variance as models, and corrections of the head's."""

import math

import numpy as np
import pytest
import torch

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.train import grades
from bitsback.train.bound import log_variance
from bitsback.train.calibration import Calibrated
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.export import save_model
from bitsback.train.measure import bound_bits
from tests.commands import call

NOISE = sigmas(default_levels())


@pytest.fixture(scope="module")
def network(expert_model):
    """The networks of a model of random weights."""
    return read_checkpoints([expert_model.path])[0]


@pytest.fixture(scope="module")
def crops(photograph):
    return [photograph(32, 32, seed) for seed in range(2)]


@pytest.fixture(scope="module")
def x(crops):
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() - 128


class Shrinks:
    """A network that says xhat = share * y: all moments are known."""

    def __init__(self, share):
        self.share = share

    def trunk(self, y, log_sigma, integer=False):
        from bitsback.diffusion.schedule import preconditioning

        c_skip, c_out, _ = preconditioning(log_sigma[0].exp())
        return (self.share - c_skip) / c_out * y.repeat(1, 3, 1, 1), None, None


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_variances_are_the_papers(share):
    """x normal of variance V: score = (share - 1) y / s^2, so v = s^2 - (1 - share)^2 (V + s^2)."""
    sigma, variance = 20.0, 30.0**2
    generator = torch.Generator().manual_seed(1)
    x = math.sqrt(variance) * torch.randn(4, 3, 128, 128, generator=generator)
    found = {
        grade: grades.scalar_variances(Shrinks(share), grade, sigma, x, generator)
        for grade in grades.SCALAR_GRADES
    }
    analytic = min(max(sigma**2 - (1 - share) ** 2 * (variance + sigma**2), 0), sigma**2)
    error = (1 - share) ** 2 * variance + share**2 * sigma**2
    expected = {"beta-tilde": 0.0, "beta": sigma**2, "analytic": analytic, "error": error}
    for grade, value in expected.items():
        assert found[grade].tolist() == pytest.approx([value] * 3, rel=0.05), grade


@pytest.mark.parametrize("grade", ["beta", "analytic", "head", "head+colour"])
def test_a_grade_is_a_model_of_its_variances(network, x, crops, tmp_path, grade):
    """One number a channel where it is scalar; level 0 is the coder's; what it codes comes back."""
    changed, table = grades.graded(network, grade, x)
    moved = Calibrated(changed, NOISE, table)
    log_t = torch.full((2,), math.log(NOISE[3]))
    out, features, e = moved.trunk(x, log_t)
    assert (
        log_variance(out).amax((2, 3)) - log_variance(out).amin((2, 3))
    ).max().item() < 1e-6 or (grade not in grades.SCALAR_GRADES)
    if grade == "beta":
        from bitsback.diffusion.schedule import preconditioning

        v = log_variance(out).exp() * preconditioning(log_t.exp()[:1])[1] ** 2
        assert v.mean().item() == pytest.approx(NOISE[3] ** 2, rel=1e-4)
    assert bool(out[:, 6:9].any()) == (grade == "head+colour")
    assert not changed.heads(features, e, log_t * 0, log_t > 99, x.clamp(-6, 6)).any()
    before, after = (
        bound_bits(some, default_levels(), x, True, only=range(1)) for some in (network, moved)
    )
    assert before == after
    save_model(tmp_path / "m.safetensors", changed, default_levels(), {}, table)
    bits = grades.coded_bits(Model(tmp_path / "m.safetensors"), crops)
    assert len(bits) == len(NOISE) and (bits > 0).all()


def test_corrected_variances_are_right(network, x):
    """With the corrections every level, channel and pass has E[(x - xhat)^2 / v] near 1."""
    table = grades.head_corrections(network, x)
    assert not table[0].any() and table[1:, 3:6].any() and not table[:, 6:].any()
    again = grades.head_corrections(Calibrated(network, NOISE, table), x)
    far = table.abs() == grades.MAX_CORRECTION
    assert again[~far].abs().max() < 0.2 * table[~far].abs().max()


@pytest.mark.parametrize("kind", grades.CORRECTIONS)
def test_corrections_that_do_not_pay_are_left_out(network, crops, monkeypatch, kind):
    bits = iter([np.array([5] * len(NOISE)), np.array([5, 4, 6] + [4] * (len(NOISE) - 3))])
    monkeypatch.setattr(grades, "bits_with", lambda *rest: next(bits))
    table, both = grades.kept_corrections(network, crops, kind=kind)
    kept = table.flatten(1).any(1).tolist()
    assert kept[:3] == [False, True, False] and all(kept[3:]) and both.shape[0] == 2


def test_noise_is_the_same_for_every_model(network, expert_model, crops):
    """The model itself, and the model exported again from its networks, code the same bits."""
    ours = grades.bits_with(network, default_levels(), None, crops)
    assert np.abs(ours - grades.coded_bits(expert_model, crops)).max() < 0.002 * ours.max()


def test_export_of_a_grade(expert_model, tmp_path, photograph):
    from PIL import Image

    Image.fromarray(photograph(128, 128, 1)).save(tmp_path / "a.png")
    for variance in ("analytic", "head", "calibrated"):
        out = tmp_path / f"{variance}.safetensors"
        args = ("export", expert_model.path, "-o", out, "--variance", variance)
        assert "need one another" in call(*args).output
        done = call(*args, "--crops", tmp_path)
        assert done.exit_code == 0, done.output
        assert ("bits/dim coded of 1 crops" in done.output) == (variance != "analytic")
        assert len(Model(out).experts) == (len(NOISE) if variance == "analytic" else 2)
