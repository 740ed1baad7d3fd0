"""The command `models`: a list of the models that are here; `add` and `remove`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from bitsback.cli.messages import FAILURES, print_error, print_file_error, print_line, print_result
from bitsback.cli.options import PathName, force_option, json_option
from bitsback.errors import WrongModel

files_argument = click.argument(
    "sources", metavar="FILE...", nargs=-1, required=True, type=PathName()
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that are here: id, size, training data and time.

    Shipped ones first, then those kept by `bitsback models add FILE`.
    """
    if context.invoked_subcommand:
        return
    from bitsback.integer.installed import added_models, shipped_models

    faults = []
    for name, path in shipped_models().items():
        try:
            _print_model(name, path, as_json)
        except WrongModel as error:
            print_error(error, path)
            faults.append(error)
    added, skipped = added_models()
    for path in added:
        try:
            _print_model(path.stem, path, as_json, added=True)
        except WrongModel as error:
            skipped.append(error)
    for warning in skipped:
        print_line(f"bitsback: left out: {warning}", to_stderr=True)
    sys.exit(1 if faults else 0)


def _print_model(name, path, as_json, added=False):
    """One line, of a file that is read and compared with its id.  Errors: WrongModel."""
    from bitsback.coder.model import Model
    from bitsback.integer.installed import ID_DIGITS

    model = Model(path)
    training: Any = model.description.get("training")
    parts = [one.id for one in model.models] if model.plan else []
    facts = {
        "name": name,
        "id": model.id,
        "bytes": path.stat().st_size,
        "levels": len(model.levels),
        "training": training,
        "ensemble": parts,
        "added": added,
        "path": str(path),
    }
    if as_json:
        print_line(json.dumps(facts))
        return
    try:
        trained = (
            f"trained {training['minutes']:.0f} minutes "
            f"({training['device']}) on {training['data']}"
        )
    except (LookupError, TypeError, ValueError):  # whoever made it need not have said
        trained = "training unknown"
    if parts:
        trained = f"ensemble of {', '.join(part[:ID_DIGITS] for part in parts)}"
    print_line(
        f"{'added' if added else name:10} {model.id[:16]}  {facts['bytes'] / 2**20:.1f} MiB  "
        f"{facts['levels']} levels  {trained}{f'  in {path}' if added else ''}"
    )


@models.command()
@files_argument
@force_option
@json_option
@click.pass_context
def add(context: click.Context, sources: tuple[Path, ...], force: bool, as_json: bool) -> None:
    """Keep model files, by id: files made with them then decode without --model.

    In $BITSBACK_MODELS, or the folder `models` in the user's data folder.  Each is checked before:
    its id is computed, and a small image is coded with it.
    """
    from bitsback.coder.models_folder import add_model

    as_json = as_json or _asked_before(context)

    def add_one(source):
        kept = add_model(source, force=force)
        facts = {
            "source": str(source),
            "id": kept.id,
            "path": str(kept.path),
            "new": kept.new,
            "shipped": kept.shipped,
        }
        state = "kept" if kept.new else "comes with bitsback" if kept.shipped else "here already"
        line = f"{source}: model {kept.id[:16]}, {state}: {kept.path}"
        print_result(facts, line, as_json=as_json, quiet=False, to_stderr=False)

    sys.exit(0 if _all_done(add_one, sources, as_json) else 1)


@models.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Also models that an added ensemble needs.")
@json_option
@click.pass_context
def remove(context: click.Context, names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Remove added models, by the first digits (8 or more) of their ids."""
    from bitsback.coder.models_folder import remove_model

    as_json = as_json or _asked_before(context)

    def remove_one(name):
        path = remove_model(name, force=force)
        facts = {"name": name, "path": str(path)}
        print_result(facts, f"removed {path}", as_json=as_json, quiet=False, to_stderr=False)

    sys.exit(0 if _all_done(remove_one, names, as_json) else 1)


def _all_done(work, names, as_json):
    """Whether `work` was done for all names; an error for each of the others.

    A model that is refused is tried again after the others: an ensemble is added after the models
    that it names, and removed before them.
    """
    pending, done = list(names), True
    while pending:
        refused: list[tuple[Any, WrongModel]] = []
        for name in pending:
            try:
                work(name)
            except WrongModel as error:
                refused.append((name, error))
            except FAILURES as error:
                print_file_error(error, name, as_json)
                done = False
        if len(refused) == len(pending):
            for name, why in refused:
                print_file_error(why, name, as_json)
            return False
        pending = [name for name, _ in refused]
    return done


def _asked_before(context):
    """Whether --json stood before the subcommand."""
    return bool(context.parent and context.parent.params.get("as_json"))
