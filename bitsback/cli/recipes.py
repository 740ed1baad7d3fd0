"""`train` and `export` with a recipe: all experts of a model at once (train/recipe.py)."""

import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitsback.cli.messages import FAILURES, print_error, print_line
from bitsback.errors import BitsbackError, OutputFailed, TrainingError
from bitsback.outputs import append_line
from bitsback.whole import make_folders

if TYPE_CHECKING:
    from bitsback.train.expert_run import Task
    from bitsback.train.held_out import Choice

RECIPE = ".toml"
ENSEMBLE_SIDE = 256  # pixels a side of the images that an ensemble is fitted to


def _line(name: str, row: dict[str, Any]) -> str:
    """A row that an expert's process reports, as one line."""
    return f"{name}: " + "  ".join(f"{key} {value}" for key, value in row.items())


def work(task: "Task") -> None:
    """Trains one expert in this process, which ends with status 3 if it could not use a graph.

    Rows go to standard error, and to the expert's .log.jsonl.
    """
    import torch

    from bitsback.train.expert_run import NoGraph, train_expert
    from bitsback.train.side_by_side import NO_GRAPH

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    name, begin = f"{task.recipe.name} {task.expert.name}", time.time()

    def report(row: dict[str, Any]) -> None:
        row = {"seconds": round(time.time() - begin, 1)} | row
        print_line(_line(name, row), to_stderr=True)
        try:
            append_line(task.path(".log.jsonl"), json.dumps(row))
        except OutputFailed as error:  # a full disk must not end the training
            print_line(f"{name}: {error}", to_stderr=True)

    try:
        train_expert(task, report)
    except NoGraph as error:
        report({"note": f"no CUDA graph: {error}"})
        sys.exit(NO_GRAPH)
    except Exception:  # a defect or the device's failure: the others go on
        report({"note": traceback.format_exc()[-1500:]})
        sys.exit(1)


def ensemble_of(path: Path) -> dict[str, Any] | None:
    """What a recipe of an ensemble says (train/ensemble.py); None where it is one of training.

    Errors: TrainingError.
    """
    from bitsback.train.recipe import read_table

    table = read_table(path)
    if "step" not in table and "expert" not in table:
        raise TrainingError("not a recipe (it has no experts, and no steps of an ensemble)")
    return table if "step" in table else None


def pixels_of(table: dict[str, Any], data: Path | None) -> list[Any]:
    """(H, W, 3) uint8 each, the held-out images to which an ensemble's rows for pixels are fitted.

    table: of `ensemble_of`; data: the folder that its sources are below.  Errors: TrainingError.
    """
    from bitsback.train.held_out import held_out
    from bitsback.train.recipe import sources_of

    if bool(table.get("source")) != bool(data):
        raise TrainingError("an ensemble needs --data where it has sources, and only there")
    found = []
    try:
        sources = sources_of(table, data or Path())
    except (KeyError, TypeError) as error:
        raise TrainingError(f"not a recipe ({error})") from None
    for source in sources:
        images = held_out(source, ENSEMBLE_SIDE).x
        found += [*(images + 128).byte().permute(0, 2, 3, 1).contiguous().numpy()]
    return found


def experts_of(
    path: Path, folder: Path, held_out: Path | None
) -> tuple[str, list[int], tuple[Path, ...]]:
    """(name of the data, families, files) of a recipe's experts; folder: the output of `train`.

    held_out: the folder that the recipe's sources are below, of whose held-out images each trained
    expert is measured, before and after: the better is taken; or None.  Errors: TrainingError.
    """
    from bitsback.train.recipe import read_recipe, weights_of

    recipe, left = read_recipe(path, held_out or path.parent), []
    if held_out:
        from bitsback.train import held_out as measure

        sources = [source for source in recipe.sources if source.hold_out]
        images = [measure.held_out(source, recipe.patch) for source in sources]
        for choice in measure.choices(recipe, folder, images):
            left += [] if choice.better else [choice.expert]
            print_line(_choice_line(choice))
    families = [expert.family for expert in recipe.experts]
    return recipe.data_name, families, tuple(weights_of(recipe, folder, left))


def _choice_line(choice: "Choice") -> str:
    before, after = choice.relative
    rows = "; ".join(f"{name} {old:.4f} -> {new:.4f}" for name, old, new in choice.sources)
    taken = "after" if choice.better else "before"
    return (
        f"{choice.expert.name}: bits/dim of {rows}; relative {after / before - 1:+.2%}: "
        f"the state {taken} training is taken"
    )


def train_recipe(
    path: Path,
    data: Path,
    output: Path,
    device: str,
    until: float | None,
    minutes: float | None,
    start: Path | None,
) -> None:
    """Trains the experts of a recipe; their files go to the folder `output`.

    data: the folder that the recipe's sources are below; until: time.time() at which all end;
    minutes, start: in place of the recipe's.  Exits with status 1 where an expert failed.
    """
    import dataclasses

    from bitsback.train.expert_run import Task, check_start
    from bitsback.train.mixture import read_images, save_images
    from bitsback.train.recipe import read_recipe
    from bitsback.train.side_by_side import train_side_by_side

    try:
        recipe = read_recipe(path, data)
        recipe = dataclasses.replace(
            recipe, minutes=minutes or recipe.minutes, start=start or recipe.start
        )
        check_start(recipe)
        make_folders(output)
        images = read_images(recipe.sources, recipe.patch)
        held = ", ".join(str(len(crops)) for crops in images.held)
        print_line(
            f"{recipe.name}: {len(images.sizes)} images, {len(images.pixels) / 1e6:.1f} megapixels;"
            f" held out {held or 'nothing, so no bounds are measured (hold_out)'}",
            to_stderr=True,
        )
        with tempfile.TemporaryDirectory() as folder:
            decoded = Path(folder) / "images.pt"
            save_images(images, decoded)
            del images
            bfloat16 = device.startswith("cuda")
            tasks = [
                Task(recipe, expert, decoded, output, device, bfloat16, until)
                for expert in recipe.trained
            ]
            failed = train_side_by_side(
                tasks, work, lambda line: print_line(f"{recipe.name} {line}", to_stderr=True)
            )
    except FAILURES as error:
        print_error(error, path)
        sys.exit(1)
    if failed:
        print_error(BitsbackError(f"not trained to the end: {', '.join(failed)}"), path)
        sys.exit(1)
