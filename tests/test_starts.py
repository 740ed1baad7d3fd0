"""starts.py: clouds with the spectrum of photographs, the strength of noise, a sheet of images."""

import numpy as np
import torch

from bitsback.diffusion.schedule import DATA_SD
from bitsback.sampling.starts import LUMINANCE_SHARE, clouds, coder_start, image_sheet, noised


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_clouds():
    """Standard deviation DATA_SD, correlated colours, power falling with the squared frequency."""
    x = clouds((64, 3, 64, 64), generator()).double()
    assert abs(x.square().mean().sqrt() / DATA_SD - 1) < 0.05
    assert abs((x[:, 0] * x[:, 1]).mean() / DATA_SD**2 - LUMINANCE_SHARE) < 0.1
    power = torch.fft.fft2(x).abs().square().mean((0, 1))
    assert (
        abs(power[0, 4] / power[0, 16] / 16 - 1) < 0.4
        and abs(power[8, 0] / power[24, 0] / 9 - 1) < 0.4
    )


def test_noise():
    """sigma, and D^2 + sigma^2 at the coder's top."""
    assert abs(noised(torch.zeros(1, 3, 100, 100), 25.0, generator()).std() / 25 - 1) < 0.02
    assert abs(coder_start((1, 3, 100, 100), 48.0, generator()).std() / 80 - 1) < 0.02


def test_tiles():
    """Row by row, clipped and rounded, white between; every image is in its position."""
    x = torch.stack([torch.full((3, 2, 4), value) for value in (-500.0, -1.4, 0.6, 500.0, 5.0)])
    sheet = image_sheet(x)
    assert sheet.shape == (2 * 4 - 2, 3 * 6 - 2, 3) and sheet.dtype == np.uint8
    assert [sheet[0, 0, 0], sheet[1, 7, 1], sheet[0, 13, 2], sheet[4, 0, 0], sheet[5, 9, 0]] == [
        0,
        127,
        129,
        255,
        133,
    ]
    assert (
        (sheet[2:4] == 255).all() and (sheet[:, 4:6] == 255).all() and (sheet[4:, 12:] == 255).all()
    )
    assert image_sheet(x, columns=5).shape == (2, 28, 3)
