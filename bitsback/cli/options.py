"""Options that several commands share, and their types."""

import functools
import glob
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bitsback.efforts import EFFORTS, effort_name
from bitsback.outputs import STDIO
from bitsback.whole import WINDOWS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = Callable[..., Any]


class FiniteRange(click.FloatRange):
    """A number within limits, which "nan" and "inf" are not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class PathName(click.Path):
    """click.Path to a Path; an empty name, as of a variable that is not set, is an error.

    Path("") would be the current folder.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("an empty name", param, ctx)
        path = super().convert(value, param, ctx)
        # "./-" is a file, "-" a standard stream; as Paths they are one
        return path.absolute() if path == STDIO and value != str(STDIO) else path


@dataclass(frozen=True)
class CommonOptions:
    """What compress and decompress were called with, but for their own options."""

    sources: tuple[Path, ...]
    output: Path | None
    folder: Path | None
    recursive: bool
    force: bool
    keep: bool
    remove: bool
    as_json: bool
    model: str | None
    device: str
    threads: int | None
    jobs: int | None
    quiet: bool
    verbose: bool


def expand_patterns(
    context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """On Windows, whose shells do not expand * and ?, the files that such an argument stands for,
    unless there is a file of that name, or none."""
    found: list[Path] = []
    for path in paths:
        matches: list[Path] = []
        if WINDOWS and {"*", "?"} & set(str(path)) and not os.path.lexists(path):
            # to these shells [ is a letter like others
            matches = sorted(map(Path, glob.glob(str(path).replace("[", "[[]"))))
        found += matches or [path]
    return tuple(found)


# one that cannot be read is an error of that file alone
sources_argument = click.argument(
    "sources",
    nargs=-1,
    required=True,
    type=PathName(readable=False),
    callback=expand_patterns,
)
recursive_option = click.option(
    "-r",
    "--recursive",
    is_flag=True,
    help="Also the files below folders, chosen by suffix; in the same tree where --dir is given.",
)
force_option = click.option("-f", "--force", is_flag=True, help="Overwrite an existing output.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line.")
model_option = click.option("--model", help="A model: name, path or id (`bitsback models`).")
device_option = click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device of the network: auto, cpu, cuda or cuda:N; compress, decompress and test share "
    "files out among several, cuda:0,cuda:1.",
)
MOST_THREADS = 1024  # of very many, the OpenMP library dies
threads_option = click.option(
    "-T",
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    help="CPU threads of the network; 1 also means no helpers beside a GPU.",
)
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    help="Files at once, one process each (with -r: the number of cores); on a GPU, images at "
    "once on each (with -r: as many as its memory has room for, up to 8).",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
image_output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=PathName(),
    help="Image file in a lossless format, chosen by suffix.",
)

_COMMON = (
    sources_argument,
    click.option("-o", "--output", type=PathName(), help="Output file (one input only)."),
    click.option(
        "--dir",
        "folder",
        type=PathName(file_okay=False),
        help="Folder for the outputs.",
    ),
    recursive_option,
    force_option,
    click.option("-k", "--keep", is_flag=True, help="Keep the inputs (the default)."),
    click.option(
        "--rm",
        "remove",
        is_flag=True,
        help="Remove each input after its output was written, decoded and compared.",
    ),
    json_option,
    model_option,
    device_option,
    threads_option,
    jobs_option,
    quiet_option,
    click.option(
        "-v", "--verbose", is_flag=True, help="Print the model and the arithmetic in use."
    ),
)


def common_options(command: Command) -> Command:
    """Adds the fields of CommonOptions as options; they become the command's first argument."""

    @functools.wraps(command)
    def with_common(**values: Any) -> Any:
        common = CommonOptions(**{f.name: values.pop(f.name) for f in fields(CommonOptions)})
        return command(common, **values)

    decorated: Command = with_common
    for option in reversed(_COMMON):
        decorated = option(decorated)
    return decorated


def torch_seed(context: click.Context, parameter: click.Parameter, value: int) -> int:
    """A seed that torch accepts.  (A click.IntRange would print its bounds in --help.)"""
    if not -(2**63) <= value < 2**63:
        raise click.BadParameter("seeds are -2^63 to 2^63 - 1")
    return value


class EffortType(click.ParamType):
    """A key of bitsback.efforts.EFFORTS, by name in any case or by number."""

    name = "effort"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error for anything else."""
        try:
            return effort_name(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """The names that begin with what was typed."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in EFFORTS if name.startswith(incomplete.lower())]
