"""held_out.py: the better of two states of each expert, by held-out images."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels
from bitsback.errors import TrainingError
from bitsback.train.held_out import (
    HeldOut,
    bounds_of_images,
    choices,
    held_out,
    network_of,
    state_of,
)
from bitsback.train.measure import bound_bits
from bitsback.train.mixture import LEAST_BITS, Source
from bitsback.train.packed_weights import write_packed
from bitsback.train.recipe import Expert, Recipe, weights_of
from bitsback.train.restart import as_checkpoint
from tests.conftest import TINY

SIZES = (TINY.c1, TINY.n1, TINY.c2, TINY.n2, TINY.c3, TINY.n3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photograph):
    """Five images, of which every second is held out; the last is too small, one is flat."""
    root = tmp_path_factory.mktemp("held")
    for k in range(5):
        pixels = photograph(40 if k < 4 else 16, 40, k)
        Image.fromarray(pixels * (k != 2)).save(root / f"{k}.png")
    return root


def test_held_out_images_are_those_that_training_leaves_out(folder, photograph):
    found = held_out(Source(folder, 1, 2), 32)
    assert found.x.shape == (2, 3, 32, 32) and found.name == folder.name
    centre = photograph(40, 40, 0)[4:36, 4:36].transpose(2, 0, 1).copy()
    assert torch.equal(found.x[0], torch.tensor(centre).float() - 128)
    assert found.bits[1] == LEAST_BITS < found.bits[0]
    assert len(held_out(Source(folder, 1, 2), 32, limit=1).x) == 1
    for source, side in ((Source(folder), 32), (Source(folder, 1, 2), 64)):
        with pytest.raises(TrainingError, match=folder.name):
            held_out(source, side)


def recipe_of(model: Model, start: Path | None) -> Recipe:
    """A recipe whose experts are those of a model of one size, the second not trained."""
    experts = tuple(
        Expert((e.steps[0], e.steps[-1]), SIZES, TINY.head, TINY.passes, i, 1.0 - i)
        for i, e in enumerate(model.experts)
    )
    return Recipe("tiny", 1.0, (), experts, start)


@pytest.mark.parametrize("noise, better", [(0.0, False), (1.0, False), (-1.0, True)])
def test_the_better_state_is_taken(expert_model, folder, tmp_path, noise, better):
    """A trained state that is equal or disturbed is left; a disturbed start is replaced."""
    x = held_out(Source(folder, 1, 2), 32).x
    images = [HeldOut("some", x, torch.ones(len(x)))]
    expert = expert_model.experts[0]
    known = as_checkpoint(expert_model.path, expert.steps)
    known["only"] = [expert.steps.start, expert.steps.stop]
    torch.manual_seed(1)
    worse = known | {
        "average": {k: v + 0.3 * torch.randn(v.shape) for k, v in known["average"].items()}
    }
    write_packed(tmp_path / "start.weights", [worse if noise < 0 else known])
    recipe = recipe_of(expert_model, tmp_path / "start.weights")
    path = tmp_path / "out" / f"{recipe.experts[0].name}.weights"
    path.parent.mkdir()
    write_packed(path, [worse if noise > 0 else known])
    (choice,) = choices(recipe, path.parent, images)
    assert choice.better == better and choice.expert == recipe.experts[0]
    ((name, before, after),) = choice.sources
    assert name == "some" and (after < before) == better and (after == before) == (noise == 0)
    assert choice.relative == pytest.approx((before, after))
    recipe = recipe_of(expert_model, expert_model.path)
    kept = weights_of(recipe, path.parent, [] if choice.better else [choice.expert])
    assert kept == [path, expert_model.path] if better else kept == [expert_model.path]
    with pytest.raises(TrainingError, match="model file"):
        weights_of(recipe_of(expert_model, None), path.parent)


def test_bounds_of_images_are_those_of_the_set(expert_model, folder):
    """Of one image exactly; of each of several their mean is near the bound of them together."""
    x = held_out(Source(folder, 1, 2), 32).x
    only = expert_model.experts[0].steps
    network = network_of(state_of(expert_model.path, only))
    each = bounds_of_images(network, default_levels(), x, only)
    assert each.shape == (2, len(only))
    alone = bound_bits(network, default_levels(), x[:1], True, only=only)
    assert torch.equal(each[0], torch.tensor(alone))
    together = torch.tensor(bound_bits(network, default_levels(), x, True, only=only))
    assert (each.mean(0) - together).abs().max() < 0.05 * together.max()
