"""Equalisation: the float function stays, small hidden channels grow."""

import copy

import torch

from bitsback.diffusion.levels import default_levels
from bitsback.train.equalise import equalise, hidden_peaks


def test_equalise_keeps_the_function_and_fills_the_range(tiny_network):
    """Without clamping outputs are equal to the last bit; live peaks land in 64..255 or at 2^3."""
    network, levels = copy.deepcopy(tiny_network), default_levels()
    x = 30 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    log_sigma = torch.zeros(2)
    before, peaks = network.trunk(x, log_sigma)[0], hidden_peaks(network, levels, x)
    assert any((p[p > 1] < 60).any() for p in peaks.values())
    equalise(network, levels, x)
    after = hidden_peaks(network, levels, x)
    assert torch.allclose(network.trunk(x, log_sigma)[0], before, atol=1e-4)
    for name in peaks:
        live = peaks[name] > 1
        assert (after[name][live] <= 255).all()
        assert ((after[name][live] > 120) | (after[name][live] > 7.9 * peaks[name][live])).all()
