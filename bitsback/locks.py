"""What a forked process has anew, such as locks: DataLoader forks while threads decode."""

import os
import threading
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Protocol


class Renewed(Protocol):
    """What a forked process has anew."""

    def renew(self) -> None:
        """As it is where only the thread that forked the process exists."""


_renewed: "weakref.WeakSet[Renewed]" = weakref.WeakSet()


def renew_at_fork(one: Renewed) -> None:
    """Has one.renew() called in every process that is forked while `one` exists, before any other
    thread of that process runs."""
    _renewed.add(one)


def _renew_all():
    for one in list(_renewed):
        one.renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)


class ForkLock:
    """threading.RLock, but free in a process that is forked while a thread holds it.

    That thread does not exist there and would never release it.  What the lock guards must be
    whole between any two statements.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renew_at_fork(self)

    def renew(self) -> None:
        """As new, in a process that was forked."""
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple:
        return ForkLock, ()  # a copy is free, too

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # a process that was forked in the block has another lock
            self._lock.release()
