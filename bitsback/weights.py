"""Model files: safetensors with one JSON string of metadata; ids; the models that are shipped.

A model file holds the tensors of a `Denoiser` in bfloat16 and says what it is:
`{"network": {...}, "training": {...}, "sigmas": [...]}`.  The id is a SHA-256 over the tensors'
names, shapes, dtypes and bytes and the description, so it does not depend on how the file is laid out.
"""
import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .denoiser import Denoiser, NetworkConfig
from .errors import WrongModel
from .lattice import gaussian_masses

MODELS = Path(__file__).parent / "models"
KEY = "bitsback"
MASSES = "gaussian_masses"


def model_id(tensors, description):
    """SHA-256, as hex, of what the coder's numbers depend on."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(f"{name} {tuple(t.shape)} {t.dtype}\n".encode())
        digest.update(t.view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return digest.hexdigest()


def save_model(path, network, description, levels):
    """Writes the weights in bfloat16, the coder's levels and tables, and `description` (JSON)."""
    description = description | {"levels": [[level.exponent, level.step] for level in levels]}
    tensors = {k: v.detach().cpu().to(torch.bfloat16).contiguous() for k, v in network.state_dict().items()}
    tensors[MASSES] = torch.from_numpy(gaussian_masses())
    save_file(tensors, path, metadata={KEY: json.dumps(description, sort_keys=True)})


def read_model(path):
    """(tensors, description, id) of a model file; WrongModel if it is not one."""
    try:
        with safe_open(str(path), framework="pt") as f:
            description = json.loads((f.metadata() or {})[KEY])
            tensors = {name: f.get_tensor(name) for name in f.keys()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WrongModel(f"{path}: not a bitsback model ({error})") from None
    return tensors, description, model_id(tensors, description)


def load_network(tensors, description, source="model"):
    """A `Denoiser` in float32 with these weights, ready to evaluate."""
    try:
        network = Denoiser(NetworkConfig(**description["network"]))
        network.load_state_dict({k: v.float() for k, v in tensors.items() if k != MASSES})
    except (KeyError, TypeError, RuntimeError) as error:
        raise WrongModel(f"{source}: weights and description do not fit ({str(error).splitlines()[0]})") from None
    return network.eval().requires_grad_(False)


def shipped_models():
    """{name: path} of the models inside the package."""
    return {path.stem: path for path in sorted(MODELS.glob("*.safetensors"))}
