"""The measurements of benchmarks/samplers.py: error and patch distance by network evaluations."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.sampling.chain_sampler import nearest_level
from bitsback.sampling.denoisers import checkpoint_denoiser, model_denoiser
from bitsback.sampling.gallery import draw_images
from bitsback.train.denoiser import Denoiser
from bitsback.train.experts import Experts

METHODS: dict[str, dict[str, Any]] = {
    "ancestral, head": {"sampler": "ancestral", "grade": "head"},
    "ancestral, beta": {"sampler": "ancestral", "grade": "beta"},
    "seeds1 = ancestral, beta-tilde": {"sampler": "seeds1"},
    "seeds2": {"sampler": "seeds2"},
    "seeds3": {"sampler": "seeds3"},
    "ddim = restoration-degradation": {"sampler": "ddim"},
    "restoration-degradation, depth 0.5": {"sampler": "restoration-degradation", "depth": 0.5},
}
CHAIN_NAME = "the coder's chain (passes)"
CHAIN: dict[str, Any] = {"sampler": "ancestral", "grade": "passes"}
RESTORED_SIGMAS = (8.0, 25.0, 75.0)
EVALUATIONS = (1, 2, 3, 6, 12)
FREE_EVALUATIONS = (6, 12, 24)
PATCH_SIDE, DIRECTIONS = 8, 256
Restored = dict[float, dict[str, list[tuple[int, float, float]]]]
Free = dict[str, list[tuple[int, float]]]


def generator(seed: int = 1) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


class PatchDistance:
    """Distance of images' patches from those of the photographs x, (N, 3, H, W), pixels - 128."""

    def __init__(self, x: Tensor) -> None:
        patches = self._patches(x)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        kept = values > 1e-3 * values.mean()  # not the mean, nor directions without variance
        directions = torch.randn(
            int(kept.sum()), DIRECTIONS, generator=generator(0), dtype=torch.float64
        )
        self.project = (
            vectors[:, kept] / values[kept].sqrt() @ (directions / directions.norm(dim=0))
        )
        self.sorted = self._sorted(x)

    @staticmethod
    def _patches(x: Tensor) -> Tensor:
        """(patches, 3 * PATCH_SIDE^2) float64, without the mean of each channel."""
        patches = (
            x.clamp(-128, 127)
            .unfold(2, PATCH_SIDE, 4)
            .unfold(3, PATCH_SIDE, 4)
            .permute(0, 2, 3, 1, 4, 5)
            .reshape(-1, 3, PATCH_SIDE**2)
            .double()
        )
        return (patches - patches.mean(2, keepdim=True)).flatten(1)

    def _sorted(self, x: Tensor) -> Tensor:
        """(1000, DIRECTIONS): quantiles of the projected patches."""
        quantiles = (torch.arange(1000) + 0.5) / 1000
        projected = (self._patches(x) @ self.project).sort(0).values
        return projected[(quantiles * len(projected)).long()]

    def distance(self, x: Tensor) -> float:
        """Sliced Wasserstein-1 distance, in standard deviations; x: (N, 3, H, W), pixels - 128."""
        return (self._sorted(x) - self.sorted).abs().mean().item()


def rms(x: Tensor) -> float:
    """Root of the mean square."""
    return x.double().square().mean().sqrt().item()


def restored(
    model: Model, x: Tensor, sigma: float, steps: int | None, options: dict[str, Any]
) -> Tensor:
    """The photographs with noise sigma, restored in `steps` network evaluations.

    Clipped to the range of pixels: the coder's chain draws one value in 2^21 from its escapes,
    anywhere in 16 bits.
    """
    _, images = draw_images(
        model, tuple(x.shape), generator(), steps=steps, photo=x, sigma=sigma, **options
    )
    return images.clamp(-128, 127)


def measure_restored(
    model: Model, x: Tensor, patches: PatchDistance, report: Callable[[str], None]
) -> Restored:
    """{sigma: {method: [(network evaluations, error, distance)]}}."""
    result: Restored = {}
    for sigma in RESTORED_SIGMAS:
        rows = result[sigma] = {}
        for name, options in METHODS.items():
            rows[name] = []
            for steps in EVALUATIONS:
                ends = restored(model, x, sigma, steps, options)
                rows[name].append((steps, rms(ends - x), patches.distance(ends)))
            report(
                f"sigma {sigma:g} {name}: "
                + "  ".join(f"{p}: {e:.2f} {d:.3f}" for p, e, d in rows[name])
            )
        ends = restored(model, x, sigma, None, CHAIN)
        rows[CHAIN_NAME] = [
            (nearest_level(model.levels, sigma) + 1, rms(ends - x), patches.distance(ends))
        ]
    return result


def measure_free(
    model: Model, side: int, count: int, patches: PatchDistance, report: Callable[[str], None]
) -> Free:
    """{method: [(network evaluations, distance)]} of `count` images drawn from clouds."""
    result: Free = {}
    shape = (count, 3, side, side)
    for name, options in METHODS.items():
        result[name] = [
            (
                steps,
                patches.distance(draw_images(model, shape, generator(), steps=steps, **options)[1]),
            )
            for steps in FREE_EVALUATIONS
        ]
        report(f"free {name}: {result[name]}")
    result[CHAIN_NAME] = [
        (len(model.levels), patches.distance(draw_images(model, shape, generator(), **CHAIN)[1]))
    ]
    return result


def measure_levels(
    model: Model, network: Denoiser | Experts, x: Tensor
) -> list[tuple[float, float, float]]:
    """[(sigma, error of the model, of the float network)] half-way between the model's levels."""
    between = [math.sqrt(a * b) for a, b in pairwise(sigmas(model.levels))][::-1]
    ours, floats, rows = model_denoiser(model, between), checkpoint_denoiser(network), []
    for sigma in between:
        y = x + sigma * torch.randn(x.shape, generator=generator())
        rows.append((sigma, rms(ours(y, sigma)[0] - x), rms(floats(y, sigma)[0] - x)))
    return rows
