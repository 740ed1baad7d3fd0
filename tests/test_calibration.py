"""calibration.py: removes a bias of means and of variances; export carries the table."""

import torch

from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.diffusion.schedule import DATA_SD
from bitsback.train.calibration import Calibrated, calibrate
from bitsback.train.denoiser import Denoiser
from bitsback.train.export import TRUNK_UNITS, integer_layers
from bitsback.train.measure import bound_bits
from tests.conftest import TINY
from tests.test_variances import Silent


class Biased(Silent):
    """The exact denoiser with means moved by BIAS a channel and position, sds by a factor."""

    BIAS = torch.arange(12.0).view(3, 2, 2) / 100
    LOG_SD = 0.1

    def trunk(self, y, log_sigma, integer=False):
        out, features, e = super().trunk(y, log_sigma)
        out[:, 0:3] += self.BIAS.repeat(1, y.shape[2] // 2, y.shape[3] // 2)
        out[:, 3:6] += self.LOG_SD
        return out, features, e


def test_what_was_put_in_is_taken_out():
    """Means to five standard errors, log sds to 0.03, at every level; the bound falls."""
    levels = default_levels()[3:6]
    x = torch.randn(24, 3, 64, 64, generator=torch.Generator().manual_seed(7)) * DATA_SD
    noise = [4.0, 9.0, 20.0]
    table, shares = calibrate(Biased(), noise, x)
    assert torch.allclose(table[:, 0:3], -Biased.BIAS.expand(3, 3, 2, 2), atol=0.032)
    assert (table[1:, 3:6] + Biased.LOG_SD).abs().max() < 0.03 and (table[:, 6:] == 0).all()
    assert all(0.5 < share / Biased.BIAS.square().mean() < 2 for share in shares)
    fresh = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * DATA_SD
    before, after = (
        sum(bound_bits(network, levels, fresh, False))
        for network in (Biased(), Calibrated(Biased(), sigmas(levels), table))
    )
    assert after < before - 0.005


def test_export_carries_the_table():
    """Only `last`'s biases change, by the table in output units, row by row."""
    torch.manual_seed(3)
    network, levels = Denoiser(TINY), default_levels()
    network.last.weight.data.normal_(0, 0.05)
    table = torch.randn(len(levels), 9, 2, 2) * 0.1
    plain, moved = integer_layers(network, levels), integer_layers(network, levels, table)
    for name, layer in plain.items():
        assert torch.equal(layer.weight, moved[name].weight) and (
            name == "last" or torch.equal(layer.bias, moved[name].bias)
        )
    difference = (moved["last"].bias - plain["last"].bias).double() * torch.exp2(
        -plain["last"].shift.double()
    )
    expected = table.flatten(1) * torch.tensor(TRUNK_UNITS).repeat_interleave(4)
    assert (
        torch.allclose(difference.float(), expected, atol=1.0)
        and (difference.float() - expected).abs().mean() < 0.3
    )
