"""A model ready to code: weights, levels, tables and id in one object.

`Model.open()` takes a shipped name, a path or an id and returns the thing whose `chain()` codes.
"""
from functools import cached_property
from pathlib import Path

import torch

from .chain import Chain
from .errors import WrongModel
from .float_network import FloatNetwork
from .lattice import Gaussians
from .levels import Level, make_steps
from .weights import MASSES, load_network, read_model, shipped_models

DEFAULT = "default"


class Model:
    """id: 64 hex digits; levels: tuple of Level; description: what the file says of itself."""

    def __init__(self, path):
        self.path = Path(path)
        self._tensors, self.description, self.id = read_model(path)
        if MASSES not in self._tensors or "levels" not in self.description:
            raise WrongModel(f"{path}: a checkpoint, not an exported model: run `bitsback export` on it")
        self.levels = tuple(Level(*pair) for pair in self.description["levels"])

    @classmethod
    def open(cls, name=None, *, model_id=None):
        """By shipped name or path (`name`), or the shipped model whose id begins with `model_id`.

        Errors: WrongModel, which says what is installed.
        """
        shipped = shipped_models()
        if name is None and model_id is None:
            name = DEFAULT
        if name is not None:
            path = shipped.get(str(name), Path(name))
            if not Path(path).is_file():
                raise WrongModel(f"{name}: no such model; shipped: {', '.join(shipped) or 'none'}")
            model = cls(path)
            if model_id and not model.id.startswith(model_id):
                raise WrongModel(f"{name}: is model {model.id[:16]}, but the file was made with {model_id}")
            return model
        for path in shipped.values():
            model = cls(path)
            if model.id.startswith(model_id):
                return model
        raise WrongModel(f"made with model {model_id}, which is not installed; give it with --model PATH "
                         f"or install the release that ships it (`bitsback models` lists what is here)")

    @cached_property
    def gaussians(self):
        return Gaussians(self._tensors[MASSES].numpy())

    def chain(self, device="cpu"):
        """The codec of groups of pixels on `device`."""
        network = load_network(self._tensors, self.description, self.path)
        network = network.to(memory_format=torch.channels_last)
        steps = make_steps(self.levels)
        return Chain(FloatNetwork(network, steps, device, self.description["integer"]), self.gaussians, self.levels)
