"""The bound of the coder's levels on given images, float or rounded: what a file should cost."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitsback.diffusion.levels import sigmas
from bitsback.errors import UnsupportedImage
from bitsback.train.bound import alike, gaussian_noise, level_nats, pixel_nats, top_nats


def centre_crops(folder, limit=None, side=256):
    """(N, 3, side, side) float32, pixels - 128: centres of the first images of a folder, by name."""
    crops = []
    for path in sorted(Path(folder).iterdir()):
        if len(crops) == limit:
            break
        if path.suffix.lower() not in (".png", ".webp"):
            continue
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        if min(top, left) >= 0:
            crops.append(
                torch.from_numpy(pixels[top : top + side, left : left + side].copy()).permute(
                    2, 0, 1
                )
            )
    if not crops:
        raise UnsupportedImage(f"{folder}: no PNG or WebP image of {side}x{side} or more")
    return torch.stack(crops).float() - 128


@torch.no_grad()
def bound_bits(network, levels, x, integer, seed=1, batch=4, gray=None):
    """Bits a dimension of each part: [p(x|y_0), level 1, ..., level K-1, top].  x: (N, 3, H, W); gray: (N,) bool, images of one channel (bound.alike)."""
    generator = torch.Generator().manual_seed(seed)
    logs = [math.log(s) for s in sigmas(levels)]
    parts = []
    for k, log_t in enumerate(logs):
        nats = []
        for some, alone in zip(
            x.split(batch), [None] * len(x) if gray is None else gray.split(batch)
        ):
            one = torch.ones(len(some))
            y = some + math.exp(log_t) * alike(gaussian_noise(some, generator), alone)
            if k == 0:
                cost = pixel_nats(network, some, y, one * log_t, integer, alone)
            else:
                cost = level_nats(
                    network, some, y, one * logs[k - 1], one * log_t, generator, integer, alone
                )
            nats.append(cost.mean((1, 2, 3)))
        parts.append(torch.cat(nats).mean().item() / math.log(2))
    return parts + [top_nats(x, torch.tensor(logs[-1])).mean().item() / math.log(2)]
