"""Patches of several folders of images on a device, in given shares; nothing waits for the device.

What patches.py draws on a CPU, but with as many patches of each augmentation in every batch, chosen
by sorting random numbers: no size depends on a random number, so a step may be one CUDA graph.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitsback.errors import OutputFailed, TrainingError
from bitsback.train.augment import HALVED_SHARE, chroma_halved
from bitsback.train.patches import check_folder
from bitsback.train.wild import DRAWS_PER_PATCH, MCU_SIDE, ODDS, WILD_SHARE, Odds, in_the_wild

WEIGHTS = ("pixels", "inverse bits")
LEAST_BITS = 0.5  # bits/dim: a smoother image is not drawn more often than one of so many


@dataclass(frozen=True)
class Source:
    """A folder of images and its share of the patches.

    hold_out: of every so many files by name the first is kept out, 0: none; a file that is no
    image counts if its name is an image's; weight: an image's odds are its "pixels", or its pixels
    times the "inverse bits" a dimension that WebP takes: every pixel costs a training in bits, so
    that noisy images, which have most of them, would count most, but a user counts in per cent.
    Errors: TrainingError where weight is not one of WEIGHTS.
    """

    folder: Path
    share: float = 1.0
    hold_out: int = 0
    weight: str = WEIGHTS[0]

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise TrainingError(f"weight {self.weight!r} is none of {', '.join(WEIGHTS)}")


@dataclass(frozen=True)
class Augment:
    """What is done to patches: shares of every batch, rounded down, that have their colours at
    half resolution, and that go through wild.py, with the odds of its steps; gray ones are chosen
    by the trainer."""

    halved: float = HALVED_SHARE
    wild: float = WILD_SHARE
    odds: Odds = ODDS


@dataclass
class Images:
    """Images in memory: pixels (N, 3) uint8, all images one after the other; sizes (images, 2);
    odds (images,) of a patch to be of the image; held: for each source centre crops of the images
    kept out, (n, 3, P, P) uint8."""

    pixels: Tensor
    sizes: Tensor
    odds: Tensor
    held: list[Tensor]


def image_files(folder: Path) -> list[Path]:
    """Files below a folder whose name is that of an image which Pillow reads, by name."""
    known = Image.registered_extensions()
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.suffix.lower() in known)


def read_image(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8, or None where the file is not an image."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def webp_bits(pixels: np.ndarray) -> float:
    """Bits a dimension of an image (H, W, 3) uint8 in WebP's fastest lossless mode."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=0, quality=0)
    return 8 * out.tell() / pixels.size


def _weights(source: Source, images: list[np.ndarray], threads: int) -> Tensor:
    """Odds of the images of a source, up to a factor: (images,) float64."""
    areas = torch.tensor([one.shape[0] * one.shape[1] for one in images]).double()
    if source.weight == WEIGHTS[0]:
        return areas
    with ThreadPoolExecutor(threads) as pool:
        bits = torch.tensor(list(pool.map(webp_bits, images))).double()
    return areas / bits.clamp_min(LEAST_BITS)


def centre(pixels: np.ndarray, side: int) -> Tensor:
    """(3, side, side) uint8, the centre of (H, W, 3)."""
    top, left = ((size - side) // 2 for size in pixels.shape[:2])
    return torch.from_numpy(pixels[top : top + side, left : left + side].copy()).permute(2, 0, 1)


def read_images(sources: Sequence[Source], patch: int, held: int = 32, threads: int = 8) -> Images:
    """Decodes all images of the sources that have patch x patch pixels or more.

    held: most crops kept of each source's held-out images.  Errors: TrainingError.
    """
    flat, sizes, odds, kept = [], [], [], []
    for source in sources:
        check_folder(source.folder)
        files = image_files(source.folder)
        with ThreadPoolExecutor(threads) as pool:
            every = enumerate(pool.map(read_image, files))
            read = {k: one for k, one in every if one is not None and min(one.shape[:2]) >= patch}
        out = [k for k in read if source.hold_out and k % source.hold_out == 0]
        used = [one for k, one in read.items() if k not in out]
        if not used:
            raise TrainingError(f"{source.folder}: no image of at least {patch}x{patch} pixels")
        weights = _weights(source, used, threads)
        flat += [torch.from_numpy(one).view(-1, 3) for one in used]
        sizes += [one.shape[:2] for one in used]
        odds.append(source.share * weights / weights.sum())
        crops = [centre(read[k], patch) for k in out[:held]]
        kept.append(torch.stack(crops) if crops else torch.zeros(0, 3, patch, patch).byte())
    chances = torch.cat(odds)
    return Images(torch.cat(flat), torch.tensor(sizes), chances / chances.sum(), kept)


def save_images(images: Images, path: Path) -> None:
    """Writes decoded images for processes that train side by side.  Errors: OutputFailed."""
    try:
        torch.save(vars(images), path)
    except (OSError, RuntimeError):  # torch's writer only says "unexpected pos"
        raise OutputFailed(f"{path}: decoded images cannot be written; is the disk full?") from None


def load_images(path: Path) -> Images:
    """The mirror of save_images; the pixels are mapped, not read."""
    return Images(**torch.load(path, mmap=True, weights_only=True))


class Mixture:
    """Draws batches of patches from Images on `device`.

    patch: side, a multiple of 8; wild.py is for patches of a multiple of 16 only.
    """

    def __init__(
        self,
        images: Images,
        patch: int,
        device: str | torch.device,
        augment: Augment = Augment(),
    ) -> None:
        self.pixels, self.sizes = images.pixels.to(device), images.sizes.to(device)
        areas = self.sizes.prod(1)
        self.starts = torch.cumsum(areas, 0) - areas
        self.until = images.odds.cumsum(0).float().to(device)
        self.patch, self.device = patch, device
        self.augment = replace(augment, wild=0.0) if patch % MCU_SIDE else augment

    def batch(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, 3, P, P) float32, pixels - 128, at random positions, flipped and transposed.

        generator: on the device, or None for the device's own.
        """
        x = self._patches(torch.rand(6, count, 1, 1, device=self.device, generator=generator))
        order = torch.rand(count, device=self.device, generator=generator).argsort()
        halved, wild = int(count * self.augment.halved), int(count * self.augment.wild)
        if halved:
            some = order[:halved]
            kind = torch.rand(halved, device=self.device, generator=generator)
            # interpolated 4:2:0 is the most frequent, as in augment.some_halved
            x = x.index_copy(0, some, chroma_halved(x[some], (4 * kind**2).long()))
        if wild:
            some = order[halved : halved + wild]
            draws = torch.rand(DRAWS_PER_PATCH, wild, device=self.device, generator=generator)
            noise = torch.randn(wild, *x.shape[1:], device=self.device, generator=generator)
            x = x.index_copy(0, some, in_the_wild(x[some], draws, noise, self.augment.odds))
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
