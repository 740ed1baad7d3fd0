"""Work on the files of a run one by one: an error is printed, and the next file is done."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click

from bitsback.cli.inputs import Item
from bitsback.cli.messages import FAILURES, print_file_error, print_line
from bitsback.errors import LossySource, OutputExists
from bitsback.inputs import file_key
from bitsback.whole import make_folders

Place = tuple[tuple[int, int] | str, str]  # what _place returns


def _place(path):
    """What is the same for all paths to one file, be it there or not: its folder and its name.  A
    folder may have several paths through links, and through mounts."""
    real = os.path.realpath(path)
    folder = file_key(os.path.dirname(real))
    return (folder or os.path.dirname(real)), os.path.basename(real)


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
        self._inputs = {_place(source) for source, _ in items if str(source) != "-"}

    def check(self, target: Path, source: Path, make_folder: bool = False) -> None:
        """Refuses the output of another input, and another input; then makes the target's folder if
        asked to.

        Errors: OutputExists, OSError.
        """
        place = _place(target)
        if place in self._inputs and place != _place(source):
            raise OutputExists(f"{source}: its output {target} is an input of this run")
        other = self._sources.get(place)
        if other is None and (key := file_key(target)):  # a.bbk is A.bbk on some file systems
            other = self._written.get(key)
        if other is not None and str(target) != "-":
            raise _is_also(source, target, other)
        if make_folder:
            make_folders(target.parent)

    def add_substitutes(self, paths: Iterable[Path], source: Path) -> None:
        """Records where an input may be written instead of its outputs."""
        for path in paths:
            self._substitutes.setdefault(_place(path), []).append((path, source))

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
                if place in self._inputs and place != _place(source):
                    others.append(path)
                if others:
                    found.setdefault(source, {})[str(path)] = str(others[-1])
        return found

    def add(self, targets: Iterable[Path], source: Path, written: bool = False) -> None:
        """Records the outputs of an input; written: whether they are there already."""
        targets = list(targets)
        self._sources.update((_place(target), source) for target in targets)
        if written:
            self._written.update((file_key(target), source) for target in targets)


def process_each(
    items: list[Item],
    work: Callable[[Path, Path | None], None],
    *,
    output: Path | None = None,
    as_json: bool = False,
    failed: int = 0,
    quiet: bool = False,
) -> None:
    """Calls work(source, root) for all items, prints errors, and exits the program.

    Status 1 if any item failed or `failed`, the number of earlier failures, is not 0.
    """
    if output and len(items) > 1:
        raise click.UsageError("-o names one file; use --dir for several inputs")
    skipped = 0
    for source, root in items:
        try:
            work(source, root)
        except BrokenPipeError:
            raise
        except FAILURES as error:
            if is_skipped(error, source, root, as_json):
                skipped += 1
                continue
            failed += 1
            print_file_error(error, source, as_json)
    print_skipped(skipped, quiet)
    sys.exit(1 if failed else 0)


def is_skipped(error: BaseException, source: str | Path, root: Path | None, as_json: bool) -> bool:
    """Whether an error is not a failure: a lossy file that was found below a folder, not named.

    It is printed as JSON if asked for; otherwise `print_skipped` prints the count.
    """
    if root is None or not isinstance(error, LossySource):
        return False
    if as_json:
        click.echo(json.dumps({"source": str(source), "left": str(error)}))
    return True


def print_skipped(count: int, quiet: bool) -> None:
    """Prints how many lossy files were skipped."""
    if count and not quiet:
        print_line(
            f"bitsback: {count} {'file' if count == 1 else 'files'} compressed with loss already "
            "(JPEG and the like) skipped; --allow-lossy-source compresses them",
            to_stderr=True,
        )
