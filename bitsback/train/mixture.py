"""Patches of several folders of images on a device, in given shares; nothing waits for the device.

What patches.py draws on a CPU, but with as many patches of each augmentation in every batch, chosen
by sorting random numbers: no size depends on a random number, so a step may be one CUDA graph.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitsback.errors import TrainingError
from bitsback.train.augment import HALVED_SHARE, chroma_halved
from bitsback.train.wild import DRAWS_PER_PATCH, MCU_SIDE, WILD_SHARE, in_the_wild


@dataclass(frozen=True)
class Source:
    """A folder of images and its share of the patches.

    hold_out: of every so many files by name the first is kept out, 0: none; a file that is no
    image counts if its name is an image's.
    """

    folder: Path
    share: float = 1.0
    hold_out: int = 0


@dataclass
class Images:
    """Images in memory: pixels (N, 3) uint8, all images one after the other; sizes (images, 2);
    odds (images,) of a patch to be of the image; held: for each source centre crops of the images
    kept out, (n, 3, P, P) uint8."""

    pixels: Tensor
    sizes: Tensor
    odds: Tensor
    held: list[Tensor]


def _read(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _centre(pixels: np.ndarray, side: int) -> Tensor:
    top, left = ((size - side) // 2 for size in pixels.shape[:2])
    return torch.from_numpy(pixels[top : top + side, left : left + side].copy()).permute(2, 0, 1)


def read_images(sources: Sequence[Source], patch: int, held: int = 32, threads: int = 8) -> Images:
    """Decodes all images of the sources that have patch x patch pixels or more.

    held: most crops kept of each source's held-out images.  Errors: TrainingError.
    """
    flat, sizes, odds, kept = [], [], [], []
    known = Image.registered_extensions()  # of all formats that Pillow reads
    for source in sources:
        paths = (path for path in source.folder.rglob("*") if path.is_file())
        files = sorted(path for path in paths if path.suffix.lower() in known)
        with ThreadPoolExecutor(threads) as pool:
            every = enumerate(pool.map(_read, files))
            read = {k: one for k, one in every if one is not None and min(one.shape[:2]) >= patch}
        out = [k for k in read if source.hold_out and k % source.hold_out == 0]
        used = [one for k, one in read.items() if k not in out]
        if not used:
            raise TrainingError(f"{source.folder}: no image of at least {patch}x{patch} pixels")
        areas = torch.tensor([one.shape[0] * one.shape[1] for one in used]).double()
        flat += [torch.from_numpy(one).view(-1, 3) for one in used]
        sizes += [one.shape[:2] for one in used]
        odds.append(source.share * areas / areas.sum())
        crops = [_centre(read[k], patch) for k in out[:held]]
        kept.append(torch.stack(crops) if crops else torch.zeros(0, 3, patch, patch).byte())
    chances = torch.cat(odds)
    return Images(torch.cat(flat), torch.tensor(sizes), chances / chances.sum(), kept)


def save_images(images: Images, path: Path) -> None:
    """Writes decoded images for processes that train side by side."""
    torch.save(vars(images), path)


def load_images(path: Path) -> Images:
    """The mirror of save_images; the pixels are mapped, not read."""
    return Images(**torch.load(path, mmap=True, weights_only=True))


class Mixture:
    """Draws batches of patches from Images on `device`.

    patch: side, a multiple of 8; halved, wild: shares of a batch whose colours are at half
    resolution, and that go through wild.py (where patch is a multiple of 16), rounded down.
    """

    def __init__(
        self,
        images: Images,
        patch: int,
        device: str | torch.device,
        halved: float = HALVED_SHARE,
        wild: float = WILD_SHARE,
    ) -> None:
        self.pixels, self.sizes = images.pixels.to(device), images.sizes.to(device)
        areas = self.sizes.prod(1)
        self.starts = torch.cumsum(areas, 0) - areas
        self.until = images.odds.cumsum(0).float().to(device)
        self.patch, self.device, self.halved = patch, device, halved
        self.wild = wild if patch % MCU_SIDE == 0 else 0.0

    def batch(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, 3, P, P) float32, pixels - 128, at random positions, flipped and transposed.

        generator: on the device, or None for the device's own.
        """
        x = self._patches(torch.rand(6, count, 1, 1, device=self.device, generator=generator))
        order = torch.rand(count, device=self.device, generator=generator).argsort()
        halved, wild = int(count * self.halved), int(count * self.wild)
        if halved:
            some = order[:halved]
            kind = torch.rand(halved, device=self.device, generator=generator)
            # interpolated 4:2:0 is the most frequent, as in augment.some_halved
            x = x.index_copy(0, some, chroma_halved(x[some], (4 * kind**2).long()))
        if wild:
            some = order[halved : halved + wild]
            draws = torch.rand(DRAWS_PER_PATCH, wild, device=self.device, generator=generator)
            noise = torch.randn(wild, *x.shape[1:], device=self.device, generator=generator)
            x = x.index_copy(0, some, in_the_wild(x[some], draws, noise))
        return x - 128

    def _patches(self, uniform: Tensor) -> Tensor:
        """(B, 3, P, P) gray levels 0..255; uniform: (6, B, 1, 1), random in 0..1."""
        side = self.patch
        which = torch.searchsorted(self.until, uniform[5].flatten())
        which = which.clamp_max(len(self.sizes) - 1)
        height, width = (self.sizes[which, k].view(-1, 1, 1) for k in (0, 1))
        ramp = torch.arange(side, device=self.device)
        i, j = ramp.view(1, -1, 1), ramp.view(1, 1, -1)
        i = torch.where(uniform[0] < 0.5, side - 1 - i, i)
        j = torch.where(uniform[1] < 0.5, side - 1 - j, j)
        i, j = torch.where(uniform[2] < 0.5, i, j), torch.where(uniform[2] < 0.5, j, i)
        row = (uniform[3] * (height - side + 1)).long() + i
        column = (uniform[4] * (width - side + 1)).long() + j
        index = self.starts[which].view(-1, 1, 1) + row * width + column
        return self.pixels[index].permute(0, 3, 1, 2).float().contiguous()
