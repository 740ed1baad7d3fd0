"""A lock that a forked process has anew: DataLoader's workers are forked while threads decode."""

import os
import threading
from types import TracebackType


class ForkLock:
    """threading.RLock, but free in a process that is forked while a thread holds it.

    That thread does not exist there and would never release it.  What the lock guards must be
    whole between any two statements.
    """

    def __init__(self) -> None:
        self._process, self._lock = os.getpid(), threading.RLock()

    def __reduce__(self) -> tuple:
        return ForkLock, ()  # a copy is free, too

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.RLock()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
