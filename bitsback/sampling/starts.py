"""Starts of samplers: the coder's top, clouds, or a photograph, each with the first level's noise.

At the noisiest level of a model all structure larger than a few pixels is still visible, so the
start decides it.  The coder's top takes every pixel by itself: images that start from it have no
large structure.  Clouds have the spectrum of photographs.
"""

import math

import numpy as np
import torch
from torch import Tensor

from bitsback.diffusion.schedule import DATA_SD
from bitsback.train.bound import gaussian_noise

LUMINANCE_SHARE = 0.9  # of the variance of clouds: common to the three colours


def clouds(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) float32: Gaussian fields with power 1 / frequency^2 and sd DATA_SD, mostly gray.

    Spectrum of natural images: Field, J. Opt. Soc. Am. A 4 (1987).
    """
    batch, _, height, width = shape
    frequency = torch.sqrt(
        torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width) ** 2
    ).clamp_min(1 / max(height, width))
    spectrum = (
        torch.fft.fft2(torch.randn((batch, 4, height, width), generator=generator)) / frequency
    )
    fields = torch.fft.ifft2(spectrum).real / frequency.pow(-2).mean().sqrt()
    common, own = math.sqrt(LUMINANCE_SHARE), math.sqrt(1 - LUMINANCE_SHARE)
    return DATA_SD * (common * fields[:, :1] + own * fields[:, 1:])


def noised(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """y = x + sigma eps.  x: pixels - 128, float."""
    return x + sigma * gaussian_noise(x, generator)


def coder_start(shape: tuple[int, ...], sigma: float, generator: torch.Generator) -> Tensor:
    """y at the top under the coder's distribution: independent N(0, DATA_SD^2 + sigma^2)."""
    return math.sqrt(DATA_SD**2 + sigma**2) * torch.randn(shape, generator=generator)


def image_sheet(x: Tensor, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Images (B, 3, H, W), pixels - 128 -> one (H', W', 3) uint8 image, white lines between them.

    Values are rounded and clipped.  columns None: as near to a square as B allows.
    """
    batch, _, height, width = x.shape
    columns = columns or math.ceil(math.sqrt(batch))
    rows = -(-batch // columns)
    sheet = torch.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=torch.uint8
    )
    levels = torch.as_tensor(x).double().add(128).round().clamp(0, 255).to(torch.uint8)
    for i, image in enumerate(levels.permute(0, 2, 3, 1)):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet.numpy()
