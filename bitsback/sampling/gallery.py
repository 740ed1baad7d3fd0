"""Images from a prior, shipped or in training: start, levels, denoiser and sampler put together."""

from typing import NamedTuple

import torch

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels
from bitsback.errors import NoiseOutOfRange
from bitsback.sampling.chain_sampler import nearest_level, on_lattice, sample_chain
from bitsback.sampling.denoisers import (
    check_levels,
    checkpoint_denoiser,
    model_denoiser,
    sampling_levels,
)
from bitsback.sampling.samplers import GRADES, SAMPLERS
from bitsback.sampling.starts import clouds, coder_start, noised
from bitsback.train.checkpoints import read_checkpoint

PASSES = "passes"  # the grade of ancestral that is the coder's own chain
ALL_GRADES = (PASSES, *GRADES)
TOPS = ("clouds", "coder")


class Part(NamedTuple):
    """An expert in training: its Denoiser, and the range of default_levels() it was trained for; at others it says nothing."""

    network: torch.nn.Module
    only: range


def open_prior(name=None):
    """A Model by shipped name or path, or of a .ckpt the float Denoiser, an expert's as a Part.  Errors: WrongModel, TrainingError."""
    if not name or not str(name).endswith(".ckpt"):
        return Model.open(name)
    network, told = read_checkpoint(name)
    return Part(network, told["only"]) if "only" in told else network


def default_grade(prior, steps):
    """Of ancestral: the coder's own chain where there is one and its own levels are wanted, else the head's variance."""
    return PASSES if isinstance(prior, Model) and steps in (None, len(prior.levels)) else "head"


def _base(shape, photo, top, generator):
    if photo is not None:
        return photo.expand(shape)
    return clouds(shape, generator) if top == "clouds" else None


def draw_chain(model, shape, generator, *, photo=None, sigma=None, top="clouds", device="cpu"):
    """(start, end) as draw_pictures, by the coder's own chain; it begins at the level nearest to sigma."""
    if sigma is not None:
        check_levels(model.levels, [sigma])
    k = len(model.levels) - 1 if sigma is None else nearest_level(model.levels, sigma)
    base, chain = _base(shape, photo, top, generator), model.chain(device)
    start = None if base is None else (k, on_lattice(model.levels, k, base, generator))
    values = sample_chain(chain, shape, generator, start)
    return torch.from_numpy(values[0]) * model.levels[k].spacing, torch.from_numpy(
        values[-1]
    ).float()


def draw_images(
    prior,
    shape,
    generator,
    *,
    sampler="seeds3",
    steps=None,
    grade=None,
    depth=1.0,
    photo=None,
    sigma=None,
    top="clouds",
    device="cpu",
):
    """(start, end): y at the first level and the images, each (B, 3, H, W) of `shape`, pixels minus 128, unclipped.

    prior: from open_prior; sampler: a key of SAMPLERS; steps: network passes, None for the coder's own levels; grade (of
    ancestral) and depth (of restoration-degradation): see samplers.py; photo: (3, H, W) or (B, 3, H, W) float, minus 128, to begin
    with, noised to sigma; top: what to begin with otherwise.  generator: on the CPU.  Errors: NoiseOutOfRange.
    """
    levels = prior.levels if isinstance(prior, Model) else default_levels()
    if sampler == "ancestral" and (grade or default_grade(prior, steps)) == PASSES:
        if default_grade(prior, steps) != PASSES:
            raise NoiseOutOfRange(
                f"grade {PASSES}: only a model's own chain has it, in {len(levels)} steps"
            )
        return draw_chain(prior, shape, generator, photo=photo, sigma=sigma, top=top, device=device)
    chosen = sampling_levels(levels, steps, sigma)
    if isinstance(prior, Part):
        check_levels(levels, chosen, prior.only)
        prior = prior.network
    base = _base(shape, photo, top, generator)
    start = (
        coder_start(shape, chosen[0], generator)
        if base is None
        else noised(base, chosen[0], generator)
    )
    denoiser = (
        model_denoiser(prior, chosen, device)
        if isinstance(prior, Model)
        else checkpoint_denoiser(prior, device)
    )
    options = {
        "ancestral": {"grade": grade or "head"},
        "restoration-degradation": {"depth": depth},
    }.get(sampler, {})
    return start, SAMPLERS[sampler](denoiser, start, chosen, generator, **options)
