"""gallery.py: every sampler with every kind of prior."""

import math
from pathlib import Path

import pytest
import torch

from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.errors import BitsbackError, NoiseOutOfRange, TrainingError, WrongModel
from bitsback.sampling.gallery import ExpertPrior, default_grade, draw_images, open_prior
from bitsback.sampling.samplers import SAMPLERS, VARIANCE_GRADES
from bitsback.train.denoiser import Denoiser

SHAPE = (2, 3, 12, 10)
CHECKPOINT = (
    Path(__file__).resolve().parents[1] / "benchmarks" / "checkpoints" / "default_bfloat16.ckpt"
)


def draw(prior, seed=1, **options):
    return draw_images(prior, SHAPE, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["model", "network"])
def test_every_sampler_of_every_prior(name, kind, tiny_model, tiny_network):
    """Finite images of the asked shape, the same for the same seed, others for another."""
    prior = tiny_model if kind == "model" else tiny_network
    start, end = draw(prior, sampler=name)
    assert start.shape == end.shape == SHAPE and end.isfinite().all() and end.std() > 0
    assert torch.equal(end, draw(prior, sampler=name)[1]) and not torch.equal(
        end, draw(prior, seed=2, sampler=name)[1]
    )
    assert not torch.equal(end, draw(prior, sampler=name, steps=4)[1])


def test_grades(tiny_model, tiny_network):
    """Each gives another image; passes is the default of a model at its own levels only."""
    ends = [
        draw(tiny_model, sampler="ancestral", grade=grade)[1] for grade in (None, *VARIANCE_GRADES)
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(ends) for b in ends[:i])
    assert (
        torch.equal(ends[0], draw(tiny_model, sampler="ancestral", grade="passes")[1])
        and (ends[0] % 1 == 0).all()
    )
    assert (
        default_grade(tiny_model, len(tiny_model.levels)) == "passes"
        and default_grade(tiny_model, 5) == default_grade(tiny_network, None) == "head"
    )
    for prior, steps in ((tiny_network, None), (tiny_model, 5)):
        with pytest.raises(NoiseOutOfRange, match=f"{len(tiny_model.levels)} steps"):
            draw(prior, sampler="ancestral", grade="passes", steps=steps)


def test_depth(tiny_model):
    """Depth 1 is DDIM, less is not."""
    ddim = draw(tiny_model, sampler="ddim")[1]
    torch.testing.assert_close(
        draw(tiny_model, sampler="restoration-degradation")[1], ddim, atol=0.5, rtol=0
    )  # y is rounded inside
    assert (
        draw(tiny_model, sampler="restoration-degradation", depth=0.5)[1] - ddim
    ).abs().max() > 1


def test_the_shipped_model_restores(photograph):
    """Every sampler and the coder's chain restore a noised photograph, seeds differ."""
    model, photo = Model.open(), torch.from_numpy(photograph(32, 40)).permute(2, 0, 1).float() - 128
    for options in [
        {"sampler": name, "grade": "head" if name == "ancestral" else None} for name in SAMPLERS
    ] + [{"sampler": "ancestral"}]:
        start, end = draw_images(
            model,
            (2, *photo.shape),
            torch.Generator().manual_seed(1),
            photo=photo,
            sigma=20.0,
            **options,
        )
        expected = (
            min(sigmas(model.levels), key=lambda sigma: abs(math.log(sigma / 20)))
            if options == {"sampler": "ancestral"}
            else 20.0
        )  # the level nearest to it
        assert abs((start - photo).std() / expected - 1) < 0.05
        assert (end - photo).square().mean().sqrt() < 0.6 * expected and not torch.equal(
            end[0], end[1]
        )


def test_tops(tiny_model):
    """Clouds have large structure, the coder's top has none; for floats and for the chain."""
    for name in ("seeds1", "ancestral"):
        means = {}
        for top in ("clouds", "coder"):
            start = draw_images(
                tiny_model, (16, 3, 40, 40), torch.Generator().manual_seed(1), sampler=name, top=top
            )[0]
            means[top] = start.mean((2, 3)).std()
        assert means["clouds"] > 1.5 * means["coder"]


def test_an_expert_draws_at_its_own_levels_only(tiny_network, tmp_path):
    """From a photograph with little noise it is a prior like others; beyond its levels refused."""
    state = {
        "config": tiny_network.config.as_dict(),
        "average": tiny_network.state_dict(),
        "minutes": 1.0,
        "steps": 1,
        "only": [0, 5],
    }
    torch.save(state, tmp_path / "fine.ckpt")
    torch.save({**state, "only": [5, len(default_levels())]}, tmp_path / "coarse.ckpt")
    fine, coarse = (open_prior(tmp_path / f"{name}.ckpt") for name in ("fine", "coarse"))
    assert (
        fine.only == range(5)
        and coarse.only == range(5, len(default_levels()))
        and isinstance(fine, ExpertPrior)
    )
    noise, photo = sigmas(default_levels()), torch.zeros(SHAPE[1:])
    for options in ({}, {"steps": 3}, {"sampler": "ancestral"}):
        ends = [
            draw(prior, photo=photo, sigma=noise[4], **options)[1] for prior in (fine, tiny_network)
        ]
        assert torch.equal(*ends)
    assert draw(coarse, steps=1)[1].isfinite().all()  # one pass from the top to an image
    for prior, options in (
        (fine, {}),
        (fine, {"photo": photo, "sigma": noise[5]}),
        (coarse, {}),
        (coarse, {"photo": photo, "sigma": 25.0}),
        (coarse, {"steps": 2}),
    ):
        with pytest.raises(NoiseOutOfRange, match="this expert has levels"):
            draw(prior, **options)


def test_open_prior(tmp_path):
    """A shipped model, a checkpoint by its suffix, and this package's errors for anything else."""
    assert isinstance(open_prior(), Model) and isinstance(open_prior("default"), Model)
    if CHECKPOINT.is_file():
        assert isinstance(open_prior(CHECKPOINT), Denoiser)
    with pytest.raises(WrongModel):
        open_prior("no such model")
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError):
        open_prior(tmp_path / "a.ckpt")


@pytest.mark.parametrize("option", [{"sampler": "x"}, {"top": "x"}, {"grade": "x"}])
def test_unknown_names(short_model, option):
    """ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="'x' is none of .*(seeds3|clouds|passes), "):
        draw(short_model, **option)


@pytest.mark.parametrize(
    "option",
    [
        {"steps": 0},
        {"depth": math.nan},
        {"depth": 2.0},
        {"shape": (1, 1, 8, 8)},
        {"shape": (0, 3, 8, 8)},
        {"photo": torch.zeros(3, 8, 9)},
        {"photo": torch.zeros(3, 12, 10, dtype=torch.uint8)},
    ],
)
def test_arguments_that_fit_nothing(short_model, option):
    """ValueError, for every sampler."""
    shape = option.pop("shape", SHAPE)
    with pytest.raises(ValueError):
        draw_images(short_model, shape, torch.Generator(), **option)


def test_a_device_that_is_not_there(short_model):
    with pytest.raises(BitsbackError, match="no such device"):
        draw(short_model, device="nowhere")
