"""loop.py, trainer.py, muon.py: a short run from images to a model file, and its gradients."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels
from bitsback.diffusion.schedule import LearnedSchedule
from bitsback.errors import DamagedFile, TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train import checkpoints, estimates
from bitsback.train.device_loop import run_steps
from bitsback.train.estimates import estimate, schedule_gradients
from bitsback.train.graph import GraphTrainer
from bitsback.train.loop import train
from bitsback.train.mixture import Mixture, Source, read_images
from bitsback.train.muon import Muon, orthogonalise
from bitsback.train.patches import Patches
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig
from tests.conftest import TINY, on_cuda

ROW = "level pixel top total steps minutes share pixels_per_second sigma_ends integer".split()
SHORT = TrainingConfig(minutes=0.02, batch=8, patch=16, save_every=0.001)


@pytest.fixture(scope="module")
def images(tmp_path_factory, photograph):
    """Three images, one of them in a folder below, one too small, and a text file named .png."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "below").mkdir()
    Image.fromarray(photograph(40, 56, 1)).save(folder / "a.png")
    Image.fromarray(photograph(33, 21, 2)).save(folder / "b.webp", lossless=True)
    Image.fromarray(photograph(16, 16, 3)).save(folder / "below" / "c.png")
    Image.fromarray(photograph(15, 40, 4)).save(folder / "small.png")
    (folder / "text.png").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """(path, rows reported, last row) of a run of about a second."""
    path, rows = tmp_path_factory.mktemp("trained") / "m.safetensors", []
    last = train(
        images,
        path,
        network=TINY,
        config=SHORT,
        report=rows.append,
        log_every=1,
        data_name="three images",
    )
    return path, rows, last


def test_a_run_reports_finite_parts_that_add_up(trained):
    """Every row: total = level + pixel + top, finite bits a dimension, steps and share rising."""
    _, rows, last = trained
    assert rows and rows[-1] == last
    for row in rows:
        assert all(
            math.isfinite(row[name]) and row[name] >= 0
            for name in ("total", "level", "pixel", "top")
        )
        assert row["total"] == pytest.approx(row["level"] + row["pixel"] + row["top"], abs=2e-4)
        json.dumps(row)
    assert [row["steps"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(0 <= a["share"] < b["share"] for a, b in zip(rows, rows[1:]))


def test_a_run_leaves_a_model_that_codes(trained, photograph):
    """The output opens as a Model that names its training data, and codes an image."""
    from bitsback.coder.top import Top
    from tests.laws import check_codec, credit

    path, rows, _ = trained
    model = Model(path)
    facts = model.description["training"]
    assert (
        facts["data"] == "three images"
        and facts["images"] == 3
        and facts["steps"] >= rows[-1]["steps"]
        and facts["device"] == "cpu"
    )
    assert model.levels == tuple(default_levels()) and model.config == TINY
    pixels = photograph(8, 16)
    x, top, chain = (
        pixels.transpose(2, 0, 1)[None].astype(np.int32) - 128,
        Top.fitted([pixels], model.levels),
        model.chain(),
    )
    check_codec(
        lambda s, v: chain.push(s, v, top, no_context(v)),
        lambda s: chain.pop(s, x.shape, top, no_context(x)),
        credit(9000),
        x,
        refuses=DamagedFile,
    )


@pytest.mark.parametrize(
    "options",
    [{"integer": True}, {"integer": True, "at_levels": True}, {"bfloat16": True}],
    ids=lambda o: "+".join(o),
)
def test_variants_of_a_run_are_finite(images, tmp_path, options):
    """Rounded, at the coder's own levels, in bfloat16: the loss is finite, a model is written."""
    rows, config = [], TrainingConfig(minutes=0.005, batch=8, patch=16, **options)
    train(
        images,
        tmp_path / "m.safetensors",
        network=TINY,
        config=config,
        report=rows.append,
        log_every=1,
    )
    assert rows and all(math.isfinite(row["total"]) for row in rows)
    assert Model(tmp_path / "m.safetensors").config == TINY


def test_training_lowers_the_loss(images):
    """Sixty steps on three images: the last fifteen cost fewer bits than the first five."""
    trainer, patches = (
        Trainer(TINY, TrainingConfig(batch=8, patch=16), "cpu"),
        Patches(images, 16, "cpu", wild=0),
    )
    losses = [
        float(sum(trainer.step(patches.batch(8, trainer.generator), 0.0).values()))
        for _ in range(60)
    ]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:5])


def test_resume_goes_on_from_the_checkpoint(trained, images, tmp_path):
    """A resumed run continues steps, minutes and log, and starts from the saved weights."""
    path, rows, _ = trained
    state = torch.load(f"{path}.ckpt", weights_only=True)
    trainer = Trainer(TINY, SHORT, "cpu")
    trainer.load(f"{path}.ckpt")
    assert (
        trainer.steps == state["steps"] >= rows[-1]["steps"]
        and trainer.minutes_before == state["minutes"] > 0
    )
    assert all(
        torch.equal(value, state["network"][name])
        for name, value in trainer.network.state_dict().items()
    )
    assert [json.loads(line) for line in trainer.history] == rows
    resumed = []
    train(
        images,
        tmp_path / "n.safetensors",
        network=TINY,
        config=SHORT,
        resume=f"{path}.ckpt",
        report=resumed.append,
        log_every=1,
    )
    assert [row["steps"] for row in resumed] == list(
        range(state["steps"] + 1, state["steps"] + 1 + len(resumed))
    )
    assert resumed[0]["minutes"] >= round(state["minutes"], 2)


def test_a_step_after_a_resume_is_the_step_without_one(images, tmp_path):
    """Network, schedule, optimisers, average and random numbers are all in the checkpoint."""
    patches, runs = Patches(images, 16, "cpu"), []
    first = Trainer(TINY, SHORT, "cpu")
    for _ in range(3):
        first.step(patches.batch(8, first.generator), 0.1)
    first.save(tmp_path / "c.ckpt", 0.0)
    second = Trainer(TINY, TrainingConfig(**vars(SHORT) | {"seed": 99}), "cpu")
    second.load(tmp_path / "c.ckpt")
    for trainer in (first, second):
        losses = trainer.step(patches.batch(8, trainer.generator), 0.1)
        runs.append(
            (losses, trainer.network.state_dict(), trainer.schedule.state_dict(), trainer.average)
        )
    for a, b in zip(*runs):
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "content", [[], ["text"], ["small"]], ids=["empty", "text only", "too small only"]
)
def test_a_folder_without_images_is_an_error(tmp_path, photograph, content):
    """Nothing to train on: TrainingError that names the folder, and no model file."""
    folder = tmp_path / "data"
    folder.mkdir()
    if "text" in content:
        (folder / "a.png").write_text("not an image")
    if "small" in content:
        Image.fromarray(photograph(15, 100)).save(folder / "a.png")
    with pytest.raises(TrainingError, match="data"):
        train(folder, tmp_path / "m.safetensors", network=TINY, config=SHORT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_missing_folder_is_an_error(tmp_path):
    """A folder that does not exist is a TrainingError too."""
    with pytest.raises(TrainingError, match="nowhere"):
        train(tmp_path / "nowhere", tmp_path / "m.safetensors", network=TINY, config=SHORT)


@pytest.mark.parametrize("kind", ["text", "pickle", "model", "another network", "cut"])
def test_a_foreign_checkpoint_is_an_error(trained, images, tmp_path, kind):
    """Anything but a checkpoint of this network: TrainingError that names the file."""
    path, _, _ = trained
    foreign, network = tmp_path / "foreign.ckpt", TINY
    if kind == "text":
        foreign.write_text("hello")
    elif kind == "pickle":
        torch.save({"weights": torch.zeros(3)}, foreign)
    elif kind == "model":
        foreign.write_bytes(path.read_bytes())
    elif kind == "cut":
        foreign.write_bytes((path.parent / f"{path.name}.ckpt").read_bytes()[:5000])
    else:
        foreign.write_bytes((path.parent / f"{path.name}.ckpt").read_bytes())
        network = NetworkConfig(16, 1, 24, 1, 8, 1, embedding=16, head=16)
    with pytest.raises(TrainingError, match="foreign.ckpt"):
        train(images, tmp_path / "m.safetensors", network=network, config=SHORT, resume=foreign)


def test_read_checkpoint_gives_the_averaged_network(trained, tmp_path):
    """`export` uses the running average of the weights; a foreign file is a TrainingError."""
    path, _, _ = trained
    network, facts = checkpoints.read_checkpoint(f"{path}.ckpt")
    average = torch.load(f"{path}.ckpt", weights_only=True)["average"]
    assert network.config == TINY and facts["steps"] > 0
    assert all(torch.equal(value, average[name]) for name, value in network.state_dict().items())
    (tmp_path / "x.ckpt").write_text("hello")
    with pytest.raises(TrainingError, match="x.ckpt"):
        checkpoints.read_checkpoint(tmp_path / "x.ckpt")


# --- patches ---------------------------------------------------------------------------------


def test_patches_are_of_the_images(images, photograph):
    """Every patch, flipped or transposed back, lies in one of the images.

    Unreadable and small files are skipped.
    """
    patches = Patches(images, 16, "cpu", halved=0, wild=0)
    assert len(patches) == 3 and sorted(path.name for path in patches.skipped) == [
        "small.png",
        "text.png",
    ]
    batch = patches.batch(24, torch.Generator().manual_seed(1))
    assert batch.shape == (24, 3, 16, 16) and batch.dtype == torch.float32
    sources = [photograph(40, 56, 1), photograph(33, 21, 2), photograph(16, 16, 3)]
    windows = [
        np.lib.stride_tricks.sliding_window_view(p.astype(np.int16), (16, 16), (0, 1)) - 128
        for p in sources
    ]  # (r, c, 3, 16, 16)
    found, views = set(), set()
    for patch in batch.numpy().astype(np.int16):
        match = [
            (n, turn, flip)
            for n, window in enumerate(windows)
            for turn in range(4)
            for flip in (1, -1)
            if (window == np.rot90(patch[:, ::flip], turn, (1, 2))).all((2, 3, 4)).any()
        ]
        assert len(match) == 1
        found.add(match[0][0])
        views.add(match[0][1:])
    assert found >= {0, 1} and len(views) >= 6


def test_patches_reach_every_pixel(photograph, tmp_path):
    """Corners included: over many batches every pixel of an image is seen."""
    numbers = np.arange(19 * 17 * 3, dtype=np.uint16).reshape(19, 17, 3)
    Image.fromarray((numbers % 256).astype(np.uint8)).save(tmp_path / "n.png")
    patches = Patches(tmp_path, 16, "cpu", halved=0, wild=0)
    patches.pixels = torch.from_numpy(numbers.reshape(-1, 3).astype(np.int32))
    batch = patches.batch(400, torch.Generator().manual_seed(2)) + 128
    assert set(batch.flatten().int().tolist()) == set(range(19 * 17 * 3))


# --- gradients -------------------------------------------------------------------------------


def cost(log_sigma):
    """A toy cost a unit of log sigma, with a minimum inside."""
    return 0.3 + torch.exp(-0.7 * log_sigma) + 0.05 * log_sigma**2


def test_schedule_gradients_are_those_of_the_written_objective():
    """Equal to plain autograd through the schedule.

    Ends: gradient of the mean estimate; interior: of the mean squared estimate.
    """
    t, offsets = (
        (torch.arange(9).double() + 0.3) / 9,
        torch.tensor([-0.2, 0.1, 0.3], dtype=torch.float64),
    )
    top = lambda log_sigma: 0.1 * torch.exp(-0.01 * log_sigma)  # noqa: E731

    def made():
        torch.manual_seed(0)
        schedule = LearnedSchedule().double()
        with torch.no_grad():
            schedule.b1.add_(0.2 * torch.randn(schedule.b1.shape))
        return schedule

    schedule = made()
    with torch.no_grad():
        log_s, slope = schedule(t)
        log_0 = schedule.ends[0] + offsets
    leaves = {
        "t": t,
        "log_s": log_s.requires_grad_(),
        "slope": slope.requires_grad_(),
        "log_0": log_0.requires_grad_(),
    }
    level = cost(leaves["log_s"]) * leaves["slope"]
    (level.mean() + torch.exp(leaves["log_0"]).mean() + top(schedule.ends[1])).backward()
    schedule_gradients(schedule, level, leaves)

    reference = made()
    log_s, slope = reference(t)
    estimate_ = cost(log_s) * slope
    bound = (
        estimate_.mean() + torch.exp(reference.ends[0] + offsets).mean() + top(reference.ends[1])
    )
    (ends,) = torch.autograd.grad(bound, reference.ends, retain_graph=True)
    interior = torch.autograd.grad(
        estimate_.square().mean(), [reference.w1, reference.b1, reference.w2]
    )
    assert torch.allclose(schedule.ends.grad, ends, rtol=1e-9)
    for name, gradient in zip(("w1", "b1", "w2"), interior):
        assert gradient.abs().max() > 0
        assert torch.allclose(getattr(schedule, name).grad, gradient, rtol=1e-9, atol=1e-12), name


def test_variance_falls_when_the_interior_learns():
    """Descent makes estimates of a toy cost nearly constant in t, the interior's purpose."""
    schedule, generator = LearnedSchedule(), torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam([schedule.w1, schedule.b1, schedule.w2], lr=0.02)
    grid, spread = (torch.arange(200) + 0.5) / 200, []
    for _ in range(300):
        with torch.no_grad():
            log_s, slope = schedule(grid)
            estimates = cost(log_s) * slope
            spread.append((estimates.std() / estimates.mean()).item())
        t = torch.rand(64, generator=generator)
        with torch.no_grad():
            log_s, slope = schedule(t)
        leaves = {
            "t": t,
            "log_s": log_s.requires_grad_(),
            "slope": slope.requires_grad_(),
            "log_0": torch.zeros(1, requires_grad=True),
        }
        level = cost(leaves["log_s"]) * leaves["slope"]
        optimiser.zero_grad()
        schedule.ends.grad = None
        (level.mean() + leaves["log_0"].sum()).backward()
        schedule_gradients(schedule, level, leaves)
        optimiser.step()
    assert spread[-1] < 0.5 * spread[0]


def test_the_estimate_is_unbiased(monkeypatch):
    """Estimates of toy costs average to the integral of cost over log sigma, for any schedule."""

    def level_nats(network, x, y, log_s, log_t, generator, integer, *_):
        return ((log_t - log_s) * cost(log_s)).view(-1, 1, 1, 1) * torch.ones_like(x) * math.log(2)

    monkeypatch.setattr(estimates, "level_nats", level_nats)
    monkeypatch.setattr(
        estimates, "pixel_nats", lambda network, x, *_: torch.full_like(x, 2.5 * math.log(2))
    )
    torch.manual_seed(5)
    schedule, generator, x = (
        LearnedSchedule(),
        torch.Generator().manual_seed(1),
        torch.zeros(64, 3, 2, 2),
    )
    with torch.no_grad():
        schedule.b1.add_(0.3 * torch.randn(schedule.b1.shape))
        low, high = schedule.ends.tolist()
        levels = torch.stack(
            [estimate(None, schedule, x, generator, False, False)[0].mean() for _ in range(200)]
        )
        level, pixel, top, leaves = estimate(None, schedule, x, generator, False, False)
    grid = torch.linspace(low, high, 20001, dtype=torch.float64)
    integral = torch.trapezoid(cost(grid), grid).item()
    error = levels.std().item() / math.sqrt(len(levels))
    assert (
        levels.mean().item() == pytest.approx(integral, abs=4 * error + 1e-3)
        and error < 0.01 * integral
    )
    assert (
        len(level) == 56
        and len(pixel) == 8
        and torch.allclose(pixel, torch.tensor(2.5))
        and len(top) == 64
    )


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 144), (2, 144, 16), (1, 1, 9)])
def test_orthogonalise_gives_singular_values_near_one(shape):
    """Random matrices become semi-orthogonal: singular values in 0.6..1.3, directions kept."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(4)) * 1e-3
    result = orthogonalise(matrices)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (torch.einsum("nik,nij,nkj->nk", u, result, v) > 0.6).all()


def test_muon_moves_against_the_gradient_by_its_rate():
    """One step moves a weight downhill by lr times a near-orthogonal matrix, for any gradient."""
    for size in (1e-4, 1e4):
        weight = torch.nn.Parameter(
            torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(1))
        )
        before, gradient = (
            weight.detach().clone(),
            size * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(2)),
        )
        weight.grad = gradient.clone()
        Muon([weight], lr=0.01, weight_decay=0.0).step()
        change = (weight.detach() - before).flatten(1) / 0.01
        values = torch.linalg.svdvals(change)
        assert values.min() > 0.6 and values.max() < 1.3
        assert (change * gradient.flatten(1)).sum() < 0


def test_a_step_that_is_not_finite_is_skipped(images):
    """A NaN in the loss changes nothing but the count of steps."""
    trainer = Trainer(TINY, SHORT, "cpu")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    x = torch.full((8, 3, 16, 16), float("nan"))
    assert trainer.step(x, 0.0) is None and trainer.steps == 1
    assert all(
        torch.equal(value, before[name]) for name, value in trainer.network.state_dict().items()
    )
    assert all(torch.isfinite(parameter).all() for parameter in trainer.schedule.parameters())


def test_an_expert_for_pixels_alone(images, tmp_path):
    """--only 0 0: no pair of levels in a batch, p(x | y_0) alone, whose cost falls."""
    config = dataclasses.replace(SHORT, at_levels=True, only=range(0, 1), minutes=0.02)
    row = train(images, tmp_path / "e", network=TINY, config=config, log_every=1)
    assert row["pixel"] > 0 and row["level"] == 0 and row["top"] == 0


# On a device


def on_device(images, path, device, resume=None, **options):
    """(what run_steps returns, reported rows) of a few blocks of steps."""
    config, rows = TrainingConfig(minutes=0.003, batch=8, patch=16, **options), []
    config = dataclasses.replace(config, bfloat16=device.type == "cuda")
    run = run_steps(images, path, TINY, config, device, resume, rows.append, 4, True)
    return run, rows


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def step_device(request):
    return torch.device(request.param)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"integer": True},
        {"integer": True, "at_levels": True},
        {"integer": True, "at_levels": True, "only": range(1)},
        {"integer": True, "at_levels": True, "only": range(7, 9)},
    ],
    ids=lambda o: "+".join(o),
)
def test_steps_on_a_device(images, tmp_path, step_device, options):
    """All kinds of runs: rows as of a CPU's; weights, average and schedule are finite and move."""
    run, rows = on_device(images, tmp_path / "m", step_device, **options)
    trainer = run.trainer
    assert rows and rows[-1] == run.row and run.images == 3
    assert set(rows[0]) == set(ROW) and rows[0]["total"] > 0
    assert run.trainer.steps % 4 == 0
    for name, value in trainer.average.items():
        assert value.isfinite().all(), name
    fresh, ours = LearnedSchedule().state_dict(), trainer.schedule.state_dict()
    moved = any(not torch.equal(fresh[name], value.cpu()) for name, value in ours.items())
    assert moved != bool(options.get("at_levels"))


def test_checkpoints_of_a_device_and_of_a_cpu(images, tmp_path, step_device):
    """Each goes on from the other's: weights, steps and the state of all optimisers."""
    run, _ = on_device(images, tmp_path / "m", step_device)
    run.trainer.save(tmp_path / "m.ckpt", run.minutes)
    trainer = Trainer(TINY, SHORT, "cpu")
    trainer.load(tmp_path / "m.ckpt")
    assert trainer.steps == run.trainer.steps
    x = Patches(images, 16, "cpu", wild=0).batch(8, trainer.generator)
    assert trainer.step(x, 0.5) is not None
    trainer.save(tmp_path / "n.ckpt", 1.0)
    again, _ = on_device(images, tmp_path / "o", step_device, resume=tmp_path / "n.ckpt")
    assert again.trainer.steps > trainer.steps and again.trainer.minutes_before > 1


def test_steps_on_a_device_lower_the_loss(images, tmp_path, step_device):
    """And the average follows at once: it costs less than the random weights."""
    images_, config = read_images([Source(images)], 16), TrainingConfig(batch=8, patch=16)
    mixture = Mixture(images_, 16, step_device)
    trainer = GraphTrainer(TINY, config, mixture, False, ramp=True)
    start = {name: value.clone() for name, value in trainer.average.items()}
    trainer.prepare(step_device.type == "cuda")
    totals = []
    for _ in range(4):
        trainer.set_rates(0.0)
        trainer.steps_on_device(16)
        parts = trainer.losses()
        assert parts.pop("finite") == 16
        totals.append(sum(parts.values()))
    assert totals[-1] < 0.9 * totals[0]
    change = [(trainer.average[k] - start[k]).norm() for k in start]
    ahead = [(v - start[k]).norm() for k, v in trainer.network.state_dict().items()]
    assert sum(change) > 0.3 * sum(ahead)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_run_on_a_card(images, tmp_path):
    """From images to a model file."""
    path = tmp_path / "m.safetensors"
    row = train(images, path, network=TINY, config=SHORT, device="cuda", log_every=4)
    assert row["pixels_per_second"] > 0
    assert Model(path).description["training"]["device"] == "cuda"
