"""Waiting for work of other processes in a way that Ctrl-C ends on every system."""

import queue
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import suppress

SLICE = 0.5  # seconds: Windows tells of Ctrl-C between two waits, not in one


def completed(futures: Collection[Future]) -> Iterator[Future]:
    """The futures in the order in which they complete, as concurrent.futures.as_completed, which on
    Windows is not interrupted before the next one does."""
    done: queue.SimpleQueue[Future] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    left = len(futures)
    while left:
        with suppress(queue.Empty):
            yield done.get(timeout=SLICE)
            left -= 1
