"""The process as a whole: signals, standard streams, memory, and the exit status."""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from bitsback.cli.waiting import limit_spinning
from bitsback.memory import keep_pages

COMPILERS = {"numba", "llvmlite"}
LATER = 0.01  # seconds until a signal is looked at again


def prepare_process() -> None:
    """Sets up signals, streams and memory of the program: to be called before torch is loaded."""
    _occupy_closed_streams()
    keep_pages()
    limit_spinning()
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # its errors are exceptions, too
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        usual = signal.SIG_DFL, signal.default_int_handler
        if number and signal.getsignal(number) in usual:  # nohup ignores SIGHUP
            signal.signal(number, _exit_on_signal)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # characters not in its encoding


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Temporary files and worker processes are cleaned up as the exception passes.

    Where a compiler is at work it waits until that has returned: LLVM calls Python from C, where an
    exception is dropped, or ends the process by a fault.
    """
    if _in_compiler(frame):
        timer = threading.Timer(LATER, signal.raise_signal, (number,))
        timer.daemon = True
        timer.start()
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _in_compiler(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in COMPILERS:
            return True
        frame = frame.f_back
    return False


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
