"""Where samplers start: the top of the coder, clouds, or a photograph, each with the noise of the first level.

At the noisiest level of a model everything larger than a few pixels is still to be seen, so the top decides on it.
The coder's top takes every pixel alone: what grows from it is gray at large.  Clouds have the spectrum of photographs.
"""

import math

import torch

from bitsback.diffusion.schedule import DATA_SD
from bitsback.train.bound import gaussian_noise

GRAY = 0.9  # of the variance of clouds: common to the three colours


def clouds(shape, generator):
    """(B, 3, H, W) float32: Gaussian fields with power 1 / frequency^2, standard deviation DATA_SD, mostly gray.

    Natural images: Field, J. Opt. Soc. Am. A 4 (1987).
    """
    batch, _, height, width = shape
    frequency = torch.sqrt(
        torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width) ** 2
    ).clamp_min(1 / max(height, width))
    spectrum = (
        torch.fft.fft2(torch.randn((batch, 4, height, width), generator=generator)) / frequency
    )
    fields = torch.fft.ifft2(spectrum).real / frequency.pow(-2).mean().sqrt()
    return DATA_SD * (math.sqrt(GRAY) * fields[:, :1] + math.sqrt(1 - GRAY) * fields[:, 1:])


def noised(x, sigma, generator):
    """y = x + sigma eps.  x: pixels minus 128, float."""
    return x + sigma * gaussian_noise(x, generator)


def coder_start(shape, sigma, generator):
    """y at the top as the coder believes it: every dimension alone, N(0, DATA_SD^2 + sigma^2)."""
    return math.sqrt(DATA_SD**2 + sigma**2) * torch.randn(shape, generator=generator)


def tiles(x, columns=None, gap=2):
    """Pixels minus 128 (B, 3, H, W), any numbers -> one (H', W', 3) uint8 image, white lines between the tiles.

    columns: as near a square as B allows by default.
    """
    batch, _, height, width = x.shape
    columns = columns or math.ceil(math.sqrt(batch))
    rows = -(-batch // columns)
    sheet = torch.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=torch.uint8
    )
    pixels = (
        torch.as_tensor(x)
        .double()
        .add(128)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
    )
    for i, tile in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet.numpy()
