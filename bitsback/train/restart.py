"""A model file as a checkpoint, for `train --resume MODEL.safetensors` and `export ... MODEL`.

The integers become floats that compute the same (dequantise.py), and the rows that export.py made,
one a level, become linear layers of the level's embedding again: those of least norm.  What
rounding removed from the weights is lost; a hundred steps of training recover it.
"""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitsback.coder.model import Model
from bitsback.diffusion.levels import Level, default_levels, sigmas
from bitsback.errors import TrainingError
from bitsback.integer.experts import Expert
from bitsback.integer.installed import ID_DIGITS
from bitsback.train.denoiser import Denoiser
from bitsback.train.dequantise import dequantised
from bitsback.train.quantised import QConv


def _fit(layer: nn.Linear, inputs: Tensor, rows: Tensor) -> None:
    """Sets a linear layer so that inputs (K, I) give rows (K, O), K at most I + 1."""
    centre, mean = inputs.mean(0), rows.mean(0)
    weight = (
        torch.linalg.pinv((inputs - centre).double(), rtol=1e-6) @ (rows - mean).double()
    ).T.float()
    layer.weight.copy_(weight)
    layer.bias.copy_(mean - weight @ centre)


@torch.no_grad()
def trainable(expert: Expert, levels: tuple[Level, ...]) -> dict[str, Tensor]:
    """State dict of a Denoiser(expert.config) equal to the expert's integers at its own levels.

    levels: all levels of the model.
    """
    noise = sigmas(levels)
    own = noise[expert.steps.start : expert.steps.stop]
    known = dequantised(expert.layers, expert.config, own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser(expert.config)
    for name, module in network.named_modules():
        if isinstance(module, QConv):
            module.load_state_dict(known.get_submodule(name).state_dict())
    logs = torch.tensor(own).log()
    embedding = network.embed(logs)
    for name, layer in network.named_modules():
        if name.endswith("level") and isinstance(layer, nn.Linear):  # not head_level
            _fit(layer, embedding, known.get_parameter(f"{name}.weight").T)
    ratios = torch.tensor([noise[k] / noise[k - 1] if k else 1.0 for k in expert.steps]).log()
    pixels = torch.tensor(expert.steps) == 0
    hidden = network.head_level[:2](torch.cat([embedding, ratios[:, None], pixels[:, None]], 1))
    rows = known.get_parameter("head_level.weight").T[: len(own)]
    _fit(cast(nn.Linear, network.head_level[2]), hidden, rows)
    return network.state_dict()


def _networks(path: str | Path) -> Model:
    """A model with weights of its own.  Errors: WrongModel, TrainingError."""
    model = Model(path)
    if model.plan:
        ids = ", ".join(one.id[:ID_DIGITS] for one in model.models)
        raise TrainingError(f"{path}: an ensemble has no weights of its own: take one of {ids}")
    return model


def other_experts(path: str | Path, taken: list[int]) -> list[tuple[Denoiser, range]]:
    """[(Denoiser, its levels)] of the experts of a model that have none of the levels `taken`.

    Errors: WrongModel; TrainingError where these levels are not the coder's own.
    """
    model, kept, own = _networks(path), [], default_levels()
    for expert in model.experts:
        if not set(expert.steps) & set(taken):
            first = max(expert.steps.start - 1, 0)
            if model.levels[first : expert.steps.stop] != own[first : expert.steps.stop]:
                raise TrainingError(
                    f"{path}: its levels {expert.steps[0]} to {expert.steps[-1]} "
                    "are not those of the coder"
                )
            network = Denoiser(expert.config)
            network.load_state_dict(trainable(expert, model.levels))
            kept.append((network, expert.steps))
    return kept


def minutes_of(path: str | Path) -> float:
    """The minutes that a model was trained, 0 if it does not say.  Errors: WrongModel."""
    try:
        return float(Model(path).description["training"]["minutes"])
    except (LookupError, TypeError, ValueError):  # whoever made it need not have said
        return 0.0


def as_checkpoint(path: str | Path, only: range | None = None) -> dict[str, Any]:
    """The expert with the levels `only`, as `Trainer.save` writes it: weights, sizes, counts.

    only None: the network of a model that has just one.  Errors: WrongModel where path is no model,
    TrainingError where no one network has these levels.
    """
    model = _networks(path)
    wanted = range(len(model.levels)) if only is None else only
    owners = [
        expert
        for expert in model.experts
        if wanted[0] in expert.steps and wanted[-1] in expert.steps
    ]
    if not owners:
        shares = ", ".join(f"{expert.steps[0]} to {expert.steps[-1]}" for expert in model.experts)
        raise TrainingError(
            f"no network of it has levels {wanted[0]} to {wanted[-1]}, they have {shares}: "
            "choose levels with --only"
        )
    training = model.description.get("training", {})
    return {
        "average": trainable(owners[0], model.levels),
        "config": owners[0].config.as_dict(),
        "steps": training.get("steps", 0),
        "minutes": float(training.get("minutes", 0)),
    }
