"""torch's defaults for what is computed in floating point, whatever the caller's are."""

from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.evaluation import tile_rates
from bitsback.integer.config import NetworkConfig
from bitsback.sampling.gallery import draw_images
from bitsback.train.loop import train
from bitsback.train.plain import plain_torch
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig

SMALL = NetworkConfig(8, 1, 8, 1, 8, 1, 8, 8, 2)


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CALLERS = {
    "float64": float64,
    "meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("caller", CALLERS)
def test_defaults_of_the_caller(caller, tiny_model, photograph):
    """Rates and samples are the same numbers under them, and they are kept."""
    pixels = [photograph(24, 32)]

    def found():
        generator = torch.Generator("cpu").manual_seed(1)
        _, images = draw_images(tiny_model, (1, 3, 16, 24), generator, steps=2)
        return tile_rates(pixels, tiny_model), images

    rates, images = found()
    with CALLERS[caller]():
        before = torch.get_default_dtype(), torch.get_default_device()
        other_rates, other_images = found()
        assert before == (torch.get_default_dtype(), torch.get_default_device())
    assert rates == other_rates and torch.equal(images, other_images)


def test_training(tmp_path, photograph):
    """Under defaults of the caller's, whose random numbers go on as without it."""
    (tmp_path / "in").mkdir()
    Image.fromarray(photograph(32, 32)).save(tmp_path / "in/a.png")
    config = TrainingConfig(minutes=1e-4, batch=2, patch=16)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with ExitStack() as stack:
        stack.enter_context(float64())
        train(tmp_path / "in", tmp_path / "m.safetensors", network=SMALL, config=config)
    assert torch.equal(torch.rand(1), expected)


def test_a_trainer_is_made_of_its_seed():
    """Whatever the caller's generator is at, which stays there."""
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(Trainer(SMALL, TrainingConfig(), "cpu").network.state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    "options", [{"minutes": 0}, {"minutes": np.inf}, {"batch": 1}, {"patch": 33}, {"patch": 0}]
)
def test_runs_that_cannot_be(options):
    """ValueError."""
    with pytest.raises(ValueError):
        TrainingConfig(**options)


def test_what_the_block_does():
    """float32 on the CPU, without casts, in a thread's block; the caller's after it."""
    with float64(), torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        with plain_torch():
            made = torch.ones(2, 2)
            assert (made @ made).dtype == torch.float32 and made.device.type == "cpu"
        assert torch.ones(2).dtype == torch.float64 and torch.ones(2).device.type == "meta"
