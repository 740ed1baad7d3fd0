"""A model ready to code: weights, levels, tables and id in one object.

`Model.open()` takes a shipped name, a path or an id and returns the thing whose `chain()` codes.
"""

from pathlib import Path

from bitsback.ans.gaussian_tables import Gaussians
from bitsback.coder.chain import Chain
from bitsback.diffusion.levels import Level
from bitsback.errors import WrongModel
from bitsback.integer.bias_updates import Deltas, by_expert, kinds, tuned_layers
from bitsback.integer.model_file import (
    ARITHMETIC,
    read_experts,
    read_model,
    read_steps,
    shipped_models,
    told_id,
)
from bitsback.integer.network import IntegerExperts, IntegerNetwork
from bitsback.integer.selftest import choose

DEFAULT_MODEL = "default"


class Model:
    """id: 64 hex digits; levels: tuple of Level; experts: tuple of Expert; description: what the file says of itself.

    layers and config are the first expert's, which has the finest levels.
    """

    def __init__(self, path):
        self.path = Path(path)
        tensors, self.description, self.id = read_model(path)
        if self.description.get("arithmetic") != ARITHMETIC:
            raise WrongModel(
                f"{path}: arithmetic {self.description.get('arithmetic')}, this program computes {ARITHMETIC}"
            )
        try:
            self.levels = tuple(Level(*pair) for pair in self.description["levels"])
            self.steps, self.experts = read_steps(tensors), read_experts(tensors, self.description)
            self.config, self.layers = self.experts[0].config, self.experts[0].layers
            self.gaussians = Gaussians(tensors["gaussian_masses"].numpy())
            self.forward = Gaussians(tensors["forward_masses"].numpy())
        except (KeyError, TypeError, ValueError) as error:
            raise WrongModel(f"{path}: not an exported model ({error})") from None
        self._chains, self._others = {}, {}

    @property
    def deltas(self):
        """The codec of its Deltas."""
        return Deltas(self.gaussians, kinds(self.experts))

    @property
    def knows_gray(self):
        """Whether one channel passes as trained for: a model that does not say is tried."""
        return bool(self.description.get("training", {}).get("grey", True))

    @classmethod
    def open(cls, name=None, *, model_id=None):
        """By shipped name or path (`name`), or the shipped model whose id begins with `model_id`.

        Errors: WrongModel, which says what is installed.
        """
        shipped = shipped_models()
        if name is None and model_id is None:
            name = DEFAULT_MODEL
        if name is not None:
            path = shipped.get(str(name), Path(name))
            if not Path(path).is_file():
                raise WrongModel(f"{name}: no such model; shipped: {', '.join(shipped) or 'none'}")
            return cls(path)
        for path in shipped.values():
            if (told_id(path) or "").startswith(model_id):
                return cls(path)
        raise WrongModel(
            f"made with model {model_id}, which is not installed; give it with --model PATH "
            f"or install the release that ships it (`bitsback models` lists what is here)"
        )

    @classmethod
    def of_file(cls, model, model_id):
        """The model a file was made with: `model`, a Model, name or path, if it is that one, else the shipped one, which a Model keeps for the next file.

        Errors: WrongModel.
        """
        if model is None:
            return cls.open(model_id=model_id)
        model = model if isinstance(model, cls) else cls.open(model)
        if model.id.startswith(model_id):
            return model
        if model_id not in model._others:
            model._others[model_id] = cls.open(model_id=model_id)
        return model._others[model_id]

    def chain(self, device="cpu", backend=None):
        """The codec of groups of pixels on `device`, by the fastest exact backend (selftest.choose).

        Made once a device, self-test included, unless a backend is given.
        """
        if backend is None and device in self._chains:
            return self._chains[device]
        chosen = backend or choose(self.layers, device)
        chain = self._chain([chosen] + [chosen.like(expert.layers) for expert in self.experts[1:]])
        if backend is None:
            self._chains[device] = chain
        return chain

    def tuned_chain(self, deltas, device="cpu"):
        """The codec with biases moved by deltas, all families' in one array of int32.  Errors: DamagedFile."""
        backends = [network.backend for _, network in self.chain(device).network.networks]
        parts = by_expert(deltas, self.experts)
        return self._chain(
            [
                backend.like(tuned_layers(expert.layers, part)) if part.any() else backend
                for backend, expert, part in zip(backends, self.experts, parts)
            ]
        )

    def _chain(self, backends):
        """A Chain of one backend an expert."""
        networks = [
            (expert.steps, IntegerNetwork(backend, expert.config, self.steps, expert.steps.start))
            for expert, backend in zip(self.experts, backends)
        ]
        return Chain(IntegerExperts(networks), self.gaussians, self.forward, self.levels)
