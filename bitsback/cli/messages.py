"""What the commands print: results, errors and a progress bar."""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

import click

from bitsback.errors import BitsbackError, OutputFailed

FAILURES = BitsbackError, OSError, MemoryError  # of work on a file: printed as one line


def printable(text: str) -> str:
    """Control characters escaped: names of files, and in files, could forge lines or command a
    terminal.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def print_line(line: str, to_stderr: bool = False) -> None:
    """Prints one line, whatever characters the names in it have.

    Errors: OutputFailed if the stream cannot be written to; BrokenPipeError.
    """
    try:
        click.echo(printable(line), err=to_stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        stream = "error" if to_stderr else "output"
        raise OutputFailed(f"standard {stream}: {error.strerror}") from None


def _begins_with(text, name):
    """Whether a message begins with a file's name, or its path, maybe with a suffix."""
    begin = Path(text.partition(": ")[0])
    return text.startswith(f"{name}: ") or ": " in text and name in (begin.name, begin.stem)


def _text(error):
    return "not enough memory for this file" if isinstance(error, MemoryError) else str(error)


def print_error(error: BaseException, name: str | Path) -> None:
    """Prints an error as one line on standard error that begins with the file's name."""
    text = _text(error)
    if isinstance(error, OSError) and error.strerror:
        place = error.filename if isinstance(error.filename, str | Path) else None
        other = place is not None and Path(place) != Path(name)  # such as a folder of outputs
        text = f"{name}: {place}: {error.strerror}" if other else f"{name}: {error.strerror}"
    elif not _begins_with(text, str(name)):
        text = f"{name}: {text}"
    print_line(f"bitsback: {text}", to_stderr=True)


def print_file_error(error: BaseException, source: str | Path, as_json: bool = False) -> None:
    """`print_error` for one input file of a run; as a JSON object too if asked for."""
    print_error(error, source)
    if as_json:
        with suppress(OutputFailed):  # the error is on standard error already
            print_line(json.dumps({"source": str(source), "error": _text(error)}))


def print_result(facts: dict, line: str, *, as_json: bool, quiet: bool, to_stderr: bool) -> None:
    """Prints the result for one file: `facts` as JSON if asked for, else `line` unless quiet.

    to_stderr: standard output carries data.
    """
    if as_json:
        print_line(json.dumps(facts), to_stderr)
    elif not quiet:
        print_line(line, to_stderr)


class _Lines(logging.Handler):
    """Prints each message of the library's log once, as a line on standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self._printed:
            self._printed.add(line)
            print_line(f"bitsback: {line}", to_stderr=True)


def print_log(verbose: bool) -> None:
    """Whether the library's log is printed from now on."""
    log = logging.getLogger("bitsback")
    log.handlers = [_Lines()] if verbose else []
    log.setLevel(logging.INFO if verbose else logging.NOTSET)
    log.propagate = not verbose


class ProgressBar:
    """A bar on standard error after the first second; none with quiet or without a terminal.

    Called with the share done, 0 to 1.
    """

    def __init__(self, name: str | Path, quiet: bool) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            total=100,
            desc=printable(str(name)),
            unit="%",
            delay=1,
            leave=False,
            disable=True if quiet or sys.stderr is None else None,
        )

    def __call__(self, share: float) -> None:
        self.bar.update(round(100 * share) - self.bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
