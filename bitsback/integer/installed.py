"""The models at hand: those shipped in the package, and those that the user has added.

Files name a model by its id, so it is looked for by id: in the package, then in the user's folder
(`bitsback models add`, coder/models_folder.py).  Only heads of model files are read here, and torch
is not loaded.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bitsback.errors import WrongModel

MODELS = Path(__file__).resolve().parents[1] / "models"
SUFFIX = ".safetensors"
KEY = "bitsback"  # of the metadata of a model file
# Version of a model's integers and of what the network computes with them (ARITHMETIC.md,
# sections 1, 2, 6 and 8); a model's id depends on it.  chain.CODER_ARITHMETIC is for all else and
# may change without a change of any model file.
MODEL_ARITHMETIC = 7
# Of files of ensembles, which name models in place of integers (ARITHMETIC.md, section 17).
ENSEMBLE_ARITHMETIC = 8
# Name of the whole arithmetic, these and CODER_ARITHMETIC together, for people: "1.0" is what every
# release of 1.x computes, "1.1" adds ensembles.
ARITHMETIC_VERSION = "1.1"
FOLDER_VARIABLE = "BITSBACK_MODELS"  # environment variable: where added models are
ID_DIGITS = 16  # of an id that name a model: in files, in names of added models
LEAST_DIGITS = 8  # of an id that a user gives


def read_head(path: str | Path) -> dict[str, Any]:
    """The description in a model file, whose `id` is 64 hex digits; its integers are not read.

    Errors: WrongModel where it is no model file, or one of another arithmetic.
    """
    try:
        if not Path(path).is_file():
            raise WrongModel(f"{path}: not a regular file")  # opening a FIFO would wait
        open(path, "rb").close()  # its error says why; safetensors' own says "no such file"
        with safe_open(str(path), framework="numpy") as f:
            head = json.loads((f.metadata() or {})[KEY])
        if not re.fullmatch("[0-9a-f]{64}", head["id"]):
            raise ValueError("its id is not 64 hex digits")
        arithmetic = head["arithmetic"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise no_model(path, error) from None
    if arithmetic not in (MODEL_ARITHMETIC, ENSEMBLE_ARITHMETIC):
        raise WrongModel(other_arithmetic(path, arithmetic))
    return head


def no_model(path: str | Path, error: Exception) -> WrongModel:
    """The WrongModel for what reading a file raised."""
    if isinstance(error, OSError):
        return WrongModel(f"{path}: {error.strerror or error}")
    why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return WrongModel(f"{path}: not a bitsback model ({why or type(error).__name__})")


def other_arithmetic(path: str | Path, arithmetic: object) -> str:
    """The message about a model that this program cannot compute."""
    known = f"{MODEL_ARITHMETIC} and {ENSEMBLE_ARITHMETIC}"
    return f"{path}: arithmetic {arithmetic}, this program computes {known}"


def stored_id(path: str | Path) -> str | None:
    """The id in a model file's metadata, without reading its integers; None if there is none."""
    try:
        return read_head(path)["id"]
    except WrongModel:
        return None


def stored_members(path: str | Path) -> list[str]:
    """The ids of the models that an ensemble's file names; [] for any other file."""
    try:
        models = read_head(path)["ensemble"]["models"]
    except (WrongModel, KeyError, TypeError):
        return []
    return models if isinstance(models, list) else []


def shipped_models() -> dict[str, Path]:
    """{name: path} of the models inside the package."""
    return {path.stem: path for path in sorted(MODELS.glob(f"*{SUFFIX}"))}


def models_folder() -> Path | None:
    """Where added models are: $BITSBACK_MODELS, or `models` in the user's data folder.

    None where the user has no home.  The folder need not exist.
    """
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    from platformdirs import user_data_path

    folder = user_data_path("bitsback", appauthor=False) / "models"
    return folder if folder.is_absolute() else None


def folder_files() -> list[Path]:
    """All files in the user's folder that are named as models are, sorted.  Errors: OSError."""
    folder = models_folder()
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except FileNotFoundError:
        return []
    return [folder / name for name in names if folder and name.endswith(SUFFIX)]


def added_models() -> tuple[dict[Path, str], list[WrongModel]]:
    """({path: id} of the models in the user's folder, by their heads; why others are left out)."""
    found, skipped = {}, []
    try:
        files = folder_files()
    except OSError as error:
        return {}, [WrongModel(f"{models_folder()}: {error.strerror}")]
    for path in files:
        try:
            found[path] = read_head(path)["id"]
        except WrongModel as error:
            skipped.append(error)
    return found, skipped


def models_of_id(digits: str) -> Iterator[Path]:
    """Files of models whose ids begin with `digits`: shipped ones, then, if asked for, added ones.

    Errors: WrongModel at the end, where there was none.
    """
    shipped = [p for p in shipped_models().values() if (stored_id(p) or "").startswith(digits)]
    yield from shipped
    added, skipped = added_models()
    by_name = sorted(added, key=lambda path: path.stem != digits[:ID_DIGITS])
    found = [path for path in by_name if added[path].startswith(digits)]
    yield from found
    if not shipped and not found:
        raise WrongModel(
            f"made with model {digits}, which is not here: add its file by `bitsback models add "
            f"FILE`, or give it with --model FILE{_left_out(skipped)}"
        )


def find_model(name: str | os.PathLike) -> Path:
    """The file of a model: by shipped name, path, name in the user's folder, or digits of its id.

    Errors: WrongModel, with the names of the models that are here.
    """
    name, shipped = str(name), shipped_models()
    if name in shipped:
        return shipped[name]
    if os.path.isfile(name):
        return Path(name)
    added, skipped = added_models()
    for path in added:
        if path.stem == name:
            return path
    if len(name) >= LEAST_DIGITS and re.fullmatch("[0-9a-f]+", name):
        ids = {path: stored_id(path) or "" for path in shipped.values()} | added
        found = {known: path for path, known in reversed(ids.items()) if known.startswith(name)}
        if len(found) > 1:
            raise WrongModel(f"{name}: begins the ids of several models: {', '.join(found)}")
        if found:
            return found.popitem()[1]
    here = f"shipped: {', '.join(shipped) or 'none'}"
    if added:
        here += f"; added: {', '.join(path.stem for path in added)}"
    raise WrongModel(f"{name}: no such model; {here}{_left_out(skipped)}")


def _left_out(skipped: list[WrongModel]) -> str:
    """What to add to an error where files of the user's folder are not models."""
    return f" (left out: {'; '.join(map(str, skipped))})" if skipped else ""
