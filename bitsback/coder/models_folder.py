"""Models kept in the user's folder, by id: added after a trial, and removed.

A file made with one decodes without naming it (installed.py finds it).
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from bitsback.coder.model import Model
from bitsback.coder.model_check import check_model
from bitsback.errors import OutputExists, OutputFailed, WrongModel
from bitsback.inputs import held, read_limited
from bitsback.integer.installed import (
    FOLDER_VARIABLE,
    ID_DIGITS,
    LEAST_DIGITS,
    SUFFIX,
    added_models,
    folder_files,
    models_folder,
    shipped_models,
    stored_id,
    stored_members,
)
from bitsback.integer.model_file import read_model
from bitsback.outputs import write

MOST_BYTES = 2**30  # of a model file; the largest shipped one has 4 % of it


class Kept(NamedTuple):
    """A model that is here: its id, its file, whether it was added now, or comes with bitsback."""

    id: str
    path: Path
    new: bool
    shipped: bool = False


def _file_bytes(source):
    """The bytes of a regular file that can be a model."""
    status = os.stat(source)
    if stat.S_ISDIR(status.st_mode):
        raise WrongModel(f"{source}: is a folder, not a bitsback model")
    if not stat.S_ISREG(status.st_mode):
        raise WrongModel(f"{source}: not a regular file")
    with held(source) as (stream, _):
        data = read_limited(stream, MOST_BYTES) if status.st_size <= MOST_BYTES else b""
    if not 0 < len(data) <= MOST_BYTES:
        size = f"{status.st_size} bytes, at most {MOST_BYTES}" if status.st_size else "empty"
        raise WrongModel(f"{source}: not a bitsback model ({size})")
    return data


def add_model(source: str | Path, *, force: bool = False) -> Kept:
    """Keeps a model file in the user's folder, as the first 16 digits of its id.

    The bytes that are kept are those that were checked: the id is that of their integers, and a
    small image is coded with them.  A model that is here already is not written again.  force:
    replace another file of that name.

    Errors: OSError, InputChanged; WrongModel where the file is no model of this arithmetic that
    works; OutputExists where another file has that name; OutputFailed.
    """
    data = _file_bytes(source)
    model = Model(source, data)
    if model.description.get("id") != model.id:
        raise WrongModel(f"{source}: not a bitsback model (it does not say its id)")
    check_model(model)
    for path in shipped_models().values():
        if stored_id(path) == model.id:
            return Kept(model.id, path, False, True)
    target = _made_folder() / f"{model.id[:ID_DIGITS]}{SUFFIX}"
    if os.path.lexists(target) and _fault(target, model.id) is None:
        return Kept(model.id, target, False)
    try:
        write(data, target, force=force, regular=True)
    except OutputExists:
        fault = _fault(target, model.id)
        if fault is None:  # added by another process meanwhile
            return Kept(model.id, target, False)
        hint = "it is no regular file" if force else "-f replaces it"
        raise OutputExists(f"{target}: is in the way of {source}: {fault}; {hint}") from None
    return Kept(model.id, target, True)


def _made_folder():
    """The user's folder, made where it was not there.  Errors: OutputFailed."""
    folder = models_folder()
    if folder is None:
        raise OutputFailed(f"no home folder to keep models in; set {FOLDER_VARIABLE}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(
            f"{folder}: cannot be made ({error.strerror}); {FOLDER_VARIABLE} names another folder"
        ) from None
    return folder


def _fault(path, model_id):
    """None where a file is that model, else what is wrong."""
    if not os.path.isfile(path):
        return "not a regular file"
    try:
        found = read_model(path)[2]
    except WrongModel as error:
        return str(error).removeprefix(f"{path}: ")
    return None if found == model_id else f"it is model {found}"


def remove_model(name: str, *, force: bool = False) -> Path:
    """Removes an added model, by digits of its id or by its name in the folder; returns its path.

    Damaged files are removed by name.  force: also one that an added ensemble needs.  Errors:
    WrongModel where there is no such added model, or several, or it is needed; OutputFailed.
    """
    try:
        files = folder_files()
    except OSError as error:
        raise OutputFailed(f"{models_folder()}: {error.strerror}") from None
    by_id = [path for path, known in added_models()[0].items() if known.startswith(name)]
    found = [path for path in files if name in (path.stem, path.name, str(path))]
    found = found or (by_id if len(name) >= LEAST_DIGITS else [])
    if len(found) > 1:
        raise WrongModel(f"{name}: several models: {', '.join(path.name for path in found)}")
    if not found:
        for shipped, path in shipped_models().items():
            digits = name if len(name) >= LEAST_DIGITS else "no digits"
            if name == shipped or (stored_id(path) or "").startswith(digits):
                raise WrongModel(f"{name}: comes with bitsback; only added models are removed")
        raise WrongModel(f"{name}: no such model was added")
    if needed := [] if force else _ensembles_without(found[0]):
        ensembles = ", ".join(path.name for path in needed)
        raise WrongModel(f"{name}: needed by {ensembles}; -f removes it all the same")
    try:
        found[0].unlink()
    except OSError as error:
        raise OutputFailed(f"{found[0]}: {error.strerror}") from None
    return found[0]


def _ensembles_without(path):
    """The added ensembles that could not be opened without an added model."""
    added = added_models()[0]
    model_id = added.pop(path, None)
    if model_id in {*added.values(), *map(stored_id, shipped_models().values())}:
        return []  # another file of the same model is here
    return [other for other in added if model_id in stored_members(other)]
