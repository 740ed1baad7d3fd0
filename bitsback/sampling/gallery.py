"""Images from a prior, shipped or in training: start, levels, denoiser and sampler combined."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitsback.coder.model import Model
from bitsback.devices import require
from bitsback.diffusion.levels import default_levels
from bitsback.errors import NoiseOutOfRange
from bitsback.sampling.chain_sampler import nearest_level, on_lattice, sample_chain
from bitsback.sampling.denoisers import (
    check_levels,
    checkpoint_denoiser,
    model_denoiser,
    sampling_levels,
)
from bitsback.sampling.samplers import SAMPLERS, VARIANCE_GRADES
from bitsback.sampling.starts import clouds, coder_start, noised
from bitsback.train.checkpoints import read_checkpoint
from bitsback.train.denoiser import Denoiser
from bitsback.train.plain import plain_torch

CHAIN_GRADE = "passes"  # the grade of ancestral that is the coder's own chain
ALL_GRADES = (CHAIN_GRADE, *VARIANCE_GRADES)
TOPS = ("clouds", "coder")


class ExpertPrior(NamedTuple):
    """An expert in training, with the range of default_levels() that it was trained for."""

    network: Denoiser
    only: range


Prior = Model | Denoiser | ExpertPrior


def open_prior(name: str | Path | None = None) -> Prior:
    """A Model by shipped name or path; of a .ckpt the float network, of an expert an ExpertPrior.

    Errors: WrongModel, TrainingError.
    """
    if not name or not str(name).endswith(".ckpt"):
        return Model.open(name)
    network, facts = read_checkpoint(name)
    return ExpertPrior(network, facts["only"]) if "only" in facts else network


def default_grade(prior: Prior, steps: int | None) -> str:
    """The grade of ancestral: the coder's own chain for a Model at its own levels, else "head"."""
    return (
        CHAIN_GRADE if isinstance(prior, Model) and steps in (None, len(prior.levels)) else "head"
    )


def _base(
    shape: tuple[int, ...], photo: Tensor | None, top: str, generator: torch.Generator
) -> Tensor | None:
    """What noise is added to, or None for the coder's top."""
    if photo is not None:
        return photo.expand(shape)
    return clouds(shape, generator) if top == "clouds" else None


def draw_chain(
    model: Model,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    photo: Tensor | None = None,
    sigma: float | None = None,
    top: str = "clouds",
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    """(start, end) as draw_images, by the coder's own chain, from the level nearest to sigma."""
    if sigma is not None:
        check_levels(model.levels, [sigma])
    k = len(model.levels) - 1 if sigma is None else nearest_level(model.levels, sigma)
    base, chain = _base(shape, photo, top, generator), model.chain(device)
    start = None if base is None else (k, on_lattice(model.levels, k, base, generator))
    values = sample_chain(chain, shape, generator, start)
    return torch.from_numpy(values[0]) * model.levels[k].spacing, torch.from_numpy(
        values[-1]
    ).float()


@plain_torch()
def draw_images(
    prior: Prior,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    sampler: str = "seeds3",
    steps: int | None = None,
    grade: str | None = None,
    depth: float = 1.0,
    photo: Tensor | None = None,
    sigma: float | None = None,
    top: str = "clouds",
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    """(start, end): y at the first level and the images, (B, 3, H, W), pixels - 128, not clipped.

    prior: from open_prior; sampler: a key of SAMPLERS; steps: network evaluations, None: at the
    coder's own levels; grade (of ancestral), depth (of restoration-degradation): see samplers.py;
    photo: (3, H, W) or (B, 3, H, W) float, pixels - 128, to start from with noise sigma; top: one
    of TOPS, the start without photo; generator: on the CPU.  Errors: NoiseOutOfRange; ValueError
    for other arguments; BitsbackError for a device that is not here.
    """
    require(device)
    for given, known in ((sampler, SAMPLERS), (top, TOPS), (grade, (None, *ALL_GRADES))):
        if given not in known:
            raise ValueError(f"{given!r} is none of {', '.join(map(str, known))}")
    if steps is not None and steps < 1 or not 0 <= depth <= 1:
        raise ValueError(f"steps {steps}, depth {depth}: 1 or more, and from 0 to 1")
    if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
        raise ValueError(f"shape {shape}: (B, 3, H, W) is needed")
    if photo is not None and not (
        torch.is_tensor(photo)
        and photo.is_floating_point()
        and tuple(photo.shape) in (tuple(shape), tuple(shape[1:]))
    ):
        raise ValueError(f"photo: a tensor of floats is needed, of shape {shape} or {shape[1:]}")
    levels = prior.levels if isinstance(prior, Model) else default_levels()
    if sampler == "ancestral" and (grade or default_grade(prior, steps)) == CHAIN_GRADE:
        if not isinstance(prior, Model) or default_grade(prior, steps) != CHAIN_GRADE:
            raise NoiseOutOfRange(
                f"grade {CHAIN_GRADE}: only a model's own chain has it, in {len(levels)} steps"
            )
        return draw_chain(prior, shape, generator, photo=photo, sigma=sigma, top=top, device=device)
    chosen = sampling_levels(levels, steps, sigma)
    if isinstance(prior, ExpertPrior):
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
    options: dict[str, Any] = {}
    if sampler == "ancestral":
        options["grade"] = grade or "head"
    if sampler == "restoration-degradation":
        options["depth"] = depth
    return start, SAMPLERS[sampler](denoiser, start, chosen, generator, **options)
