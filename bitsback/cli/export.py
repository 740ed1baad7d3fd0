"""The command `export`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bitsback.cli import recipes
from bitsback.cli.messages import FAILURES, print_error, print_line
from bitsback.cli.options import FiniteRange, PathName, force_option
from bitsback.errors import OutputExists, OutputFailed, TrainingError

if TYPE_CHECKING:
    from torch import Tensor


def _equalise(network: Any, training_data: Path, checkpoints: int) -> None:
    """Equalises a network's hidden channels in place.  Errors: TrainingError."""
    from bitsback.diffusion.levels import default_levels
    from bitsback.train.equalise import equalise
    from bitsback.train.measure import centre_crops

    if checkpoints > 1:
        raise TrainingError("experts are trained with --integer: --equalise is not for them")
    equalise(network, default_levels(), centre_crops(training_data, 6, side=192))


def _with_variances(network: Any, variance: str, crops: Path) -> tuple[Any, Any]:
    """(networks, table) of a grade of the reverse variance.  Errors: UnsupportedImage."""
    import numpy as np

    from bitsback.train.grades import CORRECTIONS, graded, kept_corrections
    from bitsback.train.measure import centre_crops

    x = centre_crops(crops, 8, side=128)
    if variance not in CORRECTIONS:
        return graded(network, variance, x)
    pixels = (x + 128).byte().permute(0, 2, 3, 1).contiguous().numpy()
    table, bits = kept_corrections(network, list(pixels), kind=variance)
    changes = np.diff(bits, axis=0)[0] / x.numel()
    kept = ", ".join(str(k) for k in range(len(table)) if bool(table[k].any())) or "none"
    print_line(
        f"{variance}, corrections: bits/dim coded of {len(x)} crops of {crops}: "
        + " ".join(f"{change:+.5f}" for change in changes)
        + f" (levels 0, 1, ...); kept: {kept}"
    )
    return network, table


def _print_bounds(network: Any, images: "Tensor", data: Path) -> None:
    """Prints the bound on centre crops of `data`, in float and in integer arithmetic."""
    from bitsback.diffusion.levels import default_levels
    from bitsback.train.measure import bound_bits

    real, integer = (
        sum(bound_bits(network, default_levels(), images, rounded)) for rounded in (False, True)
    )
    print_line(
        f"bound on {len(images)} centre crops of {data}: float {real:.4f}, integer {integer:.4f} "
        f"bits/dim; rounding costs {integer - real:+.4f}"
    )


@click.command()
@click.argument(
    "checkpoints",
    nargs=-1,
    required=True,
    metavar="CHECKPOINT...",
    type=PathName(exists=True, dir_okay=False),
)
@click.option("-o", "--output", required=True, type=PathName(), help="Model file.")
@click.option(
    "--data",
    type=PathName(exists=True, file_okay=False),
    help="Folder of PNG or WebP images of 256x256 or more on which to measure the cost of "
    "rounding; for an ensemble, that of its recipe's sources.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Number of images of DATA.",
)
@click.option(
    "--equalise",
    "training_data",
    type=PathName(exists=True, file_okay=False),
    help="Training images on which to equalise hidden channels, for a model trained without "
    "--integer.",
)
@click.option(
    "--variance",
    type=click.Choice(["analytic", "head", "calibrated"]),
    help="Reverse variances: one number a level and channel (Analytic-DPM), or the network's, "
    "corrected by level, channel and pass where that pays, or means and variances calibrated by "
    "level and channel (Calibrated DPM), also where that pays (default: the network's).",
)
@click.option(
    "--crops",
    type=PathName(exists=True, file_okay=False),
    help="Training images for --variance.",
)
@click.option(
    "--families",
    help="The family of each expert, such as 0,1,1,2: those of one family grew out of one network "
    "and share bias updates (default: a family each).",
)
@click.option(
    "--experts",
    type=PathName(exists=True, file_okay=False),
    help="With a recipe: the folder in which `train RECIPE` left its experts.",
)
@click.option(
    "--keep-better",
    type=PathName(exists=True, file_okay=False),
    metavar="DATA",
    help="With a recipe: the folder of its sources.  Of each expert that it trained, the state "
    "before or after is taken, whichever has the smaller bound on the held-out images.",
)
@click.option(
    "--data-name",
    help="Name of the training data in `bitsback models` (default: the recipe's).",
)
@click.option(
    "--device-name",
    default="cpu",
    show_default=True,
    help="Name of the training devices in `bitsback models`.",
)
@click.option(
    "--minutes",
    type=FiniteRange(0),
    help="Minutes of training in `bitsback models` (default: those in the checkpoints, added up; "
    "of a recipe's experts, which train side by side, the longest).",
)
@force_option
def export(
    checkpoints: tuple[Path, ...],
    output: Path,
    data: Path | None,
    limit: int,
    training_data: Path | None,
    variance: str | None,
    crops: Path | None,
    families: str | None,
    experts: Path | None,
    keep_better: Path | None,
    data_name: str | None,
    device_name: str,
    minutes: float | None,
    force: bool,
) -> None:
    """Turn checkpoints of `train` into an integer model, or into float weights (-o NAME.weights).

    One checkpoint, or those of several experts (--only), or a recipe (.toml) with --experts.
    A model file (.safetensors) or weights among them lend the experts of levels that no checkpoint,
    or weights before them, have. With --data the cost of rounding is printed. A recipe of an
    ensemble names the models whose mean it is; if it has sources it needs --data, too.
    """
    from bitsback import outputs
    from bitsback.diffusion.levels import default_levels
    from bitsback.train.checkpoints import packed_states, read_checkpoints
    from bitsback.train.ensemble import save_ensemble
    from bitsback.train.export import save_model
    from bitsback.train.measure import centre_crops
    from bitsback.train.packed_weights import SUFFIX, write_packed

    try:
        numbers = [int(number) for number in families.split(",")] if families else None
    except ValueError:
        raise click.UsageError("--families takes whole numbers, such as 0,1,1,2") from None
    if bool(variance) != bool(crops):
        raise click.UsageError("--variance and --crops need one another")
    at_once = checkpoints[0].suffix == recipes.RECIPE
    try:
        if at_once and len(checkpoints) == 1 and (table := recipes.ensemble_of(checkpoints[0])):
            if experts or numbers or variance or training_data or keep_better or data_name:
                raise click.UsageError("an ensemble takes no option but --data, -o and -f")
            if output.suffix == SUFFIX:
                raise click.UsageError("an ensemble has no weights of its own")
            outputs.refuse(output, checkpoints, force)
            save_ensemble(table, output, recipes.pixels_of(table, data), force=force)
            return
        if at_once:
            if not experts or len(checkpoints) > 1 or numbers:
                raise click.UsageError("a recipe needs --experts, and nothing beside it")
            name, numbers, checkpoints = recipes.experts_of(checkpoints[0], experts, keep_better)
            data_name = data_name or name
        elif keep_better:
            raise click.UsageError("--keep-better is for a recipe")
        outputs.refuse(output, checkpoints, force)
        if output.suffix == SUFFIX:
            write_packed(output, packed_states(checkpoints), force=force)
            return
        measured = centre_crops(data, limit) if data else None
        network, training = read_checkpoints(checkpoints, numbers, at_once)
        if training_data:
            _equalise(network, training_data, len(checkpoints))
        table = None
        if variance and crops:
            network, table = _with_variances(network, variance, crops)
        training |= {"device": device_name, "data": data_name or "not said"}
        if minutes is not None:
            training["minutes"] = minutes
        save_model(output, network, default_levels(), training, table, force=force)
        if data and measured is not None:
            _print_bounds(network, measured, data)
    except FAILURES as error:
        of_output = isinstance(error, (OutputExists, OutputFailed))
        print_error(error, output if of_output else checkpoints[0])
        sys.exit(1)
