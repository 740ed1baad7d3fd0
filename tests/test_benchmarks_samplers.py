"""benchmarks/samplers.py: its distance of patches, and the command in its results."""

import numpy as np
import pytest
import torch

from benchmarks.samplers import command, parser
from benchmarks.samplers_measures import PatchDistance


@pytest.fixture(scope="module")
def x(photograph):
    """(4, 3, 48, 56), pixels minus 128."""
    return (
        torch.from_numpy(np.stack([photograph(48, 56, seed) for seed in range(4)]))
        .permute(0, 3, 1, 2)
        .float()
        - 128
    )


def test_distance_of_patches(x):
    """Zero for the photographs, in any order or brighter; larger for noise and for blur.

    Pixels are clipped.
    """
    patches, noise = (
        PatchDistance(x),
        torch.randn(x.shape, generator=torch.Generator().manual_seed(1)),
    )
    assert patches.distance(x) == patches.distance(x.flip(0)) == 0
    assert (
        patches.distance(0.5 * x + 10) == pytest.approx(patches.distance(0.5 * x), rel=1e-6)
        and (0.5 * x + 10).abs().max() < 127
    )
    one, three = (patches.distance(x + sigma * noise) for sigma in (1.0, 3.0))
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert 0.01 < one < three and patches.distance(blurred) > 0.1
    assert (
        patches.distance(torch.full_like(x, 1e6))
        == patches.distance(torch.full_like(x, 127.0))
        > 0.1
    )


def test_the_unit_is_a_standard_deviation(x):
    """A flat image's whitened patches are zero: its distance is a standard normal's mean size."""
    noise = 20 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    assert PatchDistance(noise).distance(torch.zeros_like(x)) == pytest.approx(
        (2 / np.pi) ** 0.5, rel=0.05
    )


def test_the_command_names_all_that_matters():
    """It can be run again: the same folder's name, limit, side, model and checkpoints."""
    given = [
        "valid",
        "--limit",
        "7",
        "--side",
        "64",
        "--model",
        "fast",
        "--checkpoint",
        "a.ckpt",
        "b.ckpt",
    ]
    assert command(parser().parse_args(given)) == " ".join(
        ["python -m benchmarks.samplers", *given]
    )
    assert (
        command(parser().parse_args(["some/valid"]))
        == "python -m benchmarks.samplers valid --limit 10 --side 128"
    )
    assert command(parser().parse_args(["v", "--model", "/some/where/m.safetensors"])).endswith(
        "--model m.safetensors"
    )
