"""Random patches of the images below a folder: all pixels in one tensor, batches by indexing."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bitsback.errors import TrainingError
from bitsback.train.augment import HALVED_SHARE, some_halved
from bitsback.train.wild import DRAWS_PER_PATCH, MCU_SIDE, WILD_SHARE, some_in_the_wild


def check_folder(folder: str | Path) -> None:
    """Errors: TrainingError for what is no folder."""
    if not Path(folder).is_dir():
        why = "not a folder" if Path(folder).exists() else "no such folder"
        raise TrainingError(f"{folder}: {why}")


class Patches:
    """All images below a folder as one flat (pixels, 3) uint8 tensor on `device`.

    patch: side of a patch, pixels; halved, wild: shares of the patches that augment.py and wild.py
    change; `skipped`: files that are no image or smaller than a patch.  Errors: TrainingError.
    """

    def __init__(
        self,
        folder: str | Path,
        patch: int,
        device: str | torch.device,
        halved: float = HALVED_SHARE,
        wild: float = WILD_SHARE,
    ) -> None:
        check_folder(folder)
        flat, sizes, self.skipped = [], [], []
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            try:
                with Image.open(path) as image:
                    pixels = np.array(image.convert("RGB"))
            except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
                self.skipped.append(path)
                continue
            if min(pixels.shape[:2]) < patch:
                self.skipped.append(path)
                continue
            flat.append(torch.from_numpy(pixels).view(-1, 3))
            sizes.append(pixels.shape[:2])
        if not sizes:
            raise TrainingError(f"{folder}: no readable image of at least {patch}x{patch} pixels")
        self.pixels = torch.cat(flat).to(device)
        self.sizes = torch.tensor(sizes, device=device)
        areas = self.sizes.prod(1)
        self.starts = torch.cumsum(areas, 0) - areas
        self.odds = areas.double() / areas.sum()
        self.patch, self.device, self.halved = patch, device, halved
        self.wild = wild if patch % MCU_SIDE == 0 else 0.0

    def __len__(self) -> int:
        """Number of images."""
        return len(self.sizes)

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3, P, P) float32, pixels - 128, at random positions, flipped and transposed.

        Some have colours at half resolution; some, where P is a multiple of 16, look like
        photographs at full size (wild.py).
        """
        uniform = torch.rand(7, count, 1, 1, device=self.device, generator=generator)
        which = torch.multinomial(self.odds, count, replacement=True, generator=generator)
        height, width = self.sizes[which, 0].view(-1, 1, 1), self.sizes[which, 1].view(-1, 1, 1)
        ramp = torch.arange(self.patch, device=self.device)
        i, j = ramp.view(1, -1, 1), ramp.view(1, 1, -1)
        i, j = (
            torch.where(uniform[0] < 0.5, self.patch - 1 - i, i),
            torch.where(uniform[1] < 0.5, self.patch - 1 - j, j),
        )
        i, j = torch.where(uniform[2] < 0.5, i, j), torch.where(uniform[2] < 0.5, j, i)
        row = (uniform[3] * (height - self.patch + 1)).long() + i
        column = (uniform[4] * (width - self.patch + 1)).long() + j
        index = self.starts[which].view(-1, 1, 1) + row * width + column
        x = self.pixels[index].permute(0, 3, 1, 2).float().contiguous()
        x = some_halved(x, uniform[5:].flatten(1), self.halved)
        if self.wild:
            draws = torch.rand(DRAWS_PER_PATCH + 1, count, device=self.device, generator=generator)
            noise = torch.randn(x.shape, device=self.device, generator=generator)
            x = some_in_the_wild(x, draws, noise, self.wild)
        return x - 128
