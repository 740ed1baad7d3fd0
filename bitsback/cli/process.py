"""The process as a whole: signals, standard streams, memory, and the exit status."""

import os
import signal
import sys
from typing import NoReturn

from bitsback.cli.waiting import limit_spinning
from bitsback.memory import keep_pages


def prepare_process() -> None:
    """Sets up signals, streams and memory of the program: to be called before torch is loaded."""
    _occupy_closed_streams()
    keep_pages()
    limit_spinning()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _exit_on_signal)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # characters not in its encoding


def _exit_on_signal(number: int, _: object) -> NoReturn:
    """Temporary files and worker processes are cleaned up as the exception passes."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _occupy_closed_streams() -> None:
    """Opens the null device in place of closed standard streams.

    Otherwise an output file could get the number of standard error and be printed into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def discard_output() -> None:
    """Redirects standard output, to which nothing can be written, to the null device.

    What is still buffered would otherwise fail once more when Python exits.
    """
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_program(status: int | str | None) -> NoReturn:
    """Exits, with status 1 at least if standard output cannot be flushed."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        discard_output()
        status = status or 1
    sys.exit(status)
