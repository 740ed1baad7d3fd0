"""A model ready to code: weights, levels, tables and id in one object.

`Model.open()` takes a name, a path or an id; the model's `chain()` is the codec.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bitsback.ans.device_lanes import Kernels
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.coder.chain import Chain
from bitsback.devices import current, settle
from bitsback.diffusion.levels import Level
from bitsback.errors import WrongModel
from bitsback.integer.bias_updates import BiasUpdates, by_expert, kinds, updated_layers
from bitsback.integer.convolution import Reference
from bitsback.integer.ensemble import (
    IntegerEnsemble,
    Plan,
    check_passes,
    read_plan,
    same_tables,
)
from bitsback.integer.experts import Expert
from bitsback.integer.installed import (
    ENSEMBLE_ARITHMETIC,
    ID_DIGITS,
    MODEL_ARITHMETIC,
    find_model,
    models_of_id,
    other_arithmetic,
)
from bitsback.integer.model_file import (
    UNREADABLE,
    Tensors,
    read_experts,
    read_model,
    read_rows,
    read_steps,
    with_pixel_rows,
)
from bitsback.integer.network import IntegerExperts, IntegerNetwork
from bitsback.integer.selftest import choose
from bitsback.locks import ForkLock

DEFAULT_MODEL = "default"


class Model:
    """A model file in memory.

    id: 64 hex digits; levels: tuple of Level; steps: of Step; experts: of Expert; config and
    layers: of the first expert, which has the finest levels; description: the file's metadata.
    plan: of an ensemble (integer/ensemble.py), whose tables and experts are those of the first of
    its `models`; else None, and `models` is this one alone.
    data: as of read_model.  Errors: WrongModel, also where a model of an ensemble is not here.
    """

    plan: Plan | None = None

    def __init__(self, path: str | Path, data: bytes | None = None):
        self.path = Path(path)
        tensors, self.description, self.id = read_model(path, data)
        arithmetic = self.description.get("arithmetic")
        known = (MODEL_ARITHMETIC, ENSEMBLE_ARITHMETIC)
        if type(arithmetic) is not int or arithmetic not in known:
            raise WrongModel(other_arithmetic(path, arithmetic))
        try:
            self.levels = tuple(Level(*pair) for pair in self.description["levels"])
            if arithmetic == MODEL_ARITHMETIC:
                self._read_integers(tensors)
            else:
                self._open_models(tensors)
        except UNREADABLE as error:
            raise WrongModel(f"{path}: not an exported model ({error})") from None
        self.config, self.layers = self.experts[0].config, self.experts[0].layers
        self._chains: dict[str, Chain] = {}
        self._others: dict[str, Model] = {}
        self._lock = ForkLock()  # threads share a model: what is built once is built by one

    def _read_integers(self, tensors: Tensors) -> None:
        self.steps, self.experts = read_steps(tensors), read_experts(tensors, self.description)
        self.gaussians, self.whole = read_rows(tensors)
        self.forward = Gaussians(tensors["forward_masses"].numpy())
        self.models: tuple[Model, ...] = (self,)

    def _open_models(self, tensors: Tensors) -> None:
        """Errors: WrongModel where a model is not here; ValueError where one does not fit."""
        if tensors.keys() - {"pixel_masses"} or "experts" in self.description:
            raise ValueError("an ensemble has no integers of its own but rows for pixels")
        ids, self.plan = read_plan(self.description)
        self.models = tuple(self._member(model_id) for model_id in ids)
        first, *others = self.models
        if first.levels != self.levels or any(not same_tables(first, one) for one in others):
            raise ValueError("its models have other levels or tables than one another")
        check_passes(
            [[e.config.passes for e in one.experts for _ in e.steps] for one in self.models],
            self.plan,
        )
        self.levels = first.levels  # numbers equal to them may be of another type
        self.experts, self.whole, self.forward = first.experts, first.whole, first.forward
        self.gaussians, pixels = with_pixel_rows(tensors, first.gaussians, first.steps[0])
        self.steps = [pixels, *first.steps[1:]]

    def _member(self, model_id: str) -> "Model":
        digits = model_id[:ID_DIGITS]
        try:
            model = Model.open(model_id=model_id)
        except WrongModel:
            raise WrongModel(
                f"{self.path}: an ensemble, of which model {digits} is not here: add its file by "
                "`bitsback models add FILE`"
            ) from None
        if model.plan:
            raise ValueError(f"model {digits} is an ensemble itself")
        return model

    @property
    def update_codec(self) -> BiasUpdates:
        """The codec of this model's bias updates."""
        return BiasUpdates(self.gaussians, kinds(self.experts))

    @property
    def all_experts(self) -> list[Expert]:
        """The experts of all of its models."""
        return [expert for model in self.models for expert in model.experts]

    @property
    def codes_gray(self) -> bool:
        """Whether the model was trained on gray images too; True where its file does not say."""
        if self.plan:
            return all(model.codes_gray for model in self.models)
        training = self.description.get("training")
        return not isinstance(training, dict) or bool(training.get("grey", True))

    @classmethod
    def open(cls, name: str | os.PathLike | None = None, *, model_id: str | None = None) -> "Model":
        """By name, path or digits of an id (find_model), or the model whose id begins with
        `model_id`, shipped or added, the first that is whole.

        Errors: WrongModel, with the names of the models that are here.
        """
        if name is not None or model_id is None:
            return cls(find_model(DEFAULT_MODEL if name is None else name))
        errors = []
        for path in models_of_id(str(model_id)):
            try:
                return cls(path)
            except WrongModel as error:
                errors.append(error)
        raise errors[0]

    @classmethod
    def of_file(cls, model: "Model | str | os.PathLike | None", model_id: str) -> "Model":
        """The model that a file was made with: `model` if its id fits, else the one that is here.

        model: a Model, which keeps the other one for the next file, or a name or path.
        Errors: WrongModel.
        """
        if model is None:
            return cls.open(model_id=model_id)
        model = model if isinstance(model, Model) else cls.open(model)
        if model.id.startswith(model_id):
            return model
        with model._lock:
            if model_id not in model._others:
                try:
                    model._others[model_id] = cls.open(model_id=model_id)
                except WrongModel as error:
                    given = f"; the one that is given is {model.id[:ID_DIGITS]}"
                    raise WrongModel(f"{error}{given}") from None
            return model._others[model_id]

    def chain(
        self,
        device: str = "cpu",
        backend: Reference | None = None,
        kernels: Kernels | None = None,
    ) -> Chain:
        """The codec of segments on `device`, by the fastest exact backend (selftest.choose).

        kernels: given, segments are coded as tensors there, with these Triton kernels; None for
        what pays: tensors on a GPU where the kernels of lanes run, arrays of numpy elsewhere.
        Built once per device, self-tests included, unless a backend is given.
        Errors: BitsbackError where no backend is exact.
        """
        if backend is None:
            with self._lock:
                if device not in self._chains:
                    self._chains[device] = self._built(device, None, kernels)
                return self._chains[device]
        return self._built(device, backend, kernels)

    def _built(self, device: str, backend: Reference | None, kernels: Kernels | None) -> Chain:
        """As `chain`, anew.  Its arrays are on the device when it returns, for all streams."""
        chosen = backend or choose(self.layers, device)
        backends = [chosen] + [chosen.like(expert.layers) for expert in self.experts[1:]]
        if kernels is None and torch.device(device).type != "cpu":
            from bitsback.coder.kernel_selftest import usable_kernels

            with current(device):
                usable, _ = usable_kernels(self.gaussians, self.forward, torch.device(device))
            kernels = usable if usable.lanes else None
        others = [
            one._network([chosen.like(expert.layers) for expert in one.experts])
            for one in self.models[1:]
        ]
        chain = self._chain(backends, others, kernels)
        settle(device)
        return chain

    def tuned_chain(self, updates: np.ndarray, device: str = "cpu") -> Chain:
        """The codec with updated biases.  updates: int32, of all families.  Errors: DamagedFile."""
        chain = self.chain(device)
        network, parts = chain.network, by_expert(updates, self.experts)
        backends = [
            one.backend.like(updated_layers(expert.layers, part)) if part.any() else one.backend
            for (_, one), expert, part in zip(network.networks, self.experts, parts)
        ]
        return self._chain(backends, network.models[1:], chain.kernels if chain.tensors else None)

    def _network(self, backends: Sequence[Reference]) -> IntegerExperts:
        """The network of its own experts, one backend for each."""
        return IntegerExperts(
            [
                (expert.steps, IntegerNetwork(backend, expert.config, self.steps, expert.steps[0]))
                for expert, backend in zip(self.experts, backends)
            ]
        )

    def _chain(
        self,
        backends: Sequence[Reference],
        others: Sequence[IntegerExperts],
        kernels: Kernels | None,
    ) -> Chain:
        """A Chain of its experts, one backend for each, and an ensemble's other models."""
        own = self._network(backends)
        network = IntegerEnsemble([own, *others], self.plan) if self.plan else own
        arrays = network, self.gaussians, self.forward, self.levels
        if kernels is None:
            return Chain(*arrays, whole=self.whole)
        return Chain(*arrays, True, kernels, self.whole)
