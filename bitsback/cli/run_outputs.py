"""The outputs of one run, of which no two may be one file."""

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from bitsback.cli.inputs import Item
from bitsback.errors import OutputExists
from bitsback.inputs import file_key
from bitsback.whole import make_folders

Place = tuple[tuple[int, int] | str, str]  # what _place returns


def _split(path):
    """(the nearest folder of a path that exists, the rest of the path) without links."""
    folder, name = os.path.split(os.path.realpath(path))
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, missing = os.path.split(folder)
        name = os.path.join(missing, name)
    return folder, name


def _place(path):
    """What is the same for all paths to one file, be it there or not: its folder and its name.  A
    folder may have several paths through links, and through mounts."""
    folder, name = _split(path)
    return (file_key(folder) or folder), name


def _fold(name):
    """The same of two names that a file system might take for one: in case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _are_one(folder, name, other):
    """Whether a folder's file system takes two names for one: by what is there, else by a trial."""
    places = [os.path.join(folder, one) for one in (name, other)]
    if any(map(os.path.lexists, places)):
        return all(map(os.path.lexists, places)) and not {name, other} <= set(os.listdir(folder))
    try:
        with tempfile.TemporaryDirectory(prefix=".bitsback-", dir=folder) as trial:
            os.makedirs(os.path.join(trial, name))
            return os.path.lexists(os.path.join(trial, other))
    except OSError:
        return False  # nor can outputs be written there


def _is_also(source: str | Path, target: str | Path, other: str | Path) -> OutputExists:
    same = _place(other) == _place(source)
    hint = "it is given twice" if same else "give other names, or folders, to one of them"
    return OutputExists(f"{source}: {target} is also the output of {other}; {hint}")


def refuse_claimed(paths: Iterable[Path], source: str, claimed: Mapping[str, str]) -> None:
    """Refuses paths that RunOutputs.claimed found to be another input's.  Errors: OutputExists."""
    for path in paths:
        if str(path) in claimed:
            raise _is_also(source, path, claimed[str(path)])


class RunOutputs:
    """The outputs of one run so far: no two inputs may write one file, be it through links, and
    none may write another input."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._sources: dict[Place, str | Path] = {}
        self._substitutes: dict[Place, list[tuple[Path, Path]]] = {}  # (path, input) by place
        self._written: dict[tuple[int, int] | None, str | Path] = {}  # inputs by file_key
        self._names: dict[Place, dict[str, str]] = {}  # of each folder and _fold: see _place
        self._inputs = {self._place(source) for source, _ in items if str(source) != "-"}

    def _place(self, path: str | Path) -> Place:
        """_place(path), with the first of all names that are one on its folder's file system."""
        folder, name = _place(path)
        first = self._names.setdefault((folder, _fold(name)), {})
        if name not in first:
            others = (one for one in set(first.values()) if _are_one(_split(path)[0], name, one))
            first[name] = next(others, name)
        return folder, first[name]

    def check(self, target: Path, source: Path, make_folder: bool = False) -> None:
        """Refuses the output of another input, and another input; then makes the target's folder if
        asked to.

        Errors: OutputExists, OSError.
        """
        place = self._place(target)
        if place in self._inputs and place != self._place(source):
            raise OutputExists(f"{source}: its output {target} is an input of this run")
        other = self._sources.get(place)
        if other is None and (key := file_key(target)):  # two names of one file, by a mount
            other = self._written.get(key)
        if other is not None and str(target) != "-":
            raise _is_also(source, target, other)
        if make_folder:
            make_folders(target.parent)

    def add_substitutes(self, paths: Iterable[Path], source: Path) -> None:
        """Records where an input may be written instead of its outputs."""
        for path in paths:
            self._substitutes.setdefault(self._place(path), []).append((path, source))

    def claimed(self) -> dict[Path, dict[str, str]]:
        """{input: {path: other input}} of the substitutes that another input is, or is or may be
        written to."""
        found: dict[Path, dict[str, str]] = {}
        for place, there in self._substitutes.items():
            owner = self._sources.get(place)
            for path, source in there:
                if owner == source:
                    continue  # before those that might be written there instead
                others = [other for _, other in there if other != source]
                others += [] if owner is None else [Path(owner)]
                if place in self._inputs and place != self._place(source):
                    others.append(path)
                if others:
                    found.setdefault(source, {})[str(path)] = str(others[-1])
        return found

    def add(self, targets: Iterable[Path], source: Path, written: bool = False) -> None:
        """Records the outputs of an input; written: whether they are there already."""
        targets = list(targets)
        self._sources.update((self._place(target), source) for target in targets)
        if written:
            self._written.update((file_key(target), source) for target in targets)
