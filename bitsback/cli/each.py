"""Work on the files of a run one by one: an error is printed, and the next file is done."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from bitsback.cli.inputs import Item
from bitsback.cli.messages import FAILURES, print_file_error, print_line
from bitsback.errors import LossySource


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
