"""Helper threads, and compiled loops shared out to them: to as many as torch's operations use.

Compiled loops run without Python's lock.  Handing a part over takes some 30 microseconds, so that
only long arrays are shared out.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from bitsback.locks import renew_at_fork

LEAST = 2**14  # items of a part: fewer are done sooner than handed over


class Helpers:
    """Threads of a name that do work in the order in which it is begun."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.renew()

    def renew(self) -> None:
        """As new, in a process that was forked: it has none of its parent's threads."""
        self._work: SimpleQueue = SimpleQueue()
        self._threads: list[Thread] = []
        self._lock = Lock()

    def ensure(self, count: int) -> int:
        """Starts threads until there are `count`; returns how many the system allows, maybe 0."""
        with self._lock:
            while len(self._threads) < count:
                thread = Thread(target=_serve, args=(self._work,), name=self.name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # can't start new thread
                    break
                self._threads.append(thread)
            return len(self._threads)

    def begin(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """The Future of function(*arguments).  There must be a thread, and no helper may wait."""
        result: Future = Future()
        self._work.put((function, arguments, result))
        return result

    def end(self) -> None:
        """Drops work not begun, waits for work begun, and ends the threads."""
        try:
            while True:
                self._work.get_nowait()[2].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()


def _serve(work: SimpleQueue) -> None:
    while (item := work.get()) is not None:
        function, arguments, result = item
        if result.set_running_or_notify_cancel():
            try:
                result.set_result(function(*arguments))
            except BaseException as error:
                result.set_exception(error)
        del item, function, arguments, result  # arrays are not held while it waits


_helpers = Helpers("loops")
renew_at_fork(_helpers)


def parts(n: int, least: int = LEAST) -> list[tuple[int, int]]:
    """0..n in ranges (begin, end) of about one size, of at least `least`: one for each thread."""
    if n < 2 * least:
        return [(0, n)]
    import torch

    count = min(torch.get_num_threads(), n // least)
    edges = [n * i // count for i in range(count + 1)]
    return list(zip(edges[:-1], edges[1:]))


def shared_out(loop: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """[loop(*arguments) for arguments in calls], at once: the last here, the others by helpers.

    All have ended when it returns, or raises what one of them did.
    """
    if len(calls) == 1 or not _helpers.ensure(len(calls) - 1):
        return [loop(*arguments) for arguments in calls]
    begun: list[Future] = []
    try:
        begun += (_helpers.begin(loop, *arguments) for arguments in calls[:-1])
        last = loop(*calls[-1])
    finally:
        _wait(begun)
    return [*(result.result() for result in begun), last]


def _wait(begun: list[Future]) -> None:
    """Until all have ended, also after Ctrl-C: they write into arrays that their caller owns."""
    interrupted: KeyboardInterrupt | None = None
    while True:
        try:
            wait(begun)
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted:
        raise interrupted
