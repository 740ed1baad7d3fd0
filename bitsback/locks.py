"""A lock that a forked process has anew: DataLoader's workers are forked while threads decode."""

import os
import threading
import weakref
from contextlib import suppress
from types import TracebackType

_locks: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()


class ForkLock:
    """threading.RLock, but free in a process that is forked while a thread holds it.

    That thread does not exist there and would never release it.  What the lock guards must be
    whole between any two statements.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

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


def _renew_all():
    """Before any thread of the forked process can wait for one of them."""
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
