"""The inputs of a run and its standard streams, checked before any work."""

import sys
from pathlib import Path

import click

from bitsback.cli.messages import print_file_error
from bitsback.inputs import links_followed
from bitsback.outputs import STDIO

Item = tuple[Path, Path | None]  # a file, and the folder it was found below with -r


def find_inputs(
    sources: tuple[Path, ...],
    recursive: bool,
    suffixes: set[str],
    as_json: bool = False,
    remove: bool = False,
) -> tuple[list[Item], int]:
    """([(path, root)], number of paths that could not be read, each of which is printed).

    root: the folder below which the path was found, None for a path that was named; remove: links
    come first, and links to links before these, since --rm must not leave one behind whose file is
    gone.  Exits with status 1 if there is no input.
    """
    from bitsback.codecs.io import folders

    items, failures = folders.below(sources, recursive, suffixes)
    for path, error in failures:
        print_file_error(error, path, as_json)
    if not items:
        sys.exit(1)
    if remove:
        items = sorted(items, key=lambda item: -links_followed(item[0]))
    return items, len(failures)


def has_pipes(items: list[Item]) -> bool:
    """Whether an input is standard input or a pipe, which may be open in this process alone."""
    return any(source == STDIO or source.is_fifo() for source, _ in items)


def check_streams(
    items: list[Item], output: Path | None, folder: Path | None, remove: bool
) -> bool:
    """Whether the output goes to standard output.

    Usage errors: -o and --dir, data from or to a terminal, `-` twice, --rm of what is not a file.
    """
    if output and folder:
        raise click.UsageError("-o names the output: it cannot be combined with --dir")
    dashes = [source for source, _ in items if source == STDIO]
    to_stdout = str(output) == "-" or bool(dashes) and not output
    if len(dashes) > 1 or dashes and folder:
        raise click.UsageError("- (standard input) can be given once, and not with --dir")
    if dashes and sys.stdin and sys.stdin.isatty():  # None: closed
        raise click.UsageError("- reads standard input, which is a terminal")
    if to_stdout and sys.stdout and sys.stdout.isatty():
        raise click.UsageError("data are not written to a terminal; redirect the output or give -o")
    if remove and (dashes or to_stdout):
        raise click.UsageError("--rm removes files whose outputs are files")
    return to_stdout
