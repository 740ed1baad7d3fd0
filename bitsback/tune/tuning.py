"""Tunes a model's biases to the images at hand, before they are coded: their own bound is minimised.

A minute of it buys more than any other minute of encoding, and costs nothing at decoding: the decoder only adds
small integers to biases.  Weights stay as they are; one bias a channel, shared by all levels, is little to store, and
what it costs is part of what is minimised.  Layers differ a thousandfold in what a step of their biases does to the bound: both
how far they move and how finely they are stored follow that.  (Tuning of biases alone: BitFit, arXiv 2106.10199; here the data
are the image to be coded, as in learned codecs that store what they adapt.)
"""

import math

import numpy as np
import torch

from bitsback.ans.stack import Stack
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile
from bitsback.integer.bias_updates import (
    COARSENESS,
    MAX_UPDATE,
    Deltas,
    count,
    delta_units,
    kinds,
    tuned_layers,
)
from bitsback.train.denoiser import QConv
from bitsback.train.dequantise import dequantised, real_scales
from bitsback.train.estimates import estimate_at_levels

PATCHES = (64, 32, 16)  # sides; the largest that most pixels lie in images of
BATCH = 8  # patches a step, shared out among the families
FINE = 20.0  # gray levels: families whose first level is above carry too few bits for what their deltas would take
GRID = 8  # the network's coarsest pixel: a bias may suit one place in it, as half-resolution colours have it
RATE = 0.6  # Adam's, in the finest steps; times the root of the steps that a layer's deltas are stored in
WARM = 5  # steps
SMALL, MOST = (
    400_000,
    4,
)  # steps are for an image of so many pixels; for others as the root of their size, at most so many times as many
LEAST = 2**16  # pixels below which what is gained does not pay for what is stored
# Exponents of the steps that deltas are stored in, against those of tuned.py: those whose rounding costs about half a bit a delta in an image of
# SMALL pixels, by measurement of the default model, where uniform noise in a bias costs 1000 times as much in `first` as in `middle`.
FINENESS = {
    "first": 0,
    "down1.a": 1,
    "down1.b": 0,
    "to2": 1,
    "down2.a": 2,
    "down2.b": 2,
    "to3": 3,
    "middle.a": 4,
    "middle.b": 4,
    "from3": 4,
    "up2.a": 4,
    "up2.b": 3,
    "from2": 1,
    "up1.a": 2,
    "up1.b": 1,
    "last": 0,
    "head_features": 4,
    "head_known": 5,
    "head_mix": 5,
    "head_out": 2,
}
CHECKS = 4  # batches on which gain and cost are weighed


def coarseness(name, total):
    """Exponent of the steps in which a layer's deltas are stored in a file of `total` pixels: finer for a larger one, which rounding costs more."""
    stage, _, kind = name.partition(".")
    fineness = FINENESS.get(f"{stage}.{kind[-1:]}", FINENESS.get(stage, 2))
    return min(max(fineness - round(0.5 * math.log2(total / SMALL)), 0), COARSENESS - 1)


class Sampler:
    """Random patches of images, list of (H, W, 3) or (H, W, 1) uint8, each by its share of the pixels.

    masks: None, or for each image None or (H, W, C) bool, which samples cost bits; count: patches of the largest side in a batch.
    """

    def __init__(self, images, device, seed, masks=None, count=BATCH):
        total = sum(pixels.size for pixels in images)
        suit = {
            side: [i for i, pixels in enumerate(images) if min(pixels.shape[:2]) >= side]
            for side in PATCHES
        }
        self.side = next(
            (side for side in PATCHES if 2 * sum(images[i].size for i in suit[side]) > total),
            PATCHES[-1],
        )
        self.images, self.device = [images[i] for i in suit[self.side]], device
        self.masks = [masks and masks[i] for i in suit[self.side]]
        self.shares = torch.tensor([float(pixels.size) for pixels in self.images])
        self.places, self.count = (
            torch.Generator().manual_seed(seed),
            count * (PATCHES[0] // self.side) ** 2,
        )

    def batch(self):
        """(x, gray, weight): (B, 3, side, side) float32, pixels - 128, from rows and columns that are multiples of GRID, (B,) bool, which have
        one channel only, and like x, 1 for samples that cost bits and 0 for others; B is more where patches are smaller."""
        patches, weights, gray = [], [], []
        place = lambda size: (
            GRID * int(torch.randint((size - self.side) // GRID + 1, (), generator=self.places))
        )  # noqa: E731
        for i in torch.multinomial(
            self.shares, self.count, replacement=True, generator=self.places
        ).tolist():
            pixels = self.images[i]
            top, left = map(place, pixels.shape[:2])
            here = np.s_[top : top + self.side, left : left + self.side]
            free = (
                np.ones(pixels[here].shape, bool) if self.masks[i] is None else self.masks[i][here]
            )
            patches.append(torch.from_numpy(np.ascontiguousarray(pixels[here])).expand(-1, -1, 3))
            weights.append(torch.from_numpy(np.ascontiguousarray(free)).expand(-1, -1, 3))
            gray.append(pixels.shape[2] == 1)
        planes = lambda parts: torch.stack(parts).permute(0, 3, 1, 2).to(self.device, torch.float32)  # noqa: E731
        return planes(patches) - 128, torch.tensor(gray, device=self.device), planes(weights)


def native_bfloat16(device):
    """Whether the device multiplies bfloat16 itself, in half the time of float32: by its kind, since a timing would let files differ from run to run."""
    able = lambda name: getattr(torch.cpu, name, lambda: False)()  # noqa: E731
    return (
        torch.device(device).type == "cuda"
        or able("_is_avx512_bf16_supported")
        or able("_is_amx_tile_supported")
    )


class Tuned:
    """The float twins of a family's experts, whose biases move together, in steps that a file of `total` pixels stores."""

    def __init__(self, experts, levels, total, device):
        self.levels, self.parts, self.bfloat16, noise = (
            levels,
            [],
            native_bfloat16(device),
            sigmas(levels),
        )
        self.sizes = {name: len(layer.shift) for name, layer in sorted(experts[0].layers.items())}
        self.coarseness = {name: coarseness(name, total) for name in self.sizes}
        self.moves = {
            name: torch.zeros(size, device=device, requires_grad=True)
            for name, size in self.sizes.items()
        }  # in stored steps
        for expert in experts:
            network = dequantised(
                expert.layers, expert.config, noise[expert.steps.start : expert.steps.stop]
            ).to(device, memory_format=torch.channels_last)
            convolutions = {
                name: module
                for name, module in network.named_modules()
                if isinstance(module, QConv)
            }
            starts = {
                name: module._parameters.pop("bias").detach()
                for name, module in convolutions.items()
            }  # from here on what `move` says
            units = {
                name: (
                    delta_units(name, layer)
                    * real_scales(name, layer)[1]
                    * 2 ** self.coarseness[name]
                )
                .float()
                .to(device)
                for name, layer in expert.layers.items()
            }
            self.parts.append((network, expert.steps, convolutions, starts, units))

    def rate(self, name):
        """Adam's of a layer's moves."""
        return RATE * 2.0 ** (coarseness(name, SMALL) / 2 - self.coarseness[name])

    def move(self, moves):
        """Puts biases where moves {name: (O,)} say, in stored steps."""
        for _, _, convolutions, starts, units in self.parts:
            for name, module in convolutions.items():
                module.bias = starts[name] + moves[name] * units[name]

    def bound(self, batch, generator, moves=None):
        """Estimate of the family's share of the bound, bits a dimension, of what Sampler.batch gives: shared out among its experts; moves: or None, its own."""
        self.move(self.moves if moves is None else moves)
        total = 0.0
        for i, (network, steps, *_) in enumerate(self.parts):
            x, gray, weight = (part[i :: len(self.parts)] for part in batch)
            parts = estimate_at_levels(
                network,
                None,
                x,
                generator,
                True,
                self.bfloat16,
                gray,
                levels=self.levels,
                only=steps,
                weight=weight,
            )
            total = total + sum(part.mean() for part in parts[:3])
        return total

    def flat(self):
        """All moves as one tensor, layers in the order of their names."""
        return torch.cat(list(self.moves.values()))

    def stored(self, moves):
        """Deltas (count,) int32 nearest to moves (count,)."""
        parts = (
            moves.detach()
            .round()
            .clamp(-MAX_UPDATE, MAX_UPDATE)
            .to("cpu", torch.int32)
            .split(list(self.sizes.values()))
        )
        return torch.cat(
            [part << self.coarseness[name] for name, part in zip(self.sizes, parts)]
        ).numpy()

    def moves_of(self, deltas):
        """{name: (O,)} moves that deltas (count,) int32 stand for."""
        parts = torch.from_numpy(deltas).split(list(self.sizes.values()))
        return {
            name: (part >> self.coarseness[name]).to(self.moves[name])
            for name, part in zip(self.sizes, parts)
        }


def steps_for(total, steps):
    """Steps for `total` pixels, of `steps` for SMALL ones: a small image has fewer patches to learn from, and of 320x320 pixels half the steps gain nearly as much."""
    return round(steps * min(math.sqrt(total / SMALL), MOST)) if total >= LEAST else 0


def passes(total, steps):
    """What tuning takes, in pixels that one level's network could pass: a step's gradient is about two more passes."""
    return 3 * steps_for(total, steps) * BATCH * PATCHES[0] ** 2


def fine_families(model):
    """[experts] of the families that are tuned, and of the others [] in their places."""
    families = [
        [expert for expert in model.experts if expert.family == number]
        for number in range(model.experts[-1].family + 1)
    ]
    return [
        family if not number or sigmas(model.levels)[family[0].steps.start] < FINE else []
        for number, family in enumerate(families)
    ]


def tune(model, images, steps, *, masks=None, device="cpu", seed=0, progress=lambda share: None):
    """Deltas of all families, int32, under which `images` cost less, what the deltas cost included, or None where none were found.

    model: a Model; images: list of (H, W, 3) or (H, W, 1) uint8; steps: for an image of SMALL pixels (steps_for);
    masks: as Sampler takes them.  Each family is tuned by itself, and stays as it is where that does not pay.
    """
    total, dims, families = (
        sum(pixels.shape[0] * pixels.shape[1] for pixels in images),
        sum(pixels.size for pixels in images),
        fine_families(model),
    )
    steps, deltas, done, chosen = (
        steps_for(total, steps),
        [np.zeros(count(layers), np.int32) for layers in kinds(model.experts)],
        0,
        sum(map(bool, families)),
    )
    for number, family in enumerate(families):
        if not family:
            continue
        sampler = Sampler(images, device, seed + number, masks, max(len(family), BATCH // chosen))
        if not steps or not sampler.images:
            return None
        found = _tune_family(
            model,
            family,
            sampler,
            (total, dims),
            steps,
            seed + number,
            lambda share: progress((done + share) / chosen),
        )  # noqa: B023
        deltas[number], done = deltas[number] if found is None else found, done + 1
    return np.concatenate(deltas) if any(part.any() for part in deltas) else None


def _tune_family(model, family, sampler, sizes, steps, seed, progress):
    """Deltas (tuned.count,) int32 of one family, or None; sizes: pixels and samples that share them."""
    total, dims = sizes
    tuned, noise = (
        Tuned(family, model.levels, total, sampler.device),
        torch.Generator(sampler.device).manual_seed(seed),
    )
    optimiser = torch.optim.Adam(
        [{"params": [moves], "rate": tuned.rate(name)} for name, moves in tuned.moves.items()],
        betas=(0.9, 0.99),
    )
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = (
                group["rate"]
                * min(1, (step + 1) / WARM)
                * 0.5
                * (1 + math.cos(math.pi * step / steps))
            )
        stored = torch.log2(1 + tuned.flat().abs()).sum() / dims  # about what the deltas will cost
        optimiser.zero_grad(set_to_none=True)
        (tuned.bound(sampler.batch(), noise) + stored).backward()
        optimiser.step()
        progress((step + 1) / steps)
    moves = tuned.flat().detach()
    if not torch.isfinite(moves).all():
        return None
    deltas = tuned.stored(moves)
    try:
        for expert in family:
            tuned_layers(expert.layers, deltas)
    except DamagedFile:  # no decoder would take biases so large
        return None
    return (
        deltas
        if _gain(tuned, deltas, sampler, noise) * dims > _cost(model, family, deltas)
        else None
    )


@torch.no_grad()
def _gain(tuned, deltas, sampler, noise):
    """Bits a dimension by which deltas lower the bound of a few patches, under the same noise."""
    tuned.bfloat16 = False  # weighed as it will be coded
    patches, state, bounds = (
        [
            sampler.batch()
            for _ in range(CHECKS * BATCH * (PATCHES[0] // sampler.side) ** 2 // sampler.count)
        ],
        noise.get_state(),
        [],
    )
    for chosen in (np.zeros_like(deltas), deltas):
        noise.set_state(state)
        bounds.append(
            sum(float(tuned.bound(patch, noise, tuned.moves_of(chosen))) for patch in patches)
            / len(patches)
        )
    return bounds[0] - bounds[1]


def _cost(model, family, deltas):
    """Bits that a family's deltas take on a stack."""
    stack = Stack(bytes(8))
    before = stack.size_bits
    Deltas(model.gaussians, [family[0].layers]).push(stack, deltas)
    return stack.size_bits - before
