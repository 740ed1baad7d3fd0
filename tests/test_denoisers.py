"""denoisers.py: a shipped model and a checkpoint at any noise level, and samplers' levels."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.diffusion.schedule import preconditioning
from bitsback.diffusion.steps import MEAN_BITS, V_ONE
from bitsback.errors import NoiseOutOfRange
from bitsback.sampling.denoisers import (
    check_levels,
    checkpoint_denoiser,
    model_denoiser,
    noise_range,
    sampling_levels,
)

OWN = sigmas(default_levels())


def noisy(sigma, shape=(2, 3, 16, 24)):
    generator = torch.Generator().manual_seed(3)
    smooth = 40 * torch.sin(torch.arange(shape[3]) / 5.0).expand(shape)
    return smooth + sigma * torch.randn(shape, generator=generator)


def rms(x):
    return x.double().square().mean().sqrt().item()


@pytest.mark.parametrize("k", [0, 5, len(OWN) - 1])
def test_at_its_own_levels_a_model_computes_what_the_coder_does(tiny_model, k):
    """On a y of the coder's lattice mean and variance are those of the same trunk's integers."""
    level, sigma = tiny_model.levels[k], OWN[k]
    lattice = np.rint(noisy(sigma).numpy() / level.spacing).astype(np.int32)
    out = tiny_model.chain().network.trunk(k, torch.from_numpy(lattice))[0].numpy()
    y = torch.from_numpy(lattice).float() * level.spacing
    c_skip, c_out, _ = preconditioning(sigma)
    xhat, v = model_denoiser(tiny_model, [sigma])(y, sigma)
    expected = c_skip * y + c_out * torch.from_numpy(out[:, :3]) / 2**MEAN_BITS
    assert rms(xhat - expected) < 0.02 * c_out  # inputs are rounded to 1/128 by another constant
    scale = np.clip(tiny_model.steps[k].base + out[:, 3:6], 0, 255) - V_ONE
    assert rms(torch.log2(v) / 2 - torch.from_numpy(scale) / 16) < 0.1


def test_between_levels_a_model_is_evaluated_at_the_lower_one(tiny_model):
    """For a paler image with that level's noise; a sigma rounded below a level is the level."""
    between = [math.sqrt(a * b) for a, b in pairwise(OWN)]
    denoise = model_denoiser(tiny_model, [*OWN[::-1]])
    for low, sigma in zip(OWN, between):
        y, pale = noisy(sigma), low / sigma
        (xhat, v), (expected, variance) = denoise(y, sigma), denoise(y * pale, low)
        torch.testing.assert_close(xhat, expected / pale)
        torch.testing.assert_close(v, variance / pale**2)
        assert rms(denoise(y, low * (1 - 1e-7))[0] - denoise(y, low)[0]) < 0.1


def test_the_shipped_model_denoises_everywhere(photograph):
    """At and between its levels it removes most of the noise, and v estimates the rest."""
    model, x = (
        Model.open(),
        torch.from_numpy(photograph(64, 64)).permute(2, 0, 1)[None].float() - 128,
    )
    levels = [80.0, 40.0, 26.0, OWN[5], 12.0]
    denoise = model_denoiser(model, levels)
    for sigma in levels:
        xhat, v = denoise(
            x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), sigma
        )
        assert rms(xhat - x) < 0.5 * sigma
        assert 0.3 < ((xhat - x) ** 2 / v).mean() < 3


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 7, 13)])
def test_any_size(tiny_model, tiny_network, shape):
    """Sizes that are not multiples of 8."""
    y = noisy(9.0, shape)
    for denoise in (model_denoiser(tiny_model, [9.0]), checkpoint_denoiser(tiny_network)):
        xhat, v = denoise(y, 9.0)
        assert xhat.shape == v.shape == y.shape and (v > 0).all()


def test_sampling_levels():
    """The model's own from sigma down, or as many as asked, evenly spaced in log sigma; 0 last."""
    levels = default_levels()
    assert sampling_levels(levels) == [*OWN[::-1], 0.0]
    assert sampling_levels(levels, sigma=25.0) == [
        25.0,
        *(sigma for sigma in OWN[::-1] if sigma < 25),
        0.0,
    ]
    assert sampling_levels(levels, sigma=OWN[3]) == [*OWN[3::-1], 0.0]
    assert sampling_levels(levels, 1, 25.0) == [25.0, 0.0]
    assert (
        sampling_levels(levels, 3, OWN[0]) == sampling_levels(levels, None, OWN[0]) == [OWN[0], 0.0]
    )  # nothing to go through
    many = sampling_levels(levels, 20)
    assert (
        len(many) == 21 and many[0] == pytest.approx(OWN[-1]) and many[-2] == pytest.approx(OWN[0])
    )
    np.testing.assert_allclose(np.diff(np.log(many[:-1])), np.log(many[1] / many[0]))


def test_levels_out_of_range(tiny_model):
    """Below, above, or not falling: an error with the model's range."""
    low, high = noise_range(tiny_model.levels)
    assert (low, high) == (OWN[0], OWN[-1])
    check_levels(tiny_model.levels, [high, low, 0.0])
    for given in ([0.9 * low], [1.1 * high, low], [0.0], [5.0, 9.0], [9.0, 9.0]):
        with pytest.raises(NoiseOutOfRange):
            model_denoiser(tiny_model, given)
    with pytest.raises(
        NoiseOutOfRange,
        match=rf"noise of 0.1 gray levels: this model has levels from {low:g} to {high:g}$",
    ):
        sampling_levels(tiny_model.levels, 3, 0.1)


def test_a_part_of_the_levels():
    """An expert's range is that of its own levels."""
    levels, only = default_levels(), range(3, 6)
    assert noise_range(levels, only) == (OWN[3], OWN[5])
    check_levels(levels, [OWN[5], OWN[4], OWN[3], 0.0], only)
    for given in ([OWN[6], OWN[5]], [OWN[3], OWN[2]]):
        check_levels(levels, given)
        with pytest.raises(
            NoiseOutOfRange, match=f"this expert has levels from {OWN[3]:g} to {OWN[5]:g}"
        ):
            check_levels(levels, given, only)


@pytest.mark.parametrize(
    "given, message",
    [
        ([1000.0], "noise of 1000 "),
        ([286.5], "noise of 286.5 "),
        ([500.0, 0.1], "noise of 0.1 to 500 "),
        ([float("nan")], "noise of nan "),
        ([0.0], "noise of 0 "),
        ([], "noise of none "),
        ([float("inf")], "noise of inf "),
        ([9.0, float("nan"), 2.0], "must fall"),
        ([9.0, float("nan")], "must fall"),
    ],
)
def test_what_is_refused_is_named(given, message):
    """Messages with readable numbers; NaN and infinity are refused too."""
    with pytest.raises(NoiseOutOfRange, match=message):
        check_levels(default_levels(), given)
