"""model_check.py: a file with the id of its integers may still be no model that codes."""

import copy

import pytest
import torch

from bitsback.coder.model import Model
from bitsback.coder.model_check import check_model
from bitsback.errors import WrongModel
from bitsback.integer.model_file import read_model, write_model


def _set(name, index, value):
    def change(tensors, description):
        tensors[name] = tensors[name].clone()
        tensors[name].flatten()[index] = value

    return change


def _made(name, make):
    return lambda tensors, description: tensors.update({name: make(tensors[name])})


def _told(*keys, value):
    def change(tensors, description):
        for key in keys[:-1]:
            description = description[key]
        description[keys[-1]] = value

    return change


BAD = {
    "rows missing": (_made("gaussian_masses", lambda t: t[32:].clone()), "rows"),
    "a wrong sum": (_set("gaussian_masses", 7, 2**20), "wrong sums"),
    "a negative frequency": (_set("forward_masses", 0, -1), "table of q: wrong sums"),
    "floating-point rows": (_made("forward_masses", lambda t: t.float()), "table of q: no table"),
    "rows of whole pixels missing": (_made("whole_masses", lambda t: t[:32].clone()), "rows"),
    "a scale beyond the table": (_set("steps.scale", 3, 113), "step 0: no such scale"),
    "a step missing": (_made("steps.scalars", lambda t: t[1:].clone()), "8 steps, 9 levels"),
    "a level of a scale that is not": (_told("levels", 1, 1, value=float("nan")), "level 1"),
    "a level without end": (_told("levels", 8, 0, value=10**9), "level 8: no such spacing"),
    "experts for ever": (_told("experts", 0, "steps", value=[0, 10**12]), "share all levels out"),
    "levels without number": (_told("levels", 0, value={}), "not an exported model"),
    "no level": (_told("levels", value=[]), "share all levels out"),
    "a layer missing": (lambda t, d: [t.pop(f"0.to2.{k}") for k in _LAYER], "to2"),
    "a stride of 0": (_set("0.to2.stride", 0, 0), "to2: no convolution"),
    "no bias": (_made("0.to2.bias", lambda t: t[:0].clone()), "to2: no convolution"),
    "weights of another type": (_made("0.to2.weight", lambda t: t.float()), "another type"),
    "a weight too large": (_set("0.to2.weight", 0, -128), "to2: weights beyond 64"),
    "a bias too large": (_set("0.to2.bias", 0, 2**24), "float32 is exact below"),
    "channels that do not fit": (
        _made("0.to2.weight", lambda t: t[:, 1:].clone()),
        "not a model that works",
    ),
}
_LAYER = ("weight", "bias", "shift", "stride")


@pytest.mark.parametrize("kind", BAD)
def test_no_model_that_codes(kind, tiny_model, tmp_path):
    """Each is refused by one line with the file's name, though its id is right."""
    tensors, description, _ = read_model(tiny_model.path)
    description = copy.deepcopy(description)
    change, reason = BAD[kind]
    change(tensors, description)
    path = tmp_path / "m.safetensors"
    write_model(path, tensors, description)
    with pytest.raises(WrongModel, match=reason) as error:
        check_model(Model(path))
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_models_that_code(tiny_model, expert_model, two_level_model):
    for model in (tiny_model, expert_model, two_level_model):
        check_model(model)


def test_a_model_that_decodes_to_other_pixels(tiny_model, monkeypatch):
    model = Model(tiny_model.path)
    chain = model.chain()
    monkeypatch.setattr(chain, "pop", lambda lanes, shape, *_: torch.zeros(shape).int().numpy())
    with pytest.raises(WrongModel, match="other pixels"):
        check_model(model)


def test_little_memory_is_no_fault_of_the_model(tiny_model, monkeypatch):
    model = Model(tiny_model.path)

    def push(*_):
        raise MemoryError

    monkeypatch.setattr(model.chain(), "push", push)
    with pytest.raises(MemoryError):
        check_model(model)
