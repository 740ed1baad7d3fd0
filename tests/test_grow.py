"""grow.py: a grown network computes what the small one computes, and all of it can learn."""

import dataclasses

import pytest
import torch

from bitsback.diffusion.passes import coding_passes
from bitsback.errors import TrainingError
from bitsback.train.denoiser import Denoiser
from bitsback.train.grow import BLOCKS, GROWS, grow_weights
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig
from tests.conftest import TINY as EIGHT

TINY = dataclasses.replace(EIGHT, passes=4)


def _random_network(config=TINY, seed=3):
    """A network without zero layers: growth must preserve a trained function."""
    torch.manual_seed(seed)
    network = Denoiser(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    return network


def _outputs(network, integer):
    torch.manual_seed(4)
    y, innovations = torch.randn(2, 3, 24, 16) * 40, torch.randn(2, 3, 24, 16)
    log_sigma = torch.tensor([0.5, 3.0])
    with torch.no_grad():
        out, features, e = network.trunk(y, log_sigma, integer)
        return out, network.heads(
            features, e, torch.tensor([0.5, 0.0]), torch.tensor([False, True]), innovations, integer
        )


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("size", GROWS)
def test_a_grown_network_computes_the_same(size, integer):
    """Every size alone, rounded and not: outputs agree to float32's summation order.

    More passes use more innovations: here the head ignores them.
    """
    small = _random_network()
    if size == "passes":
        small.head_known.weight.data.zero_()
    config = dataclasses.replace(
        TINY, **{size: getattr(TINY, size) + {"n": 3, "c": 8, "h": 8, "p": 4}[size[0]]}
    )
    large = Denoiser(config)
    large.load_state_dict(grow_weights(TINY, small.state_dict(), config))
    for a, b in zip(_outputs(small, integer), _outputs(large, integer)):
        assert a.abs().max() > 0.05
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)


def test_every_new_weight_learns(tmp_path):
    """Three steps after growth every weight of an inner convolution has moved.

    A full checkpoint may be of the small size.
    """
    small = Trainer(TINY, TrainingConfig(), "cpu")
    small.save(tmp_path / "small.ckpt", 1.0)
    config = dataclasses.replace(
        TINY, c1=TINY.c1 + 8, c2=TINY.c2 + 8, c3=TINY.c3 + 8, n1=TINY.n1 + 1
    )
    large = Trainer(config, TrainingConfig(), "cpu")
    large.load(tmp_path / "small.ckpt")
    before = {k: v.clone() for k, v in large.network.state_dict().items()}
    torch.manual_seed(5)
    for _ in range(3):
        large.step(torch.randn(8, 3, 16, 16) * 50, 0.0)
    after = large.network.state_dict()
    for name in (
        n
        for n in before
        if before[n].ndim == 4
        and n.split(".")[0]
        in ("down1", "to2", "down2", "to3", "middle", "from3", "up2", "from2", "up1", "last")
    ):
        assert (after[name] != before[name]).flatten(1).any(1).float().mean() > 0.9, name


@pytest.mark.parametrize("integer", [False, True])
def test_four_passes_of_eight_are_the_first_halves(integer):
    """First halves of eight passes use the innovations of their pass of four: equal outputs."""
    eight, four = _random_network(EIGHT, 6), Denoiser(TINY)
    four.load_state_dict(grow_weights(EIGHT, eight.state_dict(), TINY))
    (trunk, fine), (same, coarse) = _outputs(eight, integer), _outputs(four, integer)
    assert torch.equal(trunk, same) and not coarse[:, :, ::2, ::2].any()
    for pass_number in (2, 4, 6):  # first halves: they use the innovations of all earlier passes
        for row, column, stride in coding_passes(8)[pass_number]:
            there = fine[:, :, row::stride, column::stride]
            assert there.abs().max() > 0.01
            torch.testing.assert_close(
                coarse[:, :, row::stride, column::stride], there, atol=2e-3, rtol=1e-3
            )


def test_two_passes_of_more():
    """Two passes from four or from eight: one head is left, and it is evaluated."""
    for old in (EIGHT, TINY):
        config = dataclasses.replace(old, passes=2)
        network = Denoiser(config)
        network.load_state_dict(grow_weights(old, Denoiser(old).state_dict(), config))
        assert _outputs(network, False)[1].shape == (2, 9, 24, 16) and len(network.head_out) == 1


@pytest.mark.parametrize("integer", [False, True])
def test_four_passes_of_two(integer):
    """The same outputs but for the second half of the first pass, which begins with none: weights
    for innovations that two passes never read do not count.
    """
    config = dataclasses.replace(TINY, passes=2)
    two, four = _random_network(config, 8), Denoiser(TINY)
    four.load_state_dict(grow_weights(config, two.state_dict(), TINY))
    (trunk, fine), (same, finer) = _outputs(two, integer), _outputs(four, integer)
    assert torch.equal(trunk, same) and fine[:, :, ::2, 1::2].abs().max() > 0.01
    near = 1e-2 if integer else 2e-3  # weights that became zero give the others finer steps
    for row, column in ((0, 1), (1, 0)):  # of the second pass of two
        expected = fine[:, :, row::2, column::2]
        torch.testing.assert_close(finer[:, :, row::2, column::2], expected, atol=near, rtol=1e-3)
    assert not finer[:, :, ::2, ::2].any() and not finer[:, :, 1::2, 1::2].any()


@pytest.mark.parametrize("size", BLOCKS)
def test_fewer_blocks(size):
    """Blocks that were appended and end in zeros go again: what is left are the first ones, and the
    outputs are those of the network before, bit for bit; a trained network loses its last ones.
    """
    small, config = _random_network(), dataclasses.replace(TINY, **{size: getattr(TINY, size) + 2})
    large = Denoiser(config)
    large.load_state_dict(grow_weights(TINY, small.state_dict(), config))
    back = Denoiser(TINY)
    back.load_state_dict(grow_weights(config, large.state_dict(), TINY))
    for a, b in zip(_outputs(small, True), _outputs(back, True)):
        assert torch.equal(a, b)
    back.load_state_dict(grow_weights(config, _random_network(config, 6).state_dict(), TINY))
    cut, whole = _outputs(back, False)[0], _outputs(_random_network(config, 6), False)[0]
    assert (cut - whole).abs().max() > 1e-4


def test_what_cannot_grow_is_refused():
    """Smaller sizes, another embedding and two passes made eight are errors that name the size."""
    weights, two = Denoiser(TINY).state_dict(), dataclasses.replace(TINY, passes=2)
    with pytest.raises(TrainingError, match="passes"):
        grow_weights(two, Denoiser(two).state_dict(), dataclasses.replace(TINY, passes=8))
    for change in ({"c2": TINY.c2 - 1}, {"head": TINY.head - 8}, {"embedding": TINY.embedding + 1}):
        with pytest.raises(TrainingError, match=next(iter(change))):
            grow_weights(TINY, weights, dataclasses.replace(TINY, **change))
