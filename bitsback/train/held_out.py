"""Held-out images of a recipe's sources: which of two states of an expert codes them in less.

A level's bound is compared relative to what WebP takes for the image, so that every image counts as
much as every other: absolute bits are those of the noisy ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitsback.diffusion.levels import Level, default_levels
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.bound import BoundNetwork
from bitsback.train.denoiser import Denoiser
from bitsback.train.measure import bound_bits
from bitsback.train.mixture import LEAST_BITS, Source, centre, image_files, read_image, webp_bits
from bitsback.train.packed_weights import SUFFIX, of_levels, read_packed
from bitsback.train.patches import check_folder
from bitsback.train.recipe import Expert, Recipe, file_of
from bitsback.train.restart import as_checkpoint

LEAST_GAIN = 1e-4


@dataclass(frozen=True)
class HeldOut:
    """Centre crops of a source's held-out images: x (N, 3, S, S), pixels - 128; bits (N,): of
    WebP's fastest lossless mode, a dimension, LEAST_BITS at least."""

    name: str
    x: Tensor
    bits: Tensor


def held_out(source: Source, side: int, limit: int | None = None) -> HeldOut:
    """The held-out images of a source that have side x side pixels or more, at most `limit`.

    Errors: TrainingError where there is none.
    """
    check_folder(source.folder)
    files = image_files(source.folder)[:: source.hold_out] if source.hold_out else []
    crops = centre_crops(files, side)[:limit]
    if not crops:
        raise TrainingError(f"{source.folder}: no held-out image of {side}x{side} pixels")
    bits = torch.tensor([webp_bits(one.permute(1, 2, 0).contiguous().numpy()) for one in crops])
    return HeldOut(source.folder.name, torch.stack(crops).float() - 128, bits.clamp_min(LEAST_BITS))


def centre_crops(files: Sequence[Path], side: int) -> list[Tensor]:
    """(3, side, side) uint8 of those files that are images of side x side pixels or more."""
    read = (read_image(path) for path in files)
    return [centre(one, side) for one in read if one is not None and min(one.shape[:2]) >= side]


def bounds_of_images(
    network: BoundNetwork, levels: tuple[Level, ...], x: Tensor, only: range
) -> Tensor:
    """(N, len(only)) bits a dimension of each image (N, 3, H, W) at each of the levels `only`.

    The network rounds; the noise is the same for every network and every image.
    """
    return torch.tensor([bound_bits(network, levels, one[None], True, only=only) for one in x])


def state_of(path: str | Path, levels: range) -> dict[str, Any]:
    """The state of the expert with these levels in a model file, packed weights or a checkpoint.

    Errors: TrainingError, WrongModel.
    """
    if Path(path).suffix == SUFFIX:
        return of_levels(read_packed(path), levels, len(default_levels()))
    return as_checkpoint(path, levels)


def network_of(state: dict[str, Any]) -> Denoiser:
    """The averaged network of a state."""
    network = Denoiser(NetworkConfig.from_dict(state["config"]))
    network.load_state_dict(state["average"])
    return network.requires_grad_(False).eval()


@dataclass(frozen=True)
class Choice:
    """Two states of an expert on held-out images: for each source its name and the bits a dimension
    of the expert's levels before and after; relative: both in shares of WebP's bits, mean of the
    sources."""

    expert: Expert
    sources: tuple[tuple[str, float, float], ...]
    relative: tuple[float, float]

    @property
    def better(self) -> bool:
        """Whether the state after training is, by more than rounding changes a bound."""
        return self.relative[1] < self.relative[0] * (1 - LEAST_GAIN)


def choices(recipe: Recipe, folder: Path, images: Sequence[HeldOut]) -> Iterator[Choice]:
    """For each expert that a recipe trained, its start and the result in `folder`, one by one.

    Errors: TrainingError.
    """
    if recipe.start is None:
        raise TrainingError(f"{recipe.name}: the recipe has no start to compare with")
    for expert in recipe.trained:
        networks = [
            network_of(state_of(path, expert.only))
            for path in (recipe.start, file_of(recipe, expert, folder))
        ]
        rows, relative = [], torch.zeros(2)
        for some in images:
            costs = [
                bounds_of_images(network, default_levels(), some.x, expert.only).sum(1)
                for network in networks
            ]
            rows.append((some.name, costs[0].mean().item(), costs[1].mean().item()))
            relative += torch.stack([(cost / some.bits).mean() for cost in costs]) / len(images)
        yield Choice(expert, tuple(rows), (relative[0].item(), relative[1].item()))
