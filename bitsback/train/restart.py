"""A model file -> a checkpoint to train on from: what `train --resume MODEL.safetensors` reads, and `export` where a model lends experts.

The integers become floats that compute the same (dequantise.py), and the rows that export.py made, one a level, become layers again
that make them out of the level's embedding: those of least norm.  What rounding dropped of the weights is gone; training brings it back
in a hundred steps.  So a shipped model is its own checkpoint.
"""

import torch

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.errors import TrainingError
from bitsback.train.denoiser import Denoiser, QConv
from bitsback.train.dequantise import dequantised


def _fit(layer, inputs, rows):
    """Weight and bias of a linear layer that gives rows (K, O) for inputs (K, I); K is at most I + 1."""
    centre, mean = inputs.mean(0), rows.mean(0)
    weight = (
        torch.linalg.pinv((inputs - centre).double(), rtol=1e-6) @ (rows - mean).double()
    ).T.float()
    layer.weight.copy_(weight)
    layer.bias.copy_(mean - weight @ centre)


@torch.no_grad()
def trainable(expert, levels):
    """State dict of a Denoiser(expert.config) that computes what an Expert's integers do at its own levels; levels: of the model."""
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
        if name.endswith("level") and isinstance(
            layer, torch.nn.Linear
        ):  # first, last and each block's
            _fit(layer, embedding, known.get_submodule(name).weight.T)
    ratios = (
        torch.tensor([0.0 if k == 0 else noise[k] / noise[k - 1] for k in expert.steps])
        .clamp_min(1)
        .log()
    )
    hidden = network.head_level[:2](
        torch.cat([embedding, ratios[:, None], torch.tensor(expert.steps)[:, None] == 0], 1)
    )
    _fit(network.head_level[2], hidden, known.head_level.weight.T[: len(own)])
    return network.state_dict()


def other_experts(path, taken):
    """[(Denoiser, range of levels)] of the experts of a model that have none of the levels `taken`: what an export keeps of it.

    Errors: WrongModel, TrainingError where these levels are not the coder's (a model may have others).
    """
    model, kept, own = Model(path), [], default_levels()
    for expert in model.experts:
        if not set(expert.steps) & set(taken):
            first = max(expert.steps.start - 1, 0)
            if model.levels[first : expert.steps.stop] != own[first : expert.steps.stop]:
                raise TrainingError(
                    f"{path}: its levels {expert.steps[0]} to {expert.steps[-1]} are not those of the coder"
                )
            network = Denoiser(expert.config)
            network.load_state_dict(trainable(expert, model.levels))
            kept.append((network, expert.steps))
    return kept


def as_checkpoint(path, only=None):
    """What `Trainer.save` would write of the expert with the levels `only` (a range; None: of a model of one network): averaged weights, sizes, counts.

    Errors: WrongModel where path is no model, TrainingError where no one network has these levels.
    """
    model = Model(path)
    wanted = range(len(model.levels)) if only is None else only
    owners = [
        expert
        for expert in model.experts
        if wanted[0] in expert.steps and wanted[-1] in expert.steps
    ]
    if not owners:
        shares = ", ".join(f"{expert.steps[0]} to {expert.steps[-1]}" for expert in model.experts)
        raise TrainingError(
            f"no network of it has levels {wanted[0]} to {wanted[-1]}, they have {shares}: say which with --only"
        )
    told = model.description.get("training", {})
    return {
        "average": trainable(owners[0], model.levels),
        "config": owners[0].config.as_dict(),
        "steps": told.get("steps", 0),
        "minutes": float(told.get("minutes", 0)),
    }
