"""Ensembles in floating point, for their bound; and their files, from TOML.

    [[step]]
    levels = [0, 4]                        # the first and the last
    member = [["best-1.0", "", 3], ["best-1.0", "columns", 3], ["default", "rows", 2]]
    [[source]]                             # if any: as in recipes of training (recipe.py)

A member is a model, what of its input is mirrored ("", "columns", "rows" or "both"), and its
weight; weights add up to a power of two.  Bias updates are for the model that comes first.  To the
held-out images of the sources the rows for pixels are fitted.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitsback.coder.model import Model
from bitsback.diffusion.levels import Levels, sigmas
from bitsback.errors import TrainingError, WrongModel
from bitsback.integer.ensemble import read_plan
from bitsback.integer.flips import (
    COLUMNS,
    ROWS,
    flipped_in_zeros,
    flipped_pixels,
    restored_pixels,
)
from bitsback.integer.installed import ENSEMBLE_ARITHMETIC
from bitsback.integer.model_file import write_model
from bitsback.train.dequantise import dequantised_model
from bitsback.train.experts import Experts
from bitsback.train.pixel_rows import pixel_frequencies, value_counts

KEYS = {"levels", "member"}  # of a step
FLIPS = {"": 0, "columns": COLUMNS, "rows": ROWS, "both": COLUMNS | ROWS}


class FloatEnsemble(nn.Module):
    """The ensemble's networks as floats, with their weighted means (a BoundNetwork).

    model: an ensemble; evaluated at its own levels.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert model.plan
        self.plan = model.plan
        self.networks = nn.ModuleList(dequantised_model(one) for one in model.models)
        self.logs = torch.tensor(sigmas(model.levels)).log()

    def trunk(self, y: Tensor, log_sigma: Tensor, integer: bool = False) -> tuple[Tensor, Any, Any]:
        """Denoiser.trunk, but of all members; log_sigma: of one level."""
        members = self.plan[int((log_sigma[0].cpu() - self.logs).abs().argmin())]
        total, states = y.new_zeros(()), []
        for number, flips, weight in members:
            network: Any = self.networks[number]
            out, features, e = network.trunk(flipped_pixels(y, flips), log_sigma, integer)
            total = total + weight * restored_pixels(out, flips, *y.shape[2:])
            states.append((features, e))
        return total / sum(member.weight for member in members), states, members

    def heads(
        self,
        features: Any,
        e: Any,
        log_ratio: Tensor,
        pixels: Tensor,
        innovations: Tensor,
        integer: bool = False,
    ) -> Tensor:
        """Denoiser.heads of the members whose trunk returned `features` and `e`."""
        total: Any = 0.0
        for (number, flips, weight), (own, embedding) in zip(e, features):
            network: Any = self.networks[number]
            known = flipped_in_zeros(innovations, flips)
            out = network.heads(own, embedding, log_ratio, pixels, known, integer)
            total = total + weight * restored_pixels(out, flips, *innovations.shape[2:])
        return total / sum(member.weight for member in e)


def bound_network(model: Model) -> Experts | FloatEnsemble:
    """The network of a model as floats, for the bound."""
    return FloatEnsemble(model) if model.plan else dequantised_model(model)


def save_ensemble(
    table: Mapping[str, Any],
    path: str | Path,
    images: Sequence[np.ndarray] = (),
    *,
    force: bool = False,
) -> Model:
    """Writes the model file of an ensemble, described as in the TOML above, and opens it.

    Models are named as Model.open takes them.  images: (H, W, 3) uint8, sides multiples of 8, that
    no network was trained on: rows for pixels are fitted to them (pixel_rows.py).  Errors:
    TrainingError, WrongModel; as outputs.write's.
    """
    description, tensors = _description(table), {}
    with tempfile.TemporaryDirectory() as folder:  # nothing is written that is no model
        plain = Path(folder) / "plain.safetensors"
        write_model(plain, {}, description)
        try:
            model = Model(plain, plain.read_bytes())  # not mapped: it is removed
        except WrongModel as error:
            told = str(error).removeprefix(f"{plain}: not an exported model ")
            raise TrainingError(f"not an ensemble {told}") from None
        if images:
            counts = value_counts(model, images)
            rows = pixel_frequencies(counts, model.gaussians.frequencies)
            tensors = {"pixel_masses": torch.from_numpy(rows)}
    write_model(path, tensors, description, force=force)
    return Model(path)


def _description(table: Mapping[str, Any]) -> dict[str, Any]:
    """The description in a model file.  Errors: TrainingError, WrongModel."""
    models: dict[str, Model] = {}
    try:
        steps: list[list[list[int]]] = []
        levels: Levels = ()
        if unknown := {*table} - {"step", "source"} | {k for s in table["step"] for k in s} - KEYS:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        for step in table["step"]:
            members = []
            for name, flips, weight in step["member"]:
                models.setdefault(name, Model.open(name))
                members.append([list(models).index(name), FLIPS[flips], weight])
            first, last = step["levels"]
            levels = next(iter(models.values())).levels
            if first != len(steps) or not first <= last < len(levels):
                raise ValueError("levels are 0 to the last, in order")
            steps += [members] * (last + 1 - first)
        description = {
            "arithmetic": ENSEMBLE_ARITHMETIC,
            "levels": [[level.exponent, level.step] for level in levels],
            "ensemble": {"models": [model.id for model in models.values()], "steps": steps},
        }
        read_plan(description)
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"not an ensemble ({type(error).__name__}: {error})") from None
    return description
