"""Many files on GPUs: a process for each device, in which a thread codes one image at a time.

Processes on one card take turns; threads of one process have a stream each and fill it.  Python
launches the kernels of all threads of a process, one by one: where that is the limit, a device
that is named twice gets two processes.
"""

import logging
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from bitsback.cli.devices import Slots, images_at_once
from bitsback.cli.messages import print_log
from bitsback.cli.pool import open_model, run_task, start_worker
from bitsback.devices import is_gpu
from bitsback.errors import BitsbackError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

log = logging.getLogger("bitsback")


def serve(
    connection: "Connection", parent: "Connection", device: str, jobs: int, verbose: bool
) -> None:
    """A process that runs the tasks it is sent, up to `jobs` at once, until it is sent None.

    connection: receives (number, pool.Task), sends (number, result, error); parent: as
    start_worker's.  On a GPU no more images at once than its memory has room for.
    """
    start_worker(parent)
    print_log(verbose)
    import torch

    slots, sending = Slots(jobs), threading.Lock()

    def handle(number: int, task: Any) -> None:
        message: tuple
        try:
            message = number, run_task(replace(task, device=device), slots), None
        except BaseException as error:
            message = number, None, error
        try:
            data = pickle.dumps(message)
        except Exception:  # an error that holds something of this process
            data = pickle.dumps((number, None, RuntimeError(repr(message[2] or message[1]))))
        with sending:
            connection.send_bytes(data)

    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        message, first = connection.recv(), True
        while message is not None:
            if first and is_gpu(device):
                with suppress(BitsbackError):  # each task reports it
                    slots.count = min(jobs, images_at_once(open_model(message[1].model), device))
                log.info("%s: up to %d images at once", device, slots.count)
            first = False
            threads.submit(handle, *message)
            message = connection.recv()


class _Card:
    """One process, and the futures of the tasks it works on, by number."""

    def __init__(self, process: Any, connection: "Connection"):
        self.process, self.connection = process, connection
        self.futures: dict[int, Future] = {}
        self.alive = True


class Cards(Executor):
    """An executor of pool.run_task whose processes have a device each: use `cards`."""

    def __init__(self, working: Sequence[_Card], jobs: int):
        self._cards, self._jobs, self._count = working, jobs, 0
        self._waiting: deque[tuple[Future, Any]] = deque()
        self._lock = threading.RLock()
        for card in working:
            threading.Thread(target=self._receive, args=(card,), daemon=True).start()

    def submit(self, fn: Callable, /, *arguments: Any, **options: Any) -> Future:
        """The future of run_task(task); fn is run_task."""
        if fn is not run_task or options or len(arguments) != 1:
            raise ValueError("only run_task(task) runs here")
        future: Future = Future()
        with self._lock:
            self._waiting.append((future, arguments[0]))
            self._feed()
        return future

    def _feed(self) -> None:
        """Sends tasks to the processes that work on the fewest, with the lock held."""
        alive = [card for card in self._cards if card.alive]
        while self._waiting:
            card = min(alive, key=lambda card: len(card.futures), default=None)
            if card is not None and len(card.futures) >= self._jobs:
                return
            future, task = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            if card is None:
                future.set_exception(BrokenProcessPool("no process is left"))
                continue
            self._count += 1
            card.futures[self._count] = future
            try:
                card.connection.send((self._count, task))
            except OSError:  # it has just ended: _receive finds that too
                pass

    def _receive(self, card: _Card) -> None:
        """Passes results on until the process ends."""
        while True:
            try:
                number, result, error = pickle.loads(card.connection.recv_bytes())
            except (EOFError, OSError):
                break
            with self._lock:
                future = card.futures.pop(number)
                self._feed()
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        with self._lock:
            card.alive = False
            lost, card.futures = card.futures, {}
            for future in lost.values():
                future.set_exception(BrokenProcessPool("its process ended"))
            self._feed()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Tells the processes to end after what they work on; waits for them if asked to."""
        with self._lock:
            waiting = [future for future, _ in self._waiting]
            if cancel_futures:
                self._waiting.clear()
        if cancel_futures:
            for future in waiting:
                future.cancel()
        for card in self._cards:
            try:
                card.connection.send(None)
            except OSError:
                pass
        if wait:
            for card in self._cards:
                card.process.join()


@contextmanager
def cards(devices: Sequence[str], jobs: int, verbose: bool = False) -> Iterator[Cards]:
    """An executor with a process for each of `devices`, each with up to `jobs` images at once.

    They end with this process, however it ends, and at once if the block raises.
    """
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    working = []
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            arguments = theirs, watched, device, jobs, verbose
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed
            working.append(_Card(process, ours))
        executor = Cards(working, jobs)
        yield executor
        executor.shutdown()
    finally:
        held.close()
        for card in working:
            card.process.join()
        watched.close()
