"""A training run on a GPU: images in its memory, steps that stay there (graph.py)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.graph import BLOCK, GraphTrainer, fastest_convolutions
from bitsback.train.kernel_check import kernels_agree
from bitsback.train.loop import Run, progress_row, reported
from bitsback.train.mixture import Mixture, Source, read_images
from bitsback.train.training_config import TrainingConfig


def _prepared(
    network: NetworkConfig,
    config: TrainingConfig,
    mixture: Mixture,
    resume: str | Path | None,
) -> GraphTrainer:
    """A trainer that is ready for steps, as a CUDA graph where that can be captured."""
    rounded = config.integer and config.bfloat16
    fused = rounded and kernels_agree(mixture.device)
    on_cuda = torch.device(mixture.device).type == "cuda"
    for graph in [True, False] if on_cuda else [False]:
        trainer = GraphTrainer(network, config, mixture, fused, ramp=True)
        if resume:
            trainer.load(resume)
        try:
            trainer.prepare(graph)
            return trainer
        except Exception:  # a step that cannot be captured is taken operation by operation
            if not graph:
                raise
            del trainer
            torch.cuda.empty_cache()
    raise AssertionError


def run_steps(
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
    """The steps of loop.train, with checkpoints.  Errors: TrainingError, OutputExists."""
    images = read_images([Source(Path(folder))], config.patch)
    try:
        mixture = Mixture(images, config.patch, device)
    except torch.cuda.OutOfMemoryError:
        size = images.pixels.numel() / 2**30
        raise TrainingError(
            f"{folder}: {size:.1f} GiB of pixels do not fit the memory of {device}"
        ) from None
    with fastest_convolutions():
        trainer = _prepared(network, config, mixture, resume)
        begin = saved = since = time.monotonic()
        first = counted = trainer.steps
        row: dict[str, Any] = {}
        may_replace = force

        def told(now: float, minutes: float) -> dict[str, Any]:
            means, count = trainer.losses(), trainer.steps - counted
            if not means.pop("finite"):
                return row
            found = progress_row(trainer, means, count, now - since, minutes)
            return reported(trainer, found, report)

        while (minutes := (time.monotonic() - begin) / 60) < config.minutes or (
            trainer.steps == first
        ):
            trainer.set_rates(min(1.0, minutes / config.minutes))
            trainer.steps_on_device(BLOCK)
            now = time.monotonic()
            if trainer.steps - counted >= log_every:
                row = told(now, minutes)
                counted, since = trainer.steps, now
            if now - saved > 60 * config.save_every:
                saved = now
                trainer.save(f"{output}.ckpt", minutes, may_replace)
                may_replace = True  # a file that this run wrote
    minutes = (time.monotonic() - begin) / 60
    if trainer.steps > counted:  # the last steps, or all of a short run
        row = told(time.monotonic(), minutes)
    return Run(trainer, len(images.sizes), minutes, row, may_replace)
