"""recipe.py, expert_run.py, side_by_side.py, cli/recipes.py: a model from one recipe."""

import dataclasses
import json
import os
import signal
import sys
import time

import pytest
import torch
from PIL import Image

from bitsback.coder.model import Model
from bitsback.errors import TrainingError
from bitsback.integer.model_file import read_model
from bitsback.train import expert_run, side_by_side
from bitsback.train import packed_weights as packed
from bitsback.train.denoiser import Denoiser
from bitsback.train.expert_run import Task, train_expert
from bitsback.train.mixture import Source, read_images, save_images
from bitsback.train.recipe import read_recipe, weights_of
from bitsback.train.side_by_side import NO_GRAPH, train_side_by_side, weaker
from bitsback.train.wild import Odds
from tests.commands import call

RECIPE = """
name = "tiny"
minutes = 0.02
data_name = "four images"
[training]
batch = 8
patch = 32
save_every = 0.001
[augment]
wild = 0.5
[augment.odds]
soft = 1.0
[[source]]
folder = "images"
hold_out = 4
weight = "inverse bits"
[[expert]]
levels = [0, 0]
network = [16, 1, 16, 1, 16, 1]
head = 16
[[expert]]
levels = [1, 6]
network = [16, 1, 16, 1, 16, 1]
head = 16
family = 1
share = 0.5
[[expert]]
levels = [7, 8]
network = [16, 1, 16, 1, 16, 1]
passes = 2
family = 2
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory, photograph):
    """A folder with a recipe and its images."""
    root = tmp_path_factory.mktemp("recipe")
    (root / "images").mkdir()
    for k in range(4):
        Image.fromarray(photograph(40, 48, k)).save(root / "images" / f"{k}.png")
    (root / "tiny.toml").write_text(RECIPE)
    return root


@pytest.fixture
def task(root, tmp_path):
    """The first expert's task, as short as can be."""
    recipe = read_recipe(root / "tiny.toml", root)
    images = tmp_path / "images.pt"
    save_images(read_images([Source(root / "images", 1, 4)], 32), images)
    short = dataclasses.replace(recipe, minutes=1e-4)
    return Task(short, recipe.experts[0], images, tmp_path, "cpu", False)


def test_a_recipe_says_it_all(root):
    recipe = read_recipe(root / "tiny.toml", root)
    assert [expert.name for expert in recipe.experts] == ["level_0", "levels_1_6", "levels_7_8"]
    config = recipe.config(recipe.experts[1], True)
    assert config.only == range(1, 7) and config.batch == 8 and config.integer and config.bfloat16
    own = dataclasses.replace(recipe.experts[1], batch=32, patch=16)
    assert recipe.config(own, True) == dataclasses.replace(config, batch=32, patch=16)
    assert recipe.augment.wild == 0.5 and recipe.augment.odds == Odds(soft=1.0)
    assert recipe.sources[0].weight == "inverse bits"
    assert recipe.experts[2].config.passes == 2 and recipe.sources[0].folder == root / "images"


@pytest.mark.parametrize(
    "old, new",
    [
        ("batch", "batches"),
        ("levels = [0, 0]", ""),
        ("[training]", "[[training]"),
        ("head", "face"),
        ("wild =", "tame ="),
        ("soft =", "hard ="),
        ("inverse bits", "bits"),
        ("levels = [0, 0]", "levels = [0, 0]\npatch = 40"),  # larger than the recipe's
    ],
)
def test_wrong_recipes_are_refused(root, tmp_path, old, new):
    path = tmp_path / "wrong.toml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(TrainingError, match="wrong.toml"):
        read_recipe(path, root)


@pytest.mark.parametrize("name, trained", [("default", 8), ("best", 4), ("fast", 8)])
def test_shipped_recipes_are_those_of_the_shipped_models(name, trained):
    """Sizes, levels and families of every expert are the model file's."""
    from bitsback.integer.installed import shipped_models

    path = os.path.join(os.path.dirname(__file__), "..", "benchmarks", "recipes", f"{name}.toml")
    recipe, model = read_recipe(path, "."), Model(shipped_models()[name])
    assert recipe.start.exists() and recipe.trained == recipe.experts[:trained]
    assert [expert.only for expert in recipe.experts] == [e.steps for e in model.experts]
    assert [expert.family for expert in recipe.experts] == [e.family for e in model.experts]
    for expert, shipped in zip(recipe.experts, model.experts):
        assert expert.config == shipped.config


def test_an_expert_goes_on_where_it_was_ended(task):
    """The first run starts anew and measures bounds; the second goes on from its checkpoint."""
    rows = []
    train_expert(task, rows.append)
    bounds = {row["when"]: row["bounds"] for row in rows if "bounds" in row}
    assert set(bounds) == {"before", "after"} and len(bounds["after"][0]) == 1
    (state,) = packed.read_packed(task.path(".weights"))
    assert state["only"] == [0, 1] and state["steps"] == expert_run.BLOCK
    rows.clear()
    train_expert(task, rows.append)
    (again,) = packed.read_packed(task.path(".weights"))
    assert again["steps"] == 2 * expert_run.BLOCK
    assert not [row for row in rows if row.get("when") == "before"]


def test_an_average_that_is_not_finite_is_not_saved(task):
    rows = []
    train_expert(task, rows.append)
    before = task.path(".weights").read_bytes()
    trainer, _ = expert_run._start(task, rows.append)
    trainer.average["first.weight"][0] = float("nan")
    saver = expert_run._Saver(task, rows.append)
    saver.save(trainer, 1.0)
    saver.wait()
    assert task.path(".weights").read_bytes() == before
    assert "not finite" in rows[-1]["note"]


def test_a_gradient_that_is_not_finite_changes_nothing_for_good(task):
    """A batch of NaN leaves finite weights and average, and is left out of the mean loss."""
    trainer, _ = expert_run._start(task, lambda row: None)
    trainer.prepare(False)
    batch = trainer.mixture.batch
    trainer.mixture.batch = lambda count: batch(count) * float("nan")
    trainer.set_rates(0.5)
    trainer.steps_on_device(1)
    assert trainer.losses()["finite"] == 0
    trainer.mixture.batch = batch
    trainer.steps_on_device(2)
    losses = trainer.losses()
    assert losses["finite"] == 2 and 0 < losses["pixel"] < 10
    assert all(bool(value.isfinite().all()) for value in trainer.average.values())


def test_training_lowers_the_loss(task):
    """80 steps on the patches of three images: the last 20 cost less than the first 20."""
    trainer, _ = expert_run._start(task, lambda row: None)
    trainer.prepare(False)
    means = []
    for _ in range(4):
        trainer.set_rates(0.0)
        trainer.steps_on_device(20)
        means.append(trainer.losses()["pixel"])
    assert means[-1] < 0.99 * means[0]


def die_twice(task):
    """Stands for training: is killed, fails without a graph, and then succeeds."""
    mark = task.path(".attempts")
    count = len(mark.read_text("utf-8")) if mark.exists() else 0
    mark.write_text("x" * (count + 1))
    task.path(f".{count}").write_text(json.dumps([task.graph, task.fused]))
    if task.expert.name == "level_0" and count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if task.expert.name == "level_0" and count == 1:
        sys.exit(NO_GRAPH)
    if task.expert.name == "levels_1_6":
        sys.exit(1)


def test_processes_that_die_start_again(task, monkeypatch):
    """One is killed and goes on, not stopped by the other, which fails for good."""
    monkeypatch.setattr(side_by_side, "ATTEMPTS", 3)
    tasks = [dataclasses.replace(task, expert=expert) for expert in task.recipe.experts[:2]]
    notes = []
    assert train_side_by_side(tasks, die_twice, notes.append) == ["levels_1_6"]
    assert "level_0: ended with status -9, again" in notes
    tried = [json.loads(tasks[0].path(f".{k}").read_text("utf-8")) for k in range(3)]
    assert tried == [[True, True], [True, True], [False, True]]
    assert len(tasks[1].path(".attempts").read_text("utf-8")) == 3


def test_what_may_have_failed_is_left_out(task):
    late = dataclasses.replace(task, until=time.time())
    assert weaker(late, 1, 1) == late
    assert not weaker(late, NO_GRAPH, 1).graph and not weaker(late, 1, 2).fused


def real_weights(path):
    """What the weights of a model stand for: a peak of half the range is stored in either half."""
    tensors = read_model(path)[0]
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    scales = {name: torch.exp2(-tensors[f"{name}.shift"].double()) for name in names}
    return {n: tensors[f"{n}.weight"] * scales[n].view(-1, 1, 1, 1) for n in names}


def test_minutes_of_experts_side_by_side(root, tmp_path):
    """The longest, not the sum: they shared one device.  Of checkpoints without a recipe, the sum;
    `--minutes` is taken as it is."""
    recipe, paths, model = root / "tiny.toml", [], tmp_path / "m.safetensors"
    for expert, minutes in zip(read_recipe(recipe, root).experts, (4.0, 11.5, 6.0)):
        average = Denoiser(expert.config).state_dict()
        state = {"average": average, "config": expert.config.as_dict(), "steps": 5}
        state |= {"only": [expert.only.start, expert.only.stop], "minutes": minutes}
        paths.append(tmp_path / f"{expert.name}.weights")
        packed.write_packed(paths[-1], [state])
    of_recipe = recipe, "--experts", tmp_path
    for arguments, minutes in (
        (of_recipe, 11.5),
        (paths, 21.5),
        ((*of_recipe, "--minutes", 7), 7),
    ):
        done = call("export", *arguments, "-o", model, "-f")
        assert done.exit_code == 0, done.output
        training = Model(model).description["training"]
        assert (training["minutes"], training["steps"]) == (minutes, 15)
    lent = tmp_path / "lent.toml"  # no expert is trained
    experts = RECIPE.replace("share = 0.5\n", "").replace("[[expert]]", "[[expert]]\nshare = 0.0")
    lent.write_text(f'start = "{model}"\n{experts}')
    out = tmp_path / "n.safetensors"
    done = call("export", lent, "--experts", tmp_path, "-o", out)
    assert done.exit_code == 0 and Model(out).description["training"]["minutes"] == 7


@pytest.mark.slow
def test_a_model_from_a_recipe(root, tmp_path):
    """`train RECIPE`, then `export RECIPE`: a model with its experts; a missing one is named."""
    out, model = tmp_path / "tiny", tmp_path / "m.safetensors"
    recipe = root / "tiny.toml"
    done = call("train", recipe, "-o", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert len(weights_of(read_recipe(recipe, root), out)) == 3
    done = call("export", recipe, "--experts", out, "-o", model)
    assert done.exit_code == 0, done.output
    read = Model(model)
    assert [expert.family for expert in read.experts] == [0, 1, 2]
    assert read.description["training"]["data"] == "four images"
    done = call("export", recipe, "--experts", out, "--keep-better", root, "-o", model, "-f")
    assert done.exit_code == 1 and "no start to compare with" in done.output
    again = tmp_path / "again.toml"
    again.write_text(f'start = "{model}"\n{RECIPE}share = 0.0\n')
    args = ("--experts", out, "--keep-better", root, "-o", tmp_path / "n.safetensors")
    done = call("export", again, *args)
    assert done.exit_code == 0 and done.output.count("the state before training is taken") == 2
    tensors, kept = (real_weights(path) for path in (model, tmp_path / "n.safetensors"))
    assert all(torch.equal(kept[name], value) for name, value in tensors.items())
    (out / "level_0.weights").unlink()
    done = call("export", recipe, "--experts", out, "-o", model, "-f")
    assert done.exit_code == 1 and "level_0.weights" in done.output


def test_training_needs_no_coder():
    """A GPU machine without constriction and numba trains: nothing of it imports them."""
    import subprocess

    code = (
        "import sys\n"
        "sys.modules['constriction'] = sys.modules['numba'] = None\n"
        "import bitsback.cli.main, bitsback.train.expert_run, bitsback.train.side_by_side\n"
        "import bitsback.train.kernel_check\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
