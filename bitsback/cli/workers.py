"""An executor of processes that goes on where one of them is killed, as by a system out of memory.

concurrent.futures gives up all tasks then.  Here new processes take the place of the old ones, and
what was at work is run again, each task alone: one whose process is killed again is what kills it.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Work:
    function: Callable[..., Any]
    arguments: tuple
    future: Future = field(default_factory=Future)
    again: bool = False


class Workers(Executor):
    """`count` tasks at once in the processes of start().

    rerun: each argument of a task -> that of its second run; the first may have ended.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[], ProcessPoolExecutor],
        rerun: Callable[[Any], Any] = lambda argument: argument,
    ) -> None:
        self._count, self._start, self._rerun = count, start, rerun
        self._pool, self._running, self._alone, self._ended = start(), 0, False, False
        self._waiting: deque[_Work] = deque()
        self._changed = threading.Condition(threading.RLock())

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future:
        """As Executor.submit, without options."""
        if options:
            raise TypeError("options are not passed on")
        work = _Work(fn, arguments)
        with self._changed:
            self._waiting.append(work)
            self._feed()
        return work.future

    def _feed(self) -> None:
        """Hands waiting tasks over, with the lock held."""
        while self._waiting and not self._alone:
            again = self._waiting[0].again
            if self._running >= (1 if again else self._count):
                return
            work = self._waiting.popleft()
            if not again and not work.future.set_running_or_notify_cancel():
                continue
            self._running, self._alone, pool = self._running + 1, again, self._pool
            try:
                begun = pool.submit(work.function, *work.arguments)
            except Exception as error:  # a process was killed while it waited, or none can start
                begun = Future()
                begun.set_exception(error)
            begun.add_done_callback(functools.partial(self._done, work, pool))

    def _done(self, work: _Work, pool: ProcessPoolExecutor, done: Future) -> None:
        error = done.exception()
        with self._changed:
            self._running, self._alone = self._running - 1, False
            killed = isinstance(error, BrokenProcessPool) and not self._ended
            again = killed and not work.again
            if killed and pool is self._pool:
                self._pool = self._start()
            if again:
                work.again, work.arguments = True, tuple(map(self._rerun, work.arguments))
                self._waiting.appendleft(work)
            self._feed()
            self._changed.notify_all()
        if again:
            return
        if error is None:
            work.future.set_result(done.result())
        else:
            work.future.set_exception(error)

    def stop(self) -> None:
        """From now on processes end for good; tasks that have not begun are cancelled."""
        with self._changed:
            self._ended = True
            waiting, self._waiting = list(self._waiting), deque()
        for work in waiting:
            if not work.future.cancel():
                work.future.set_exception(BrokenProcessPool("ended before it was run again"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for all tasks if asked to, then for the processes."""
        if cancel_futures:
            self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not wait or not (self._waiting or self._running))
        self._pool.shutdown(wait)
