"""Tuning: bias updates that lower the bound of the images at hand, found before they are coded.

Tuning takes encoding time only: the decoder adds small integers to biases.  Weights stay as they
are; one bias a channel, shared by all levels, is little to store, and its cost is part of what is
minimised.  (Tuning of biases alone: BitFit, arXiv 2106.10199; here the data are the image to be
coded, as in learned codecs that store what they adapt.)
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bitsback.ans.stack import Stack
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile
from bitsback.integer.bias_updates import BiasUpdates, count, kinds, updated_layers
from bitsback.integer.experts import Expert
from bitsback.tune.family import REFERENCE_PIXELS, FloatFamily
from bitsback.tune.patches import BATCH_PATCHES, PATCH_SIDES, ImagePatches

# Gray levels: families whose first level is noisier have too few bits for what updates would cost
MAX_FIRST_SIGMA = 20.0
WARM_UP_STEPS = 5
MAX_STEP_FACTOR = 4  # steps grow with the root of an image's size, at most by this factor
MIN_PIXELS = 2**16  # below, tuning gains less than its updates cost
CHECK_BATCHES = 4  # batches on which gain and cost are compared


def steps_for(total: int, steps: int) -> int:
    """Number of steps for `total` pixels, where `steps` are for REFERENCE_PIXELS.

    A small image has fewer patches to learn from: for 320x320 pixels half the steps gain nearly as
    much.
    """
    if total < MIN_PIXELS:
        return 0
    return round(steps * min(math.sqrt(total / REFERENCE_PIXELS), MAX_STEP_FACTOR))


def network_pixels(total: int, steps: int) -> int:
    """Pixels that one level's network could evaluate in the time of tuning to `total` pixels.

    A step's gradient takes about two more evaluations.
    """
    return 3 * steps_for(total, steps) * BATCH_PATCHES * PATCH_SIDES[0] ** 2


def fine_families(model: Model) -> list[list[Expert]]:
    """The experts of each family that is tuned; [] for the others."""
    families = [
        [expert for expert in model.experts if expert.family == number]
        for number in range(model.experts[-1].family + 1)
    ]
    noise = sigmas(model.levels)
    return [
        family if not number or noise[family[0].steps.start] < MAX_FIRST_SIGMA else []
        for number, family in enumerate(families)
    ]


def tune(
    model: Model,
    images: Sequence[np.ndarray],
    steps: int,
    *,
    masks: Sequence[np.ndarray | None] | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[float], object] = lambda share: None,
) -> np.ndarray | None:
    """Bias updates of all families, int32, under which `images` cost less, or None.

    images: (H, W, 3) or (H, W, 1) uint8; steps: for an image of REFERENCE_PIXELS (steps_for);
    masks: as in ImagePatches; progress: called with the share done.  Each family is tuned by
    itself, and gets zeros where the gain is below the cost of its updates.
    """
    total = sum(pixels.shape[0] * pixels.shape[1] for pixels in images)
    dims = sum(pixels.size for pixels in images)
    families = fine_families(model)
    updates = [np.zeros(count(layers), np.int32) for layers in kinds(model.experts)]
    steps, done, chosen = steps_for(total, steps), 0, sum(map(bool, families))
    for number, family in enumerate(families):
        if not family:
            continue
        batch = max(len(family), BATCH_PATCHES // chosen)
        patches = ImagePatches(images, device, seed + number, masks, batch)
        if not steps or not patches.images:
            return None
        found = _tune_family(
            model,
            family,
            patches,
            (total, dims),
            steps,
            seed + number,
            lambda share: progress((done + share) / chosen),
        )
        if found is not None:
            updates[number] = found
        done += 1
    return np.concatenate(updates) if any(part.any() for part in updates) else None


@torch.inference_mode(False)
@torch.enable_grad()
def _tune_family(
    model: Model,
    family: list[Expert],
    patches: ImagePatches,
    sizes: tuple[int, int],
    steps: int,
    seed: int,
    progress: Callable[[float], object],
) -> np.ndarray | None:
    """Bias updates (count,) int32 of one family, or None; sizes: pixels, samples of the images."""
    total, dims = sizes
    networks = FloatFamily(family, model.levels, total, patches.device)
    noise = torch.Generator(patches.device).manual_seed(seed)
    optimiser = torch.optim.Adam(
        [
            {"params": [moves], "rate": networks.rate(name)}
            for name, moves in networks.moves.items()
        ],
        betas=(0.9, 0.99),
    )
    for step in range(steps):
        warm_up, fall = min(1, (step + 1) / WARM_UP_STEPS), math.cos(math.pi * step / steps)
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * warm_up * 0.5 * (1 + fall)
        stored = torch.log2(1 + networks.flat().abs()).sum() / dims  # about what updates will cost
        optimiser.zero_grad(set_to_none=True)
        (networks.bound(patches.batch(), noise) + stored).backward()
        optimiser.step()
        progress((step + 1) / steps)
    moves = networks.flat().detach()
    if not torch.isfinite(moves).all():
        return None
    updates = networks.stored(moves)
    try:
        for expert in family:
            updated_layers(expert.layers, updates)
    except DamagedFile:  # a decoder would refuse biases so large
        return None
    gain = _gain(networks, updates, patches, noise) * dims
    return updates if gain > update_bits(model, family, updates) else None


@torch.no_grad()
def _gain(
    networks: FloatFamily, updates: np.ndarray, patches: ImagePatches, noise: torch.Generator
) -> float:
    """Bits a dimension by which updates lower the bound of a few patches, under the same noise."""
    networks.bfloat16 = False  # measured as it will be coded
    patches_wanted = CHECK_BATCHES * BATCH_PATCHES * (PATCH_SIDES[0] // patches.side) ** 2
    batches = [patches.batch() for _ in range(patches_wanted // patches.count)]
    state, bounds = noise.get_state(), []
    for chosen in (np.zeros_like(updates), updates):
        noise.set_state(state)
        moves = networks.moves_of(chosen)
        bounds.append(sum(float(networks.bound(b, noise, moves)) for b in batches) / len(batches))
    return bounds[0] - bounds[1]


def update_bits(model: Model, family: Sequence[Expert], updates: np.ndarray) -> int:
    """Bits that a family's updates add to a stack."""
    stack = Stack(bytes(8))
    before = stack.size_bits
    BiasUpdates(model.gaussians, [family[0].layers]).push(stack, updates)
    return stack.size_bits - before
