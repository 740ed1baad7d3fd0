"""The command `train`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bitsback.cli import recipes
from bitsback.cli.messages import FAILURES, ProgressBar, print_error, print_line
from bitsback.cli.network_options import expert_levels, network_config
from bitsback.cli.options import MOST_THREADS, FiniteRange, PathName, quiet_option, torch_seed
from bitsback.cli.resources import set_up
from bitsback.errors import BitsbackError, OutputExists, OutputFailed
from bitsback.memory import out_of_memory


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Flushes denormal numbers, which vanishing activations become, to zero in the block.

    The processor is a hundred times slower with them.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _is_log(path: Path) -> bool:
    """Whether all of a file are rows of a run: one that left no checkpoint does not hinder the next
    one."""
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError):
        return False
    return all(isinstance(row, dict) and "share" in row for row in rows)


def _continues(output: Path, resume: Path | None) -> bool:
    """Whether --resume names a file of an earlier run with this output, which is replaced then."""
    if not resume:
        return False
    written = (output, Path(f"{output}.ckpt"))
    return any(path.exists() and path.samefile(resume) for path in written)


@click.command()
@click.argument("folder", metavar="FOLDER|RECIPE", type=PathName())
@click.option(
    "-o",
    "--output",
    required=True,
    type=PathName(),
    help="Model file; the checkpoint is OUTPUT.ckpt.  With --only the checkpoint alone is written: "
    "`export` makes a model of several experts.",
)
@click.option("--minutes", type=FiniteRange(0, min_open=True), help="Default: 100, or RECIPE's.")
@click.option(
    "--until",
    type=FiniteRange(),
    metavar="SECONDS",
    help="With RECIPE: the end of training, in seconds since 1970 (`date +%s`).",
)
@click.option(
    "--data",
    type=PathName(exists=True, file_okay=False),
    help="With RECIPE: the folder of its sources (default: the recipe's own).",
)
@click.option(
    "--resume",
    type=PathName(exists=True, dir_okay=False),
    help="Checkpoint (.ckpt) or model file (.safetensors) to continue from; a network of another "
    "size is grown or loses blocks.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--network",
    "sizes",
    default="48,3,64,2,96,2",
    show_default=True,
    help="Width and number of blocks at half, quarter and eighth resolution.",
)
@click.option(
    "--passes",
    type=click.Choice(["2", "4", "8"]),
    default="4",
    show_default=True,
    help="Coding passes over a 2x2 block of pixels; with fewer than --resume has, its later heads "
    "are taken.",
)
@click.option("--batch", type=click.IntRange(8), help="Patches a step (16; 256 on a GPU).")
@click.option(
    "--patch",
    type=click.IntRange(16),
    default=64,
    show_default=True,
    help="Side of a patch, a multiple of 8.",
)
@click.option(
    "--decay-from",
    type=FiniteRange(0, 1),
    default=0.33,
    show_default=True,
    help="Share of the run before the learning rate falls.",
)
@click.option(
    "--lr-scale",
    type=FiniteRange(0, 10, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor of the learning rates: 0.3 to continue from a trained network.",
)
@click.option("--integer", is_flag=True, help="Round in training as the integer model does.")
@click.option(
    "--at-levels",
    is_flag=True,
    help="Train at the coder's own noise levels only: for the last part of a training.",
)
@click.option(
    "--only",
    type=(int, int),
    help="With --at-levels: train an expert for these levels, the first and the last of them, "
    "counted from 0.",
)
@click.option("--seed", type=int, default=1, callback=torch_seed, show_default=True)
@click.option("--data-name", help="Name of the data in `bitsback models` (default: FOLDER).")
@click.option(
    "-T",
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    help="CPU threads; one is best on a busy machine.",
)
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Overwrite existing outputs; so does --resume of OUTPUT.ckpt or OUTPUT.",
)
@quiet_option
def train(
    folder: Path,
    output: Path,
    minutes: float | None,
    until: float | None,
    data: Path | None,
    resume: Path | None,
    device: str,
    sizes: str,
    passes: str,
    batch: int | None,
    patch: int,
    decay_from: float,
    lr_scale: float,
    integer: bool,
    at_levels: bool,
    only: tuple[int, int] | None,
    seed: int,
    data_name: str | None,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Train a prior on the images below FOLDER; the losses go to OUTPUT.log.jsonl.

    A RECIPE (.toml) names the experts of a model, which are trained side by side; OUTPUT is then a
    folder, and a run that was ended goes on from what is in it.
    """
    device = set_up(None, threads, device)
    if folder.suffix == recipes.RECIPE:
        data = data or folder.parent
        return recipes.train_recipe(folder, data, output, device, until, minutes, resume)
    from bitsback import outputs
    from bitsback.train import loop

    network, levels = network_config(sizes, passes), expert_levels(only, at_levels)
    if patch % 8:
        raise click.UsageError("--patch must be a multiple of 8")
    config = loop.TrainingConfig(
        minutes=minutes or 100.0,
        batch=batch or (256 if device.startswith("cuda") else 16),
        patch=patch,
        decay_from=min(decay_from, 0.999),
        lr_scale=lr_scale,
        integer=integer,
        at_levels=at_levels,
        only=levels,
        seed=seed,
        bfloat16=loop.prefers_bfloat16(device),
    )
    try:
        may_replace = force or _continues(output, resume)
        checkpoint, log = Path(f"{output}.ckpt"), Path(f"{output}.log.jsonl")
        for path in [checkpoint] if levels else [output, checkpoint]:
            outputs.refuse(path, [], may_replace)
        if not resume and not _is_log(log):
            outputs.refuse(log, [], force)
        with open(log, "a" if resume else "w"):
            pass
    except FAILURES as error:
        print_error(error, getattr(error, "filename", None) or output)
        sys.exit(1)

    def report(row: dict[str, Any]) -> None:
        outputs.append_line(log, json.dumps(row))
        bar(row["share"])
        if not quiet:
            print_line(
                f"{row['minutes']:7.1f} min  step {row['steps']:6d}  bits/dim {row['total']:.4f} = "
                f"levels {row['level']:.4f} + pixels {row['pixel']:.4f} + top {row['top']:.4f}  "
                f"{row['pixels_per_second']} pixels/s",
                to_stderr=True,
            )

    try:
        with ProgressBar(output, quiet) as bar, denormals_as_zero():
            loop.train(
                folder,
                output,
                network=network,
                config=config,
                device=device,
                resume=resume,
                report=report,
                data_name=data_name,
                force=may_replace,
            )
    except (BitsbackError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        of_output = isinstance(error, (OutputExists, OutputFailed))
        print_error(error, output if of_output else folder)
        sys.exit(1)
    except KeyboardInterrupt:
        if not checkpoint.exists():
            told = f"{checkpoint}: not there yet, so nothing can be resumed"
            print_line(f"bitsback: {told}", to_stderr=True)
        raise
    finally:
        if log.is_file() and not log.stat().st_size:  # made before the work, to see that it can be
            log.unlink()
