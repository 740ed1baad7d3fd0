"""Ensembles: means of several evaluations, their files, and their bound."""

import copy
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from bitsback.ans.lanes import random_lanes
from bitsback.cli.main import main
from bitsback.codecs import decode
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.model_check import check_model
from bitsback.coder.models_folder import add_model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import default_levels
from bitsback.errors import TrainingError, WrongModel
from bitsback.integer.bias_updates import count, kinds
from bitsback.integer.ensemble import IntegerEnsemble, read_plan
from bitsback.integer.flips import flipped_pixels
from bitsback.integer.installed import FOLDER_VARIABLE
from bitsback.integer.model_file import read_model, write_model
from bitsback.train.ensemble import bound_network, save_ensemble
from bitsback.train.measure import bound_bits
from bitsback.train.restart import as_checkpoint, other_experts
from bitsback.tune.tuning import tune
from tests.commands import call, error_lines, names
from tests.conftest import FOUR, ensemble_of, random_network, unshuffled
from tests.second_decoder.decoder import decode_file
from tests.second_decoder.ensemble import Ensemble, EnsembleFile
from tests.second_decoder.network import Model as NumpyModel

SIZES = [(16, 24), (13, 9), (1, 1)]


@pytest.fixture
def added(ensemble_model, monkeypatch):
    """The ensemble's models are in the user's folder."""
    folder = ensemble_model.path.parent / "added"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder, empty."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def parts(ensemble_model):
    """Its models by the names of tests/conftest.py."""
    return dict(zip("ab", ensemble_model.models))


def numpy_ensemble(model):
    models = [NumpyModel(one.path.read_bytes()) for one in model.models]
    return Ensemble(EnsembleFile(model.path.read_bytes()), models)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("size", SIZES)
def test_outputs_are_those_of_the_specification(ensemble_model, k, size, together):
    """Trunk and heads; members of one model one after the other, and in one batch as on a GPU."""
    network, reference = ensemble_model.chain().network, numpy_ensemble(ensemble_model)
    if together:
        network = copy.copy(network)
        network._runs = [network._runs_of(members, True) for members in network.plan]
        assert len(network._runs[0]) == 2
    rng = np.random.default_rng(k)
    n = rng.integers(-200, 200, (2, 3, *size), dtype=np.int32)
    out, state = network.trunk(k, torch.from_numpy(n))
    height, width = (2 * side for side in network.blocks(k, *size))
    known = rng.integers(-96, 97, (2, 3, height, width))
    innovations = torch.from_numpy(unshuffled(known))
    expected = [reference.trunk(k, one.astype(np.int64)) for one in n]
    for i, (theirs, _) in enumerate(expected):
        assert np.array_equal(out[i].numpy(), theirs[:, : size[0], : size[1]])
    for pass_number in (1, 2, 3):
        ours = network.head(k, pass_number, state, innovations)
        for i, (_, own) in enumerate(expected):
            assert np.array_equal(ours[i].numpy(), reference.head(k, pass_number, known[i], own))


def test_the_ids_agree(ensemble_model):
    assert ensemble_model.id == numpy_ensemble(ensemble_model).file.id()
    assert ensemble_model.id == read_model(ensemble_model.path)[2]


def test_it_codes_and_is_not_its_first_model(ensemble_model, photograph):
    """The pixels come back, and the bytes are not those of its first model."""
    pixels = photograph(49, 58)
    x = pixels.transpose(2, 0, 1)[None].astype(np.int32) - 128
    top = Top.fitted([pixels], ensemble_model.levels)
    found = []
    for model in (ensemble_model, ensemble_model.models[0]):
        chain, lanes = model.chain(), random_lanes(x.size, 2)
        before = lanes.to_bytes()
        chain.push(lanes, x, top, no_context(x))
        found.append(lanes.to_bytes())
        assert np.array_equal(chain.pop(lanes, x.shape, top, no_context(x)), x)
        assert lanes.to_bytes() == before
    assert found[0] != found[1]


def test_one_member_is_the_model_on_a_canvas(parts, tmp_path, photograph):
    """Outputs of an ensemble of one are those of its model for the reflected input, cut."""
    same = ensemble_of(tmp_path, parts, [{"levels": [0, 1], "member": [["a", "", 2]]}])
    n = torch.from_numpy(photograph(24, 33).transpose(2, 0, 1)[None].astype(np.int32))
    out, _ = same.chain().network.trunk(1, n)
    whole, _ = parts["a"].chain().network.trunk(1, flipped_pixels(n, 0))
    assert torch.equal(out, whole[:, :, 4:28, 4:37])
    assert not torch.equal(out, parts["a"].chain().network.trunk(1, n)[0])


def test_a_decoder_finds_it_by_id(ensemble_model, added, prior_file, photograph):
    """A file in segments, on the host; and by the second decoder."""
    add_model(ensemble_model.path)
    pixels = photograph(96, 104)
    data = prior_file(pixels, ensemble_model)
    assert np.array_equal(decode(data), pixels)
    files = [path.read_bytes() for path in sorted(added.iterdir())]
    assert np.array_equal(decode_file(data, files)[0].samples, pixels)


def test_bias_updates_are_the_first_models(ensemble_model, photograph):
    updates = np.zeros(sum(count(layers) for layers in kinds(ensemble_model.experts)), np.int32)
    updates[::7] = 20
    tuned, plain = ensemble_model.tuned_chain(updates).network, ensemble_model.chain().network
    assert isinstance(tuned, IntegerEnsemble) and tuned.models[1] is plain.models[1]
    n = torch.from_numpy(photograph(16, 16).transpose(2, 0, 1)[None].astype(np.int32))
    assert not torch.equal(tuned.trunk(0, n)[0], plain.trunk(0, n)[0])
    alone = ensemble_model.models[0].tuned_chain(updates).network
    assert torch.equal(tuned.models[0].trunk(0, n)[0], alone.trunk(0, n)[0])


def test_tuning_finds_updates_of_the_first_model(ensemble_model, photograph):
    updates = tune(ensemble_model, [photograph(256, 264)], 6)
    assert updates is None or len(updates) == sum(map(count, kinds(ensemble_model.experts)))


def test_the_bound_is_of_its_means(ensemble_model, photograph):
    """The float ensemble's outputs are the integers'; the bound is not that of either model."""
    x = torch.from_numpy(photograph(48, 56)).permute(2, 0, 1)[None].float() - 128
    network = bound_network(ensemble_model)
    log_sigma = network.logs[:1]
    out, _, _ = network.trunk(x, log_sigma, True)
    spacing = default_levels()[0].spacing
    integers, _ = ensemble_model.chain().network.trunk(0, (x / spacing).to(torch.int32))
    units = torch.tensor([256.0] * 3 + [16 / np.log(2)] * 3 + [64.0] * 3).view(1, 9, 1, 1)
    assert ((out * units - integers).abs() <= 2).float().mean() > 0.98
    bits = [
        sum(bound_bits(bound_network(model), model.levels, x, True))
        for model in (ensemble_model, *ensemble_model.models)
    ]
    assert len(set(bits)) == 3


def test_members_that_are_missing_are_named(ensemble_model):
    """The models are not among those of the user here."""
    missing = ensemble_model.models[0].id[:16]
    told = (
        f"an ensemble, of which model {missing} is not here: add its file by `bitsback models add"
    )
    with pytest.raises(WrongModel, match=told):
        Model(ensemble_model.path)


def test_an_ensemble_is_no_member(ensemble_model, added, tmp_path):
    add_model(ensemble_model.path)
    step = {"levels": [0, 1], "member": [[ensemble_model.id, "", 1]]}
    with pytest.raises(TrainingError, match="is an ensemble itself"):
        save_ensemble({"step": [step]}, tmp_path / "e.safetensors")
    assert not [*tmp_path.iterdir()]


def plan_of(*steps, models=("a" * 64, "b" * 64)):
    return {"levels": [0] * len(steps), "ensemble": {"models": list(models), "steps": list(steps)}}


BAD = {
    "no members": plan_of([]),
    "weights of no power of two": plan_of([[0, 0, 1], [1, 0, 2]]),
    "a weight of 0": plan_of([[0, 0, 0], [1, 0, 1]]),
    "weights too large": plan_of([[0, 0, 128]]),
    "a flip that is none": plan_of([[0, 4, 1]]),
    "a model that is none": plan_of([[2, 0, 1]]),
    "a negative model": plan_of([[-1, 0, 1]]),
    "a member twice": plan_of([[0, 1, 1], [0, 1, 1]]),
    "a fraction": plan_of([[0, 0, 1.0]]),
    "true": plan_of([[0, 0, True]]),
    "a member of two numbers": plan_of([[0, 0]]),
    "a model twice": plan_of([[0, 0, 1]], models=["a" * 64] * 2),
    "digits that are no id": plan_of([[0, 0, 1]], models=["a" * 63]),
    "a number as an id": plan_of([[0, 0, 1]], models=[7]),
    "ids in capitals": plan_of([[0, 0, 1]], models=["A" * 64]),
    "models by key": {
        "levels": [0],
        "ensemble": {"models": {"a" * 64: 1}, "steps": [[[0, 0, 1]]]},
    },
    "no models": plan_of([[0, 0, 1]], models=[]),
    "too many members": plan_of(
        [[i // 4, i % 4, 1] for i in range(32)], models=[c * 64 for c in "12345678"]
    ),
    "steps missing": plan_of([[0, 0, 1]]) | {"levels": [0, 1]},
    "nothing": {"levels": [0]},
}


@pytest.mark.parametrize("name", BAD)
def test_plans_that_are_none(name, tmp_path):
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_plan(BAD[name])
    path = tmp_path / "e.safetensors"
    write_model(path, {}, {"arithmetic": 8, "levels": [[-1, 63]], **BAD[name], "x": 1})
    with pytest.raises(WrongModel, match="not an exported model"):
        Model(path)


def test_what_an_ensembles_file_may_hold(ensemble_model, added, tmp_path):
    """Its rows for pixels are frequencies, and nothing else is in it."""
    tensors, description, _ = read_model(ensemble_model.path)
    rows = tensors["pixel_masses"]
    zeros, moved = rows.clone(), rows.clone()
    zeros[5, 31] += zeros[5, 3]
    zeros[5, 3] = 0
    moved[7, 3] += 1
    cases = [
        ({"pixel_masses": zeros}, {}, "no frequencies"),
        ({"pixel_masses": moved}, {}, "no frequencies"),
        ({"pixel_masses": rows[32:].clone()}, {}, "no table"),
        ({"pixel_masses": rows.float()}, {}, "no table"),
        (tensors | {"more": rows.clone()}, {}, "no integers of its own"),
        (tensors, {"experts": []}, "no integers of its own"),
        (tensors, {"arithmetic": 8.0}, "arithmetic 8.0"),
        (tensors, {"levels": [[-1, 63]]}, "not as many steps"),
    ]
    path = tmp_path / "e.safetensors"
    for changed, told, message in cases:
        write_model(path, changed, description | told, force=True)
        with pytest.raises(WrongModel, match=message):
            Model(path)
    floats = [[float(number) for number in pair] for pair in description["levels"]]
    write_model(path, tensors, description | {"levels": floats}, force=True)
    assert all(type(level.exponent) is int for level in Model(path).levels)


def test_members_of_other_passes_or_tables(parts, tiny_model, tmp_path):
    two = Model(tiny_model.path)  # two passes, nine levels
    cases = {
        "not of 4 coding passes": ({"a": two}, 9, [["a", "rows", 1]]),
        "other levels or tables": (parts | {"c": two}, 2, [["a", "", 1], ["c", "", 1]]),
    }
    for i, (message, (models, levels, member)) in enumerate(cases.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(TrainingError, match=message):
            ensemble_of(folder, models, [{"levels": [0, levels - 1], "member": member}])
        assert not [*folder.glob("*.safetensors")]


def test_it_is_checked_and_kept(ensemble_model, added):
    check_model(ensemble_model)
    kept = add_model(ensemble_model.path)
    assert kept.id == ensemble_model.id
    listed = CliRunner().invoke(main, ["models", "--json"]).stdout.splitlines()
    found = {row["id"]: row["ensemble"] for row in map(json.loads, listed)}
    assert found[kept.id] == [one.id for one in ensemble_model.models]
    shown = CliRunner().invoke(main, ["models"]).stdout
    assert f"ensemble of {ensemble_model.models[0].id[:16]}, " in shown


def test_models_are_added_before_and_removed_after_their_ensemble(ensemble_model, tmp_path, folder):
    """Whatever the order in which they are given; a model alone, which an ensemble needs, stays."""
    ids = [model.id[:16] for model in (ensemble_model, *ensemble_model.models)]
    sources = []
    for model_id, model in zip(ids, (ensemble_model, *ensemble_model.models)):
        sources.append(tmp_path / f"{model_id}.file")
        sources[-1].write_bytes(model.path.read_bytes())
    bad = tmp_path / "bad"
    bad.write_bytes(b"no model")
    added = call("models", "add", *sources[:2], bad, sources[2])
    assert added.exit_code == 1 and names(folder) == sorted(f"{one}.safetensors" for one in ids)
    assert [line for line in error_lines(added) if "bad: not a bitsback model" in line]
    assert len(added.stdout.splitlines()) == 3

    (line,) = error_lines(call("models", "remove", ids[2]))
    assert f"{ids[2]}: needed by {ids[0]}.safetensors" in line and "-f" in line
    assert len(names(folder)) == 3
    (folder / "another.safetensors").write_bytes(sources[2].read_bytes())
    assert call("models", "remove", ids[2] + ".safetensors").exit_code == 0  # the other is here
    assert call("models", "remove", "another").exit_code == 1
    assert call("models", "remove", ids[1], "another", ids[0]).exit_code == 0
    assert not names(folder)


def test_a_needed_model_is_removed_by_force(ensemble_model, folder):
    *_, kept = (add_model(one.path) for one in (*ensemble_model.models, ensemble_model))
    assert call("models", "remove", "-f", ensemble_model.models[1].id[:16]).exit_code == 0
    with pytest.raises(WrongModel, match="is not here"):
        Model(kept.path)


def test_it_has_no_weights_to_train(ensemble_model, added):
    for use in (as_checkpoint, lambda path: other_experts(path, [])):
        with pytest.raises(TrainingError, match="no weights of its own"):
            use(ensemble_model.path)


RECIPE = """
[[step]]
levels = [0, 0]
member = [["{a}", "", 3], ["{a}", "columns", 3], ["{b}", "rows", 2]]
[[step]]
levels = [1, 1]
member = [["{b}", "both", 1]]
"""


def exported(recipe, out, *options):
    return CliRunner().invoke(main, ["export", str(recipe), "-o", str(out), "-f", *options])


def test_export_makes_it_from_a_recipe(ensemble_model, added, tmp_path):
    recipe, out = tmp_path / "e.toml", tmp_path / "e.safetensors"
    text = RECIPE.format(**dict(zip("ab", (one.id for one in ensemble_model.models))))
    recipe.write_text(text)
    result = exported(recipe, out)
    assert result.exit_code == 0, result.output
    made = Model(out)
    assert made.plan == ensemble_model.plan and made.id != ensemble_model.id  # its rows for pixels
    wrong = {
        text.replace('"both"', '"sideways"'): "sideways",
        text.replace('"both"', "7"): "7",
        text.replace("[1, 1]", "[2, 2]"): "in order",
        text.replace(", 3]", "]"): "not an ensemble",
        text.replace("[1, 1]", "[1, 1000000000000]"): "in order",
        text.replace("[0, 0]", "[0, -1]"): "in order",
        "step = []": "not an ensemble",
        "step = 7": "not an ensemble",
        "": "no experts, and no steps",
        "nonsense = 3" + text: "unknown: nonsense",
        text + '[[sources]]\nfolder = "images"': "unknown: sources",
        text.replace("levels = [1, 1]", "levels = [1, 1]\nflop = 1"): "unknown: flop",
        text + "[[source]]": "--data",
        text + "[[source": "not a recipe",
    }
    for changed, told in wrong.items():
        recipe.write_text(changed)
        result = exported(recipe, out)
        assert result.exit_code == 1 and told in result.stderr, changed
    assert Model(out).id == made.id  # a failure leaves what was there
    recipe.write_text(text)
    for options in (["--families", "0"], ["--data-name", "x"]):
        result = exported(recipe, out, *options)
        assert result.exit_code == 2 and "no option but" in result.stderr
    result = exported(recipe, tmp_path / "e.weights")
    assert result.exit_code == 2 and "no weights of its own" in result.stderr


def test_export_fits_rows_to_held_out_images(ensemble_model, added, photograph, tmp_path):
    """Every second image, from the first on; those that are too small are left out."""
    folder, recipe, out = tmp_path / "images", tmp_path / "e.toml", tmp_path / "e.safetensors"
    folder.mkdir()
    for i, side in enumerate((256, 256, 264, 256, 96)):
        Image.fromarray(photograph(side, side, i)).save(folder / f"{i}.png")
    ids = [ensemble_model.models[0].id]
    member = f'[[step]]\nlevels = [0, 1]\nmember = [["{ids[0]}", "rows", 1]]\n'
    recipe.write_text(member + '[[source]]\nfolder = "images"\nhold_out = 2\n')
    result = exported(recipe, out, "--data", str(tmp_path))
    assert result.exit_code == 0, result.output
    images = [photograph(256, 256, 0), photograph(264, 264, 2)[4:-4, 4:-4]]
    step = {"levels": [0, 1], "member": [[ids[0], "rows", 1]]}
    assert Model(out).id == save_ensemble({"step": [step]}, tmp_path / "f.safetensors", images).id
    result = exported(recipe, out, "--data", str(folder))
    assert result.exit_code == 1 and "images" in result.stderr
    for source in ("source = [3]", 'source = "x"', "[[source]]\nhold_out = 1"):
        recipe.write_text(source + "\n" + member if source[0] == "s" else member + source)
        result = exported(recipe, out, "--data", str(tmp_path))
        assert result.exit_code == 1 and "not a recipe" in result.stderr
    for folder in ("3", '"images"\nhold_out = "a"'):
        recipe.write_text(member + f"[[source]]\nfolder = {folder}\n")
        result = exported(recipe, out, "--data", str(tmp_path))
        assert result.exit_code == 1 and "not a recipe" in result.stderr
    recipe.write_text(member)
    assert "--data" in exported(recipe, out, "--data", str(tmp_path)).stderr


def test_networks_of_the_fixture_differ():
    one, other = random_network(3, FOUR), random_network(4, FOUR)
    assert not torch.equal(one.first.weight, other.first.weight)
