"""Model files: safetensors with one JSON string of metadata; ids; the models that are shipped.

A model file holds integers only (export.py) and says what it is: `{"arithmetic": 7, "experts":
[{"network": {...}, "steps": [0, K], "family": 0}], "levels": [...], "training": {...}, "id": ...}`.  The id is a SHA-256 over the integers and what they
mean; it depends neither on how the file is laid out nor on what is told of the training.
"""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bitsback.diffusion.steps import Step
from bitsback.errors import WrongModel
from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import Layer
from bitsback.integer.experts import Expert, families_fit, share_out
from bitsback.outputs import write

MODELS = Path(__file__).resolve().parents[1] / "models"
KEY = "bitsback"
ARITHMETIC = 7  # version of ARITHMETIC.md


def model_id(tensors, description):
    """SHA-256, as hex, of what the coder's numbers depend on."""
    meaning = {key: description.get(key) for key in ("arithmetic", "experts", "levels")}
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(f"{name} {tuple(t.shape)} {t.dtype}\n".encode())
        digest.update(t.numpy().astype(t.numpy().dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def write_model(path, tensors, description, *, force=False):
    """Writes a model file; its description says the id, so that a model is found by it without reading all that are shipped.  Errors: as outputs.write's."""
    told = description | {"id": model_id(tensors, description)}
    write(save(tensors, {KEY: json.dumps(told, sort_keys=True)}), path, force=force)


def told_id(path):
    """The id that a model file says it has, without reading its integers; None where it says none or is no model."""
    try:
        with safe_open(str(path), framework="pt") as f:
            return json.loads((f.metadata() or {})[KEY])["id"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def read_model(path):
    """(tensors, description, id) of a model file; WrongModel if it is not one."""
    try:
        with safe_open(str(path), framework="pt") as f:
            description = json.loads((f.metadata() or {})[KEY])
            tensors = {name: f.get_tensor(name) for name in f.keys()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WrongModel(f"{path}: not a bitsback model ({error})") from None
    found = model_id(tensors, description)
    if description.get("id", found) != found:
        raise WrongModel(
            f"{path}: damaged, its numbers are not those of model {str(description['id'])[:16]}"
        )
    return tensors, description, found


def read_experts(tensors, description):
    """The tuple of Expert out of a model file's tensors and description.  Errors: KeyError, TypeError, ValueError where it is no model."""
    experts = []
    for i, told in enumerate(description["experts"]):
        start, end = f"{i}.", ".weight"
        names = [
            name[len(start) : -len(end)]
            for name in tensors
            if name.startswith(start) and name.endswith(end)
        ]
        layers = {
            name: Layer(
                *(tensors[f"{i}.{name}.{part}"] for part in ("weight", "bias", "shift")),
                int(tensors[f"{i}.{name}.stride"][0]),
            )
            for name in names
        }
        experts.append(
            Expert(
                NetworkConfig.from_dict(told["network"]),
                range(*told["steps"]),
                layers,
                told["family"],
            )
        )
    if not share_out([expert.steps for expert in experts], len(description["levels"])):
        raise ValueError("its experts do not share all levels out")
    if not families_fit(
        [expert.family for expert in experts], [expert.config for expert in experts]
    ):
        raise ValueError("its experts' families do not fit")
    return tuple(experts)


def read_steps(tensors):
    """The list of Step out of a model file's tensors."""
    arrays = {
        name: tensors[f"steps.{name}"].numpy() for name in ("scale", "gain", "shift", "inverse")
    }
    return [
        Step(*row, **{name: array[k] for name, array in arrays.items()})
        for k, row in enumerate(tensors["steps.scalars"].tolist())
    ]


def shipped_models():
    """{name: path} of the models inside the package."""
    return {path.stem: path for path in sorted(MODELS.glob("*.safetensors"))}
