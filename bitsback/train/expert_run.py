"""The training of one expert of a recipe, in a process of its own beside those of the others."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitsback.errors import TrainingError
from bitsback.outputs import write
from bitsback.train.denoiser import Denoiser, set_fused
from bitsback.train.graph import BLOCK, GraphTrainer, fastest_convolutions
from bitsback.train.kernel_check import kernels_agree
from bitsback.train.measure import bound_bits
from bitsback.train.mixture import Mixture, load_images
from bitsback.train.packed_weights import SUFFIX, first_line, pack
from bitsback.train.recipe import Expert, Recipe
from bitsback.train.trainer import checkpoint_bytes

Report = Callable[[dict[str, Any]], None]
REPORT_SECONDS = 20.0
PRESET = 1  # of LZMA, for weights of a run that goes on


class NoGraph(Exception):
    """The step could not be captured: the process must start again without a graph."""


@dataclass(frozen=True)
class Task:
    """What a process needs to train an expert.

    images: file of mixture.save_images; output: folder of its files; until: time.time() at which
    the run ends, or None: `recipe.minutes` after it is ready; graph, fused: whether to try them.
    """

    recipe: Recipe
    expert: Expert
    images: Path
    output: Path
    device: str
    bfloat16: bool
    until: float | None = None
    graph: bool = True
    fused: bool = True

    def path(self, suffix: str) -> Path:
        """One of the expert's files."""
        return self.output / f"{self.expert.name}{suffix}"


def _bounds(trainer: GraphTrainer, held: list[torch.Tensor]) -> list[list[float]]:
    """For each source's held-out crops, bits a dimension of the expert's levels."""
    config = trainer.config
    network = Denoiser(trainer.network.config).to(trainer.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.load_state_dict(trainer.average)
    set_fused(network, trainer.fused)
    results = []
    with torch.autocast(trainer.device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
        for crops in held:
            if len(crops):
                x = crops.to(trainer.device).float() - 128
                bits = bound_bits(network, trainer.levels, x, True, batch=16, only=config.only)
                results.append([round(value, 5) for value in bits])
    return results


def _report_bounds(
    trainer: GraphTrainer, held: list[torch.Tensor], when: str, report: Report
) -> None:
    try:
        report({"bounds": _bounds(trainer, held), "when": when, "steps": trainer.steps})
    except Exception as error:  # a measurement must not end the training
        report({"note": f"bounds not measured: {first_line(error)}"})


class _Saver:
    """Writes weights and checkpoints in a thread, from copies in the host's memory."""

    def __init__(self, task: Task, report: Report) -> None:
        self.task, self.report, self.thread = task, report, threading.Thread()

    def save(self, trainer: GraphTrainer, minutes: float) -> None:
        """Begins to save; the caller may go on training.  Waits for the save before."""
        state = trainer.state(minutes)
        state["average"] = {name: value.cpu() for name, value in state["average"].items()}
        if not all(bool(value.isfinite().all()) for value in state["average"].values()):
            self.report({"note": "the average is not finite: nothing saved"})
            return
        checkpoint = checkpoint_bytes(state)
        kept = ("average", "config", "only", "steps", "minutes")
        weights = {name: state[name] for name in kept}
        self.wait()
        self.thread = threading.Thread(target=self._write, args=(weights, checkpoint))
        self.thread.start()

    def wait(self) -> None:
        """Waits until the save is done."""
        if self.thread.ident is not None:
            self.thread.join()

    def _write(self, weights: dict[str, Any], checkpoint: bytes) -> None:
        try:
            write(pack([weights], PRESET), self.task.path(SUFFIX), force=True)
            write(checkpoint, self.task.path(".ckpt"), force=True)
        except Exception as error:  # a full disk must not end the training
            self.report({"note": f"not saved: {first_line(error)}"})


def _start(task: Task, report: Report) -> tuple[GraphTrainer, list[torch.Tensor]]:
    """A trainer at its start, or where it was ended, and held-out crops.  Errors: TrainingError."""
    images, recipe = load_images(task.images), task.recipe
    config = recipe.config(task.expert, task.bfloat16)
    mixture = Mixture(images, config.patch, task.device, recipe.augment)
    fused = task.fused and task.bfloat16 and kernels_agree(task.device)
    if task.fused and task.bfloat16 and not fused:
        report({"note": "the kernels of fused.py do not work here: plain operations"})
    trainer = GraphTrainer(task.expert.config, config, mixture, fused)
    begun = task.path(".ckpt")
    start = begun if begun.exists() else recipe.start
    if start:
        trainer.load(start)
    report({"note": f"{start or 'new'}, step {trainer.steps}", "fused": fused})
    if start != begun:
        _report_bounds(trainer, images.held, "before", report)
    return trainer, images.held


def _prepare(trainer: GraphTrainer, task: Task, report: Report) -> None:
    """Makes the trainer ready for steps.  Errors: NoGraph."""
    graph = task.graph and trainer.device.type == "cuda"
    try:
        trainer.prepare(graph)
    except Exception as error:
        if not graph:
            raise
        raise NoGraph(first_line(error)) from error
    report({"note": "ready", "graph": graph})


def train_expert(task: Task, report: Report) -> None:
    """Trains an expert until task.until, and leaves its weights (.weights) and checkpoint (.ckpt).

    A run that was ended early goes on from its checkpoint.  report: called with rows: notes, losses
    (bits a dimension) every 20 seconds, bounds of held-out crops before and after.
    Errors: NoGraph; TrainingError.
    """
    trainer, held = _start(task, report)
    saver, begin = _Saver(task, report), time.time()
    with fastest_convolutions():
        _prepare(trainer, task, report)
        _run(trainer, task, saver, report)
    trainer.share_before = 1.0
    saver.save(trainer, (time.time() - begin) / 60)
    _report_bounds(trainer, held, "after", report)
    saver.wait()


def _run(trainer: GraphTrainer, task: Task, saver: _Saver, report: Report) -> None:
    """Takes steps until the end of the run."""
    config, done = trainer.config, trainer.share_before
    begin = saved = reported = time.time()
    end = task.until or begin + 60 * config.minutes * (1 - done)
    steps = first = trainer.steps
    while (now := time.time()) < end or trainer.steps == first:
        trainer.share_before = min(1.0, done + (1 - done) * (now - begin) / max(end - begin, 1.0))
        trainer.set_rates(trainer.share_before)
        trainer.steps_on_device(BLOCK)
        if task.expert.share < 1:
            time.sleep(min(5.0, (time.time() - now) * (1 / task.expert.share - 1)))
        if time.time() - reported > REPORT_SECONDS:
            seconds, reported = time.time() - reported, time.time()
            report(_row(trainer, trainer.steps - steps, seconds))
            steps = trainer.steps
        if time.time() - saved > 60 * config.save_every:
            saved = time.time()
            saver.save(trainer, (saved - begin) / 60)


def _row(trainer: GraphTrainer, steps: int, seconds: float) -> dict[str, Any]:
    losses = trainer.losses()
    if not losses.pop("finite"):
        return {"note": "no loss was finite", "steps": trainer.steps}
    pixels = steps * trainer.config.batch * trainer.config.patch**2
    return {name: round(value, 4) for name, value in losses.items()} | {
        "steps": trainer.steps,
        "share": round(trainer.share_before, 3),
        "pixels_per_second": round(pixels / seconds),
    }


def check_start(recipe: Recipe) -> None:
    """Errors: TrainingError where the recipe's start is not there."""
    if recipe.start and not recipe.start.exists():
        raise TrainingError(f"{recipe.start}: no such file")
