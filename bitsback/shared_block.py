"""Settings of the whole process, changed while any of its threads needs them, and restored."""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bitsback.locks import ForkLock, renew_at_fork


class SharedBlock:
    """One block of a context manager for all threads: the first in enters it, the last out leaves.

    make: gives the manager, which changes and restores the settings.  Blocks of its own in each
    thread, which overlap, would leave the settings of one of them behind.
    """

    def __init__(self, make: Callable[[], AbstractContextManager]) -> None:
        self._make, self._lock, self._block = make, ForkLock(), ExitStack()
        self._inside: dict[int, int] = {}  # how often, by thread
        renew_at_fork(self)

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._lock:
            if not self._inside:
                self._block.enter_context(self._make())
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        with self._lock:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
            if not self._inside:
                self._block.close()

    def renew(self) -> None:
        """In a process that was forked: only the thread that forked it is there."""
        me = threading.get_ident()
        self._inside = {me: self._inside[me]} if me in self._inside else {}
        if not self._inside:
            self._block.close()


@contextmanager
def _ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_shared = SharedBlock(_ignored)


def without_warnings() -> AbstractContextManager[None]:
    """A block in which warnings are not printed: of the whole process, but where Python has filters
    for each thread (sys.flags.context_aware_warnings, from 3.14 on)."""
    return _ignored() if getattr(sys.flags, "context_aware_warnings", False) else _shared
