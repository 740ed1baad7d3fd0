"""A training run: patches of photographs -> Trainer steps -> checkpoints and a model file."""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitsback.diffusion.levels import default_levels
from bitsback.integer.config import NetworkConfig
from bitsback.train.estimates import Estimate, estimate, estimate_at_levels
from bitsback.train.export import save_model
from bitsback.train.patches import Patches
from bitsback.train.plain import plain_torch
from bitsback.train.trainer import Trainer
from bitsback.train.training_config import TrainingConfig


def prefers_bfloat16(device: str | torch.device, width: int = 64) -> bool:
    """Whether a bfloat16 convolution runs faster than a float32 one, by timing both.

    width: number of channels.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.zeros(8, width, 32, 32, dtype=dtype, device=device).contiguous(
            memory_format=torch.channels_last
        )
        w = torch.zeros(width, width, 3, 3, dtype=dtype, device=device)
        for trial in range(6):
            if trial == 2:
                begin = time.perf_counter()
            torch.nn.functional.conv2d(x, w, padding=1).sum().item()
        seconds[dtype] = time.perf_counter() - begin
    return seconds[torch.bfloat16] < 0.9 * seconds[torch.float32]


class Run(NamedTuple):
    """A run that is over: images is their number, minutes those of this run, row the last reported;
    may_replace: whether its checkpoint may."""

    trainer: Trainer
    images: int
    minutes: float
    row: dict[str, Any]
    may_replace: bool


class Window:
    """Losses of the steps since the last report, added up."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count, self.begin = 0, time.monotonic()

    def add(self, losses: dict[str, Tensor]) -> None:
        """losses: of one step, from Trainer.step."""
        self.sums = {name: self.sums.get(name, 0) + value for name, value in losses.items()}
        self.count += 1

    def row(self, trainer: Trainer, minutes: float) -> dict[str, Any]:
        """progress_row of these steps."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        return progress_row(trainer, means, self.count, time.monotonic() - self.begin, minutes)


def progress_row(
    trainer: Trainer, means: dict[str, float], count: int, seconds: float, minutes: float
) -> dict[str, Any]:
    """What `train` reports of `count` steps that took `seconds`.

    means: bits a dimension by part; minutes: of this run.
    """
    config = trainer.config
    row: dict[str, Any] = {name: round(value, 4) for name, value in means.items()}
    return row | {
        "total": round(sum(row.values()), 4),
        "steps": trainer.steps,
        "minutes": round(trainer.minutes_before + minutes, 2),
        "share": min(1.0, minutes / config.minutes),
        "pixels_per_second": round(count * config.batch * config.patch**2 / seconds),
        "sigma_ends": sigma_ends(trainer, 3),
        "integer": config.integer,
    }


def reported(
    trainer: Trainer, row: dict[str, Any], report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The row, kept in the checkpoint's history and reported."""
    trainer.history.append(json.dumps(row))
    report(row)
    return row


def sigma_ends(trainer: Trainer, digits: int) -> list[float]:
    """The sigmas at both ends of the learned schedule, gray levels, rounded."""
    return [round(end, digits) for end in trainer.schedule.ends.detach().exp().tolist()]


@torch.random.fork_rng(devices=[])  # layers are made of random weights
@plain_torch()
def train(
    folder: str | Path,
    output: str | Path,
    *,
    network: NetworkConfig = NetworkConfig(),
    config: TrainingConfig = TrainingConfig(),
    device: str | torch.device = "cpu",
    resume: str | Path | None = None,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    log_every: int = 200,
    data_name: str | None = None,
    force: bool = True,
) -> dict[str, Any]:
    """Trains on the images below `folder` for `config.minutes`; returns the last reported row.

    On a CUDA device device_loop.py takes the steps.  Writes the model file `output` and the
    checkpoint `output`.ckpt; for an expert the latter alone.
    report: called with a row every `log_every` steps and at the end (bits a dimension: total and
    parts, pixels a second, share of the run); resume: a path for Trainer.load; data_name: name of
    the data in the model file; force: replace what other runs wrote.
    Errors: TrainingError, OutputExists, OutputFailed.
    """
    device = torch.device(device)
    if device.type == "cuda":
        from bitsback.train.device_loop import run_steps

        run = run_steps(folder, output, network, config, device, resume, report, log_every, force)
    else:
        run = _run(folder, output, network, config, device, resume, report, log_every, force)
    trainer, count, minutes, row, may_replace = run
    trainer.save(f"{output}.ckpt", minutes, may_replace)
    training = {
        "minutes": round(trainer.minutes_before + minutes, 1),
        "steps": trainer.steps,
        "images": count,
        "data": data_name or str(folder),
        "device": device.type,
        "integer": config.integer,
        "grey": config.gray > 0,  # the key's spelling in model files
        "sigma_ends": sigma_ends(trainer, 4),
    }
    if config.only is None:
        save_model(output, trainer.averaged(), default_levels(), training, force=force)
    return row


def _run(
    folder: str | Path,
    output: str | Path,
    network: NetworkConfig,
    config: TrainingConfig,
    device: torch.device,
    resume: str | Path | None,
    report: Callable[[dict[str, Any]], None],
    log_every: int,
    force: bool,
) -> Run:
    patches = Patches(folder, config.patch, device)
    trainer = Trainer(network, config, device)
    if resume:
        trainer.load(resume)
    forward: Callable[..., Estimate] = (
        functools.partial(estimate_at_levels, levels=default_levels(), only=config.only)
        if config.at_levels
        else estimate
    )
    begin = saved = time.monotonic()
    window, row, may_replace = Window(), {}, force
    while True:
        minutes = (time.monotonic() - begin) / 60
        if minutes >= config.minutes and trainer.steps:
            break
        x = patches.batch(config.batch, trainer.generator)
        losses = trainer.step(x, min(1.0, minutes / config.minutes), forward)
        if losses:
            window.add(losses)
        if trainer.steps % log_every == 0 and window.count:
            row = reported(trainer, window.row(trainer, minutes), report)
            window = Window()
        if time.monotonic() - saved > 60 * config.save_every:
            saved = time.monotonic()
            trainer.save(f"{output}.ckpt", minutes, may_replace)
            may_replace = True  # a file that this run wrote
    minutes = (time.monotonic() - begin) / 60
    if window.count:  # the last steps, or all of a short run
        row = reported(trainer, window.row(trainer, minutes), report)
    return Run(trainer, len(patches), minutes, row, may_replace)
