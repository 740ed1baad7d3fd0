"""Model files: what is written is read back, and an id is that of the integers."""

import copy

import pytest
import torch
from safetensors.torch import save_file

from bitsback.coder.model import Model
from bitsback.errors import OutputExists, WrongModel
from bitsback.integer import model_file
from bitsback.integer.installed import MODEL_ARITHMETIC, shipped_models, stored_id
from bitsback.integer.model_file import model_id, read_model, write_model


@pytest.fixture
def contents(tiny_model):
    """(tensors, description), to be altered."""
    tensors, description, _ = read_model(tiny_model.path)
    return tensors, copy.deepcopy(description)


def test_what_is_written_is_read_back(tmp_path, contents):
    tensors, description = contents
    write_model(tmp_path / "m", tensors, description)
    again, told, found = read_model(tmp_path / "m")
    assert again.keys() == tensors.keys() and told == description | {"id": found}
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert found == stored_id(tmp_path / "m") == model_id(tensors, description)
    with pytest.raises(OutputExists):
        write_model(tmp_path / "m", tensors, description)


def test_an_id_depends_on_integers_and_what_they_mean(contents):
    """Not on the training that made them, nor on the order of the tensors."""
    tensors, description = contents
    before = model_id(tensors, description)
    assert model_id(dict(reversed(tensors.items())), description | {"training": {}}) == before
    for key in ("arithmetic", "experts", "levels"):
        assert model_id(tensors, description | {key: None}) != before
    for name in ("0.first.weight", "steps.scalars"):
        altered = tensors | {name: tensors[name].clone()}
        altered[name].flatten()[0] += 1
        assert model_id(altered, description) != before


def test_a_model_of_another_id_is_damaged(tmp_path, contents, monkeypatch):
    tensors, description = contents
    monkeypatch.setattr(model_file, "model_id", lambda *_: "0" * 64)
    write_model(tmp_path / "m", tensors, description)
    monkeypatch.undo()
    with pytest.raises(WrongModel, match="m: damaged.*0000"):
        read_model(tmp_path / "m")


@pytest.mark.parametrize("kind", ["none", "text", "without metadata"])
def test_other_files_are_no_models(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    if kind == "text":
        path.write_text("no model")
    elif kind == "without metadata":
        save_file({"a": torch.zeros(2)}, path)
    assert stored_id(path) is None
    reason = "No such file" if kind == "none" else "not a bitsback model"
    with pytest.raises(WrongModel, match=f"x.safetensors: {reason}"):
        read_model(path)


def test_experts_must_share_all_levels_out(tmp_path, contents):
    tensors, description = contents
    description["experts"][0]["steps"] = [0, len(description["levels"]) - 1]
    write_model(tmp_path / "m", tensors, description)
    with pytest.raises(WrongModel, match="not an exported model.*share all levels out"):
        Model(tmp_path / "m")


def test_another_arithmetic_is_refused(tmp_path, contents):
    tensors, description = contents
    write_model(tmp_path / "m", tensors, description | {"arithmetic": 1})
    with pytest.raises(WrongModel, match=f"arithmetic 1, .* {MODEL_ARITHMETIC}"):
        Model(tmp_path / "m")


def test_shipped_models_are_whole():
    """Each says its id, and it is that of its integers."""
    for name, path in shipped_models().items():
        assert path.stem == name and stored_id(path) == read_model(path)[2]
