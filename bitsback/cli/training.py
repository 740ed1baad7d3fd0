"""The commands that make a prior: `train` and `export`.  Parse, call, print."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from bitsback.cli.shared import Bar, fail, say, torch_device
from bitsback.errors import BitsbackError, OutputExists, OutputFailed, TrainingError


@contextmanager
def tiny_numbers_as_zero():
    """Dying activations leave denormal numbers, a hundred times slower.  The processor's mode is given back after."""
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _goes_on(output, resume):
    """Whether --resume names what an earlier run wrote for the same output, which may then be replaced."""
    if not resume:
        return False
    written = [path for path in map(Path, (output, f"{output}.ckpt")) if path.exists()]
    return any(path.samefile(resume) for path in written)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Model file; OUTPUT.ckpt is kept beside it.  With --only the latter alone: `export` makes a model of experts.",
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint (.ckpt) or model file (.safetensors) to go on from; one of a smaller network is grown.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--network",
    "sizes",
    default="48,3,64,2,96,2",
    show_default=True,
    help="Width and blocks of half, quarter and eighth resolution.",
)
@click.option(
    "--passes",
    type=click.Choice(["2", "4", "8"]),
    default="4",
    show_default=True,
    help="Steps in which the pixels of a 2x2 block are coded; fewer than those of --resume take its later heads.",
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
    type=click.FloatRange(0, 1),
    default=0.33,
    show_default=True,
    help="Share of the run before the learning rate falls.",
)
@click.option(
    "--lr-scale",
    type=click.FloatRange(0, 10, min_open=True),
    default=1.0,
    show_default=True,
    help="Learning rates times this: 0.3 to go on from a trained network.",
)
@click.option("--integer", is_flag=True, help="Round in training as the integer model does.")
@click.option(
    "--at-levels", is_flag=True, help="Train at the coder's own levels only: for the last part."
)
@click.option(
    "--only",
    type=(int, int),
    help="With --at-levels: first and last level to train, counted from 0, as an expert for them.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--data-name", help="What `bitsback models` says it was trained on (default: FOLDER)."
)
@click.option(
    "-T", "--threads", type=click.IntRange(1), help="CPU threads; one is best beside other work."
)
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Overwrite existing outputs; --resume of OUTPUT.ckpt or OUTPUT does so anyway.",
)
@click.option("-q", "--quiet", is_flag=True)
def train(
    folder,
    output,
    minutes,
    resume,
    device,
    sizes,
    passes,
    batch,
    patch,
    decay_from,
    lr_scale,
    integer,
    at_levels,
    only,
    seed,
    data_name,
    threads,
    force,
    quiet,
):
    """Train a prior on the images below FOLDER; the loss log goes to OUTPUT.log.jsonl."""
    import torch

    from bitsback import outputs
    from bitsback.diffusion.levels import default_levels
    from bitsback.integer.config import NetworkConfig
    from bitsback.train import loop
    from bitsback.train.trainer import TrainingConfig

    device = torch_device(device)
    if threads:
        torch.set_num_threads(threads)
    try:
        width1, n1, width2, n2, width3, n3 = map(int, sizes.split(","))
        network = NetworkConfig(width1, n1, width2, n2, width3, n3, passes=int(passes))
    except ValueError:
        raise click.UsageError(
            "--network takes six whole numbers, such as 48,3,64,2,96,2"
        ) from None
    if only and not (at_levels and 0 <= only[0] <= only[1] < len(default_levels())):
        raise click.UsageError(
            f"--only takes two of the levels 0 to {len(default_levels()) - 1}, the first not above the last, and needs --at-levels"
        )
    if patch % 8:
        raise click.UsageError("--patch must be a multiple of 8")
    config = TrainingConfig(
        minutes=minutes,
        batch=batch or (256 if device.startswith("cuda") else 16),
        patch=patch,
        decay_from=min(decay_from, 0.999),
        lr_scale=lr_scale,
        integer=integer,
        at_levels=at_levels,
        only=range(only[0], only[1] + 1) if only else None,
        seed=seed,
        bfloat16=loop.prefers_bfloat16(device),
    )
    try:
        may_replace = force or _goes_on(output, resume)
        for path in [f"{output}.ckpt"] if only else [output, f"{output}.ckpt"]:
            outputs.refuse(path, [], may_replace)
        log = open(f"{output}.log.jsonl", "w" if force and not resume else "a", encoding="utf-8")
    except (BitsbackError, OSError) as error:
        fail(error, output)
        sys.exit(1)

    def report(row):
        log.write(json.dumps(row) + "\n")
        log.flush()
        bar(row["share"])
        if not quiet:
            click.echo(
                f"{row['minutes']:7.1f} min  step {row['steps']:6d}  bits/dim {row['total']:.4f} = levels {row['level']:.4f} + "
                f"pixels {row['pixel']:.4f} + top {row['top']:.4f}  {row['pixels_per_second']} pixels/s",
                err=True,
            )

    try:
        with log, Bar(output, quiet) as bar, tiny_numbers_as_zero():
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
    except (BitsbackError, OSError) as error:
        fail(error, output if isinstance(error, (OutputExists, OutputFailed)) else folder)
        sys.exit(1)


@click.command()
@click.argument(
    "checkpoints",
    nargs=-1,
    required=True,
    metavar="CHECKPOINT...",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Images to measure the cost of rounding on.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Images of DATA to take.",
)
@click.option(
    "--equalise",
    "training_data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Training images to equalise hidden channels on: for a model trained without --integer.",
)
@click.option(
    "--families",
    help="A number for each expert, such as 0,1,1,2: those that grew out of one network share tuned biases (default: each its own).",
)
@click.option(
    "--data-name", default="not said", help="What `bitsback models` says it was trained on."
)
@click.option(
    "--device-name", default="cpu", show_default=True, help="What it says of the devices."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    help="What it says of the minutes, where the checkpoints know the last of them only.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing output.")
def export(
    checkpoints,
    output,
    data,
    limit,
    training_data,
    families,
    data_name,
    device_name,
    minutes,
    force,
):
    """Turn a checkpoint of `train`, or those of experts (--only), into an integer model, and say what rounding costs.

    A model file (.safetensors) among them lends its experts for the levels that no checkpoint has.
    """
    from bitsback import outputs
    from bitsback.diffusion.levels import default_levels
    from bitsback.train.checkpoints import read_checkpoints
    from bitsback.train.export import save_model

    try:
        families = families and [int(number) for number in families.split(",")]
    except ValueError:
        raise click.UsageError("--families takes whole numbers, such as 0,1,1,2") from None
    try:
        outputs.refuse(output, checkpoints, force)
        network, told = read_checkpoints(checkpoints, families)
        if training_data:
            from benchmarks.research.equalise import equalise
            from bitsback.train.measure import centre_crops

            if len(checkpoints) > 1:
                raise TrainingError(
                    "experts are trained with --integer: there is nothing to equalise"
                )
            equalise(network, default_levels(), centre_crops(training_data, 6, side=192))
        told |= {"device": device_name, "data": data_name} | (
            {} if minutes is None else {"minutes": minutes}
        )
        save_model(output, network, default_levels(), told, force=force)
        if data:
            from bitsback.train.measure import bound_bits, centre_crops

            images = centre_crops(data, limit)
            rates = {
                name: sum(bound_bits(network, default_levels(), images, integer))
                for name, integer in (("float", False), ("integer", True))
            }
            say(
                f"bound on {len(images)} centre crops of {data}: float {rates['float']:.4f}, integer {rates['integer']:.4f} bits/dim; "
                f"rounding costs {rates['integer'] - rates['float']:+.4f}"
            )
    except (BitsbackError, OSError) as error:
        fail(error, output if isinstance(error, (OutputExists, OutputFailed)) else checkpoints[0])
        sys.exit(1)
