"""dequantise.py, the inverse of export: a float network from a model's integers."""

import numpy as np
import pytest
import torch

from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.integer.experts import Expert
from bitsback.train.denoiser import Denoiser
from bitsback.train.dequantise import dequantised
from bitsback.train.export import TRUNK_UNITS, integer_layers
from bitsback.train.measure import bound_bits
from bitsback.train.restart import trainable


@pytest.fixture(scope="module")
def twin(tiny_model):
    return dequantised(tiny_model.layers, tiny_model.config, sigmas(tiny_model.levels))


def test_exported_again_it_is_the_same_network(tiny_model, twin):
    """Every weight and bias over its power of two, each level's row.

    A channel may only have finer units.
    """
    again = integer_layers(twin, tiny_model.levels)
    assert set(again) == set(tiny_model.layers)
    for name, layer in tiny_model.layers.items():
        other = again[name]
        finer = torch.exp2((other.shift - layer.shift).double())
        assert finer.min() >= 1 and torch.equal(
            layer.weight * finer.view(-1, 1, 1, 1), other.weight.double()
        )
        assert layer.bias.shape == other.bias.shape and torch.equal(
            layer.bias * finer, other.bias.double()
        )


def test_its_bound_is_the_rounded_networks(tiny_model, tiny_network, twin, photograph):
    x = (
        torch.from_numpy(np.stack([photograph(48, 56, seed) for seed in range(2)]))
        .permute(0, 3, 1, 2)
        .float()
        - 128
    )
    ours, theirs = (
        bound_bits(network, tiny_model.levels, x, True) for network in (twin, tiny_network)
    )
    assert np.abs(np.subtract(ours, theirs)).max() < 2e-3 < sum(theirs)


def test_its_outputs_are_the_integer_networks(tiny_model, twin, photograph):
    """Trunk outputs for the same lattice indices, except for rounding of inputs and wide sums."""
    network, levels = tiny_model.chain().network, default_levels()
    x = photograph(24, 32).transpose(2, 0, 1)[None].astype(np.int32) - 128
    for k in (0, 3, len(levels) - 1):
        spacing, sigma = levels[k].spacing, sigmas(levels)[k]
        y = np.rint((x + np.random.default_rng(k).normal(0, sigma, x.shape)) / spacing).astype(
            np.int32
        )
        integers = network.trunk(k, torch.from_numpy(y))[0].numpy()
        floats = twin.trunk(
            torch.from_numpy(y).float() * spacing, torch.tensor([sigma]).log(), True
        )[0] * torch.tensor(TRUNK_UNITS).view(1, 9, 1, 1)
        apart = np.abs(floats.numpy() - integers)
        assert apart.mean() < 1.5 and np.abs(integers).mean() > 5


@pytest.mark.parametrize("k", [0, 4])
def test_a_network_of_one_level(tiny_model, tiny_network, photograph, k):
    """An expert's only row of biases is a level's row, not what levels share.

    It counts once, and goes back into a checkpoint unchanged.
    """
    levels = default_levels()
    layers = integer_layers(tiny_network, levels, None, range(k, k + 1))
    noise = sigmas(levels)[k : k + 1]
    x = torch.from_numpy(photograph(48, 56)).permute(2, 0, 1)[None].float() - 128
    y, log_sigma = (
        x + noise[0] * torch.randn(x.shape, generator=torch.Generator().manual_seed(k)),
        torch.tensor(noise).log(),
    )
    trained = Denoiser(tiny_model.config)
    trained.load_state_dict(
        trainable(Expert(tiny_model.config, range(k, k + 1), layers, 0), levels)
    )
    expected = tiny_network.trunk(y, log_sigma, True)[0]
    for network in (dequantised(layers, tiny_model.config, noise), trained):
        apart = (network.trunk(y, log_sigma, True)[0] - expected).abs()
        assert apart.mean() < 0.02 < expected.abs().mean()


def test_a_shared_bias_moves_every_level(tiny_model, photograph):
    """Tuning changes one number a channel, added at all levels."""
    network = dequantised(tiny_model.layers, tiny_model.config, sigmas(tiny_model.levels))
    network.get_submodule("down1.0.a").bias[3] += 0.25
    moved, before = (
        integer_layers(network, tiny_model.levels)["down1.0.a"],
        tiny_model.layers["down1.0.a"],
    )
    more = moved.bias * torch.exp2(-moved.shift.double()) - before.bias * torch.exp2(
        -before.shift.double()
    )
    assert (
        torch.allclose(more[:, 3], torch.tensor(32.0, dtype=torch.float64), atol=0.6)
        and more.abs().sum(0).count_nonzero() == 1
    )
