"""Compiled loops shared out to threads, as many as torch uses for its own operations.

Compiled loops run without Python's lock.  Handing a part over takes some 30 microseconds, so that
only long arrays are shared out.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

LEAST = 2**14  # items of a part: fewer are done sooner than handed over


class _Helpers:
    """Threads that wait for work as long as the process lives."""

    def __init__(self, count: int) -> None:
        self._work: SimpleQueue = SimpleQueue()
        self.count = 0
        with suppress(RuntimeError):  # the system has no more threads: those that there are
            for _ in range(count):
                Thread(target=self._serve, name="loops", daemon=True).start()
                self.count += 1

    def begin(self, loop: Callable[..., Any], arguments: tuple[Any, ...]) -> Future:
        result: Future = Future()
        self._work.put((loop, arguments, result))
        return result

    def _serve(self) -> None:
        while True:
            loop, arguments, result = self._work.get()
            try:
                result.set_result(loop(*arguments))
            except BaseException as error:
                result.set_exception(error)
            del loop, arguments, result  # arrays are not held while it waits


@functools.cache
def _helpers(process: int) -> _Helpers:
    """Those of a process: a fork has none of its parent's threads."""
    return _Helpers((os.cpu_count() or 1) - 1)


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
    helpers = _helpers(os.getpid()) if len(calls) > 1 else None
    if helpers is None or not helpers.count:
        return [loop(*arguments) for arguments in calls]
    begun = [helpers.begin(loop, arguments) for arguments in calls[:-1]]
    try:
        last = loop(*calls[-1])
    finally:
        wait(begun)
    return [*(result.result() for result in begun), last]
