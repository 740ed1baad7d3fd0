"""restart.py: a model file as a checkpoint."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from bitsback.cli.main import main
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas, spaced
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.denoiser import Denoiser
from bitsback.train.dequantise import dequantised_model
from bitsback.train.experts import Experts
from bitsback.train.export import save_model
from bitsback.train.loop import train
from bitsback.train.measure import bound_bits
from bitsback.train.restart import as_checkpoint, other_experts, trainable
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig
from tests.conftest import TINY

LAST = len(default_levels()) - 1


def restarted(model):
    """The Experts of a model, ready for training."""
    networks = []
    for expert in model.experts:
        network = Denoiser(expert.config)
        network.load_state_dict(trainable(expert, model.levels))
        networks.append(network)
    return Experts(networks, [expert.steps for expert in model.experts], sigmas(model.levels))


@pytest.mark.parametrize("which", ["tiny_model", "expert_model", "fast"])
def test_it_computes_what_the_file_does(request, which, photograph):
    """The bound of every level, rounding included."""
    model = Model.open("fast") if which == "fast" else request.getfixturevalue(which)
    x = (
        torch.from_numpy(np.stack([photograph(48, 56, seed) for seed in range(2)]))
        .permute(0, 3, 1, 2)
        .float()
        - 128
    )
    ours, theirs = (
        np.array(bound_bits(network, model.levels, x, True))
        for network in (restarted(model), dequantised_model(model))
    )
    assert np.abs(ours - theirs).max() < 1e-3 < theirs.max()


def test_training_goes_on_from_a_model(expert_model, tmp_path, photograph):
    """Sizes are those of the expert that has the levels.

    A larger network grows from it; minutes and steps continue.
    """
    Image.fromarray(photograph(40, 56, 1)).save(tmp_path / "a.png")
    trainer = Trainer(TINY, TrainingConfig(at_levels=True, only=range(1, 3)), "cpu")
    trainer.load(expert_model.path)
    assert torch.equal(
        trainer.network.state_dict()["down1.0.a.weight"],
        trainable(expert_model.experts[0], expert_model.levels)["down1.0.a.weight"],
    )
    larger = Trainer(
        NetworkConfig(16, 2, 24, 2, 16, 2, embedding=16, head=24),
        TrainingConfig(at_levels=True, only=range(6, LAST + 1)),
        "cpu",
    )
    larger.load(expert_model.path)
    assert (
        larger.minutes_before == expert_model.description["training"]["minutes"]
        and len(larger.network.middle) == 2
    )
    refused = CliRunner().invoke(
        main,
        [
            "train",
            str(tmp_path),
            "-o",
            str(tmp_path / "m"),
            "--resume",
            str(expert_model.path),
            "--at-levels",
            "--patch",
            "16",
            "--only",
            "3",
            "6",
        ],
    )
    assert (
        refused.exit_code == 1
        and f"levels 3 to 6, they have 0 to 4, 5 to {LAST}" in refused.output
        and refused.output.count(str(expert_model.path)) == 1
    )
    with pytest.raises(TrainingError, match=f"no network of it has levels 0 to {LAST}"):
        as_checkpoint(expert_model.path)


def test_a_model_lends_the_experts_that_are_missing(expert_model, tmp_path, photograph):
    """An expert trained further for some of another's levels is exported with the model it is from.

    The untouched expert's integers are the same.
    """
    Image.fromarray(photograph(40, 56, 1)).save(tmp_path / "a.png")
    for name, only in (("a", range(2)), ("b", range(2, 5))):
        train(
            tmp_path,
            tmp_path / name,
            network=TINY,
            config=TrainingConfig(
                minutes=0.005, batch=8, patch=16, at_levels=True, integer=True, only=only
            ),
            resume=expert_model.path,
        )
    done = CliRunner().invoke(
        main,
        [
            "export",
            str(tmp_path / "b.ckpt"),
            str(expert_model.path),
            str(tmp_path / "a.ckpt"),
            "-o",
            str(tmp_path / "m.safetensors"),
            "--families",
            "0,0,1",
        ],
    )
    assert done.exit_code == 0, done.output
    model = Model(tmp_path / "m.safetensors")
    assert [expert.steps for expert in model.experts] == [range(2), range(2, 5), range(5, LAST + 1)]
    for name, layer in expert_model.experts[1].layers.items():
        other = model.experts[2].layers[name]
        finer = torch.exp2((other.shift - layer.shift).double())
        assert (
            torch.equal(layer.weight * finer.view(-1, 1, 1, 1), other.weight.double())
            and (layer.bias * finer - other.bias).abs().max() <= finer.max()
        )
    with pytest.raises(TrainingError, match="once, in order"):
        read_checkpoints([tmp_path / "a.ckpt", expert_model.path])


def test_levels_that_are_not_the_coders_are_not_lent(tiny_network, tmp_path):
    """An expert for other levels than the coder's is refused; those with the same are used."""
    levels = spaced(12)
    assert levels[:4] == default_levels()[:4] and levels[4] != default_levels()[4]
    save_model(
        tmp_path / "old.safetensors",
        Experts([tiny_network] * 3, [range(2), range(2, 4), range(4, 12)], sigmas(levels)),
        levels,
        {},
    )
    assert [
        steps for _, steps in other_experts(tmp_path / "old.safetensors", range(4, LAST + 1))
    ] == [range(2), range(2, 4)]
    with pytest.raises(TrainingError, match="levels 4 to 11 are not those of the coder"):
        other_experts(tmp_path / "old.safetensors", range(2))


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"not a model")
    with pytest.raises(TrainingError, match=r"m\.safetensors"):
        Trainer(TINY, TrainingConfig(), "cpu").load(tmp_path / "m.safetensors")
