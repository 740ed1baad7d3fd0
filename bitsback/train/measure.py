"""The bound of the coder's levels on given images, float or rounded: expected size of a file."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitsback.diffusion.levels import Level, sigmas
from bitsback.errors import UnsupportedImage
from bitsback.train.bound import (
    BoundNetwork,
    gaussian_noise,
    green_where_gray,
    level_nats,
    pixel_nats,
    top_nats,
)


def centre_crops(folder: str | Path, limit: int | None = None, side: int = 256) -> Tensor:
    """(N, 3, side, side) float32, pixels - 128: centres of a folder's first images, by name.

    Smaller images are left out.  Errors: UnsupportedImage where none is left.
    """
    crops: list[Tensor] = []
    for path in sorted(Path(folder).iterdir()):
        if len(crops) == limit:
            break
        if path.suffix.lower() not in (".png", ".webp"):
            continue
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        if min(top, left) >= 0:
            crop = pixels[top : top + side, left : left + side].copy()
            crops.append(torch.from_numpy(crop).permute(2, 0, 1))
    if not crops:
        raise UnsupportedImage(f"{folder}: no PNG or WebP image of {side}x{side} or more")
    return torch.stack(crops).float() - 128


@torch.no_grad()
def bound_parts(
    network: BoundNetwork,
    levels: tuple[Level, ...],
    x: Tensor,
    integer: bool,
    seed: int = 1,
    batch: int = 4,
    gray: Tensor | None = None,
    only: range | None = None,
) -> Tensor:
    """(N, K + 1) float64: bits a dimension of each image and part; arguments as bound_bits'."""
    generator = torch.Generator(x.device).manual_seed(seed)
    logs = [math.log(s) for s in sigmas(levels)]
    gray_parts = [None] * len(x) if gray is None else gray.split(batch)
    parts = []
    for k, log_t in enumerate(logs):
        if only is not None and k not in only:
            continue
        nats = []
        for some, alone in zip(x.split(batch), gray_parts):
            one = torch.ones(len(some), device=x.device)
            y = some + math.exp(log_t) * green_where_gray(gaussian_noise(some, generator), alone)
            if k == 0:
                cost = pixel_nats(network, some, y, one * log_t, integer, alone)
            else:
                cost = level_nats(
                    network, some, y, one * logs[k - 1], one * log_t, generator, integer, alone
                )
            nats.append(cost.mean((1, 2, 3)))
        parts.append(torch.cat(nats))
    if only is None:
        parts.append(top_nats(x, torch.tensor(logs[-1])))
    return torch.stack(parts, 1).double() / math.log(2)


def bound_bits(
    network: BoundNetwork,
    levels: tuple[Level, ...],
    x: Tensor,
    integer: bool,
    seed: int = 1,
    batch: int = 4,
    gray: Tensor | None = None,
    only: range | None = None,
) -> list[float]:
    """Bits a dimension of each part: [p(x | y_0), level 1, ..., level K-1, top].

    x: (N, 3, H, W), pixels - 128; integer: round in the network; gray: (N,) bool, images of one
    channel, or None; only: levels to measure, those that the network was trained for, None: all;
    the others and the top are then left out.
    """
    return bound_parts(network, levels, x, integer, seed, batch, gray, only).mean(0).tolist()
