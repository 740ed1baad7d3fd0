"""packed_weights.py: float weights in thirds of an integer step, and what export makes of them."""

import pytest
import torch

from bitsback.diffusion.levels import default_levels
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train import packed_weights as packed
from bitsback.train.checkpoints import packed_states, read_checkpoints, read_weights
from bitsback.train.denoiser import Denoiser
from bitsback.train.dequantise import dequantised_model
from bitsback.train.export import integer_layers
from bitsback.train.measure import bound_bits
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig
from tests.commands import call
from tests.conftest import TINY


def random_state(seed: int, only: list[int] | None = None, config: NetworkConfig = TINY) -> dict:
    """What `train` writes for an expert, of random weights."""
    torch.manual_seed(seed)
    network = Denoiser(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    state = {
        "average": network.state_dict(),
        "config": config.as_dict(),
        "steps": 7,
        "minutes": 1.5,
    }
    return state | ({"only": only} if only else {})


def test_weights_come_back_to_a_third_of_a_step():
    """Inner convolutions within 1/3 of an integer step; everything else to the last bit."""
    state = random_state(1)
    (back,) = packed.unpack(packed.pack([state]))
    assert {k: back[k] for k in ("config", "steps", "minutes")} == {
        k: state[k] for k in ("config", "steps", "minutes")
    }
    changed = set()
    for name, value in state["average"].items():
        got = back["average"][name]
        if not torch.equal(got, value):
            changed.add(name)
            step = value.abs().flatten(1).amax(1) / 32  # at most: the peak is 32 to 64 steps
            assert ((got - value).abs().flatten(1).amax(1) <= step / 3 * 1.001).all()
    assert changed == packed._inner(TINY)


def test_an_export_has_the_same_integers():
    """The integer weights of every layer are those of the float network."""
    state = random_state(2)
    (back,) = packed.unpack(packed.pack([state]))
    layers = []
    for average in (state["average"], back["average"]):
        network = Denoiser(TINY)
        network.load_state_dict(average)
        layers.append(integer_layers(network, default_levels()))
    for name, layer in layers[0].items():
        assert torch.equal(layer.weight, layers[1][name].weight), name
        assert torch.equal(layer.shift, layers[1][name].shift), name


def test_experts_in_one_file(tmp_path):
    """A file of two experts: `export` gets both, in the order of their levels; training one."""
    last, path = len(default_levels()), tmp_path / "m.weights"
    states = [random_state(3, [4, last]), random_state(4, [0, 4])]
    packed.write_packed(path, states)
    network, facts = read_checkpoints([path])
    assert [share for _, share in network.parts()] == [range(0, 4), range(4, last)]
    assert facts == {"minutes": 3.0, "steps": 14}
    assert len(read_weights(path)) == 2
    trainer = Trainer(TINY, TrainingConfig(only=range(5, 6), at_levels=True), "cpu")
    trainer.load(path)
    name = "first.weight"
    assert torch.equal(trainer.average[name], states[0]["average"][name])


def test_weights_lend_the_experts_that_are_missing(tmp_path):
    """New weights of one expert and the old ones of all: the first of a level counts, in a model
    and in a file of weights.
    """
    last = len(default_levels())
    old, new = [random_state(3, [0, 4]), random_state(4, [4, last])], random_state(5, [4, last])
    packed.write_packed(tmp_path / "old.weights", old)
    packed.write_packed(tmp_path / "new.weights", [new])
    paths = [tmp_path / "new.weights", tmp_path / "old.weights"]
    states = packed_states(paths)
    (low, _), (high, _) = read_checkpoints(paths)[0].parts()
    name = "first.weight"
    assert [state["only"] for state in states] == [[0, 4], [4, last]]
    for found in (
        [state["average"][name] for state in states],
        [low.first.weight, high.first.weight],
    ):
        assert torch.equal(found[0], old[0]["average"][name])
        assert torch.equal(found[1], new["average"][name])
    packed.write_packed(tmp_path / "new.weights", [random_state(5, [5, last])])
    with pytest.raises(TrainingError, match="levels"):  # level 4 is nobody's
        read_checkpoints(paths)


@pytest.mark.parametrize("content", [b"", b"hello", packed.lzma.compress(b"hello")])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "x.weights"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="x.weights"):
        packed.read_packed(path)


def test_levels_of_no_expert_are_refused():
    with pytest.raises(TrainingError, match="levels 1 to 4"):
        packed.of_levels([random_state(5, [0, 2])], range(1, 5), 9)


def test_a_model_is_exported_to_float_weights(expert_model, tmp_path):
    """`export MODEL -o NAME.weights`: the experts by level; exported again, the same bound."""
    out = tmp_path / "kept.weights"
    done = call("export", expert_model.path, "-o", out)
    assert done.exit_code == 0, done.output
    states = packed.read_packed(out)
    assert [state["only"] for state in states] == [
        [expert.steps.start, expert.steps.stop] for expert in expert_model.experts
    ]
    network, _ = read_checkpoints([out], [expert.family for expert in expert_model.experts])
    x = torch.linspace(-100, 100, 3 * 32 * 32).view(1, 3, 32, 32).round()
    ours, theirs = (
        bound_bits(some, default_levels(), x, True)
        for some in (network, dequantised_model(expert_model))
    )
    assert ours == pytest.approx(theirs, abs=1e-3)
