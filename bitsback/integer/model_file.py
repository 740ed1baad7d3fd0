"""Model files: safetensors with one JSON string of metadata; ids.

A model file holds integers only (export.py).  Its metadata are `{"arithmetic": 7, "experts":
[{"network": {...}, "steps": [0, K], "family": 0}], "levels": [...], "training": {...}, "id": ...}`.
The file of an ensemble has "ensemble" (ensemble.py) in place of "experts", and no integers but, if
any, rows for pixels.
The id is a SHA-256 over the integers and their meaning; it depends neither on the file's layout nor
on `training`.  Where model files are, and what their heads say without torch: installed.py.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from bitsback.ans.gaussian_tables import FRACTIONS, MIN_FREQUENCY, SCALES, TOTAL, Gaussians
from bitsback.ans.row_table import COLUMNS
from bitsback.diffusion.steps import Step
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.errors import WrongModel
from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import Layer
from bitsback.integer.experts import Expert, families_fit, share_out
from bitsback.integer.installed import KEY, no_model
from bitsback.outputs import write

Tensors = Mapping[str, torch.Tensor]
# What a file that is no model raises in safetensors, json, torch and in the functions below
UNREADABLE = (
    OSError,
    SafetensorError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def model_id(tensors: Tensors, description: Mapping[str, Any]) -> str:
    """SHA-256, 64 hex digits, of the tensors and of the parts of the description they depend on."""
    meaning = {key: description.get(key) for key in ("arithmetic", "experts", "levels")}
    if "ensemble" in description:
        meaning["ensemble"] = description["ensemble"]
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(f"{name} {tuple(t.shape)} {t.dtype}\n".encode())
        digest.update(t.numpy().astype(t.numpy().dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def write_model(
    path: str | Path,
    tensors: dict[str, torch.Tensor],
    description: Mapping[str, Any],
    *,
    force: bool = False,
) -> None:
    """Writes a model file, the id in its metadata, where `stored_id` finds it at once.

    Errors: as outputs.write's.
    """
    metadata = {**description, "id": model_id(tensors, description)}
    write(save(tensors, {KEY: json.dumps(metadata, sort_keys=True)}), path, force=force)


def read_model(
    path: str | Path, data: bytes | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    """(tensors, description, id) of a model file.

    data: the file's bytes, read already; else the tensors are those of the mapped file, which must
    not be written to.  Errors: WrongModel.
    """
    try:
        metadata, tensors = _mapped(path) if data is None else _loaded(data)
        description = json.loads(metadata[KEY])
        found = model_id(tensors, description)
        said = str(description.get("id", found))
    except UNREADABLE as error:
        raise no_model(path, error) from None
    if said != found:
        raise WrongModel(f"{path}: damaged, its numbers are not those of model {said[:16]}")
    return tensors, description, found


def _mapped(path):
    """(metadata, tensors) of a file."""
    open(path, "rb").close()  # its error says why; safetensors' own says "no such file"
    with safe_open(str(path), framework="pt") as f:
        return f.metadata() or {}, {name: f.get_tensor(name) for name in f.keys()}


def _loaded(data):
    """(metadata, tensors) of a file's bytes."""
    tensors = load(data)  # refuses bytes whose head is not whole
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return head.get("__metadata__", {}), tensors


def read_experts(tensors: Tensors, description: Mapping[str, Any]) -> tuple[Expert, ...]:
    """The experts in a model file's tensors and description.

    Errors: KeyError, TypeError, ValueError where they are no model.
    """
    experts = []
    for i, sizes in enumerate(description["experts"]):
        start, end = f"{i}.", ".weight"
        names = [
            name[len(start) : -len(end)]
            for name in tensors
            if name.startswith(start) and name.endswith(end)
        ]
        layers = {
            name: Layer(
                tensors[f"{i}.{name}.weight"],
                tensors[f"{i}.{name}.bias"],
                tensors[f"{i}.{name}.shift"],
                int(tensors[f"{i}.{name}.stride"][0]),
            )
            for name in names
        }
        experts.append(
            Expert(
                NetworkConfig.from_dict(sizes["network"]),
                range(*sizes["steps"]),
                layers,
                sizes["family"],
            )
        )
    if not share_out([expert.steps for expert in experts], len(description["levels"])):
        raise ValueError("its experts do not share all levels out")
    if not families_fit(
        [expert.family for expert in experts], [expert.config for expert in experts]
    ):
        raise ValueError("its experts' families do not fit")
    return tuple(experts)


def read_steps(tensors: Tensors) -> list[Step]:
    """The integer constants of each step, in a model file's tensors."""
    arrays = {
        name: tensors[f"steps.{name}"].numpy() for name in ("scale", "gain", "shift", "inverse")
    }
    return [
        Step(*row, **{name: array[k] for name, array in arrays.items()})
        for k, row in enumerate(tensors["steps.scalars"].tolist())
    ]


def with_pixel_rows(tensors: Tensors, gaussians: Gaussians, step: Step) -> tuple[Gaussians, Step]:
    """The table of p and step 0 of an ensemble: as they are, or with its own rows for pixels.

    Errors: ValueError where these are no table.
    """
    if "pixel_masses" not in tensors:
        return gaussians, step
    rows, known = tensors["pixel_masses"].numpy(), gaussians.frequencies
    if rows.shape != (SCALES * FRACTIONS, COLUMNS) or rows.dtype != np.int32:
        raise ValueError("pixel_masses are no table")
    if rows.min() < MIN_FREQUENCY or (rows.sum(1, dtype=np.int64) != TOTAL).any():
        raise ValueError("pixel_masses are no frequencies")
    begin = len(known) // FRACTIONS
    return Gaussians(np.concatenate([known, rows])), replace(step, scale=step.scale + begin)


def read_rows(tensors: Tensors) -> tuple[Gaussians, WholeRows | None]:
    """The table of p, and which of its rows know that pixels are whole (whole_pixels.py): None in
    models made before there were any."""
    rows = tensors["gaussian_masses"].numpy()
    if "whole_masses" not in tensors:
        return Gaussians(rows), None
    whole = WholeRows(len(rows) // FRACTIONS, *tensors["whole.scalars"].tolist())
    return Gaussians(np.concatenate([rows, tensors["whole_masses"].numpy()])), whole
