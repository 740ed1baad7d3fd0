"""Many files at once: one task a file, in local processes or on the workers of a dask cluster.

Both are executors of concurrent.futures, as is that for GPUs (cards.py).  A task writes its whole
output or nothing, so that one whose worker died is run again.
"""

import functools
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from bitsback.cli.devices import Slots, with_memory, worker_device
from bitsback.cli.messages import FAILURES
from bitsback.cli.run_outputs import refuse_claimed
from bitsback.cli.waiting import limit_spinning
from bitsback.cli.workers import Workers
from bitsback.completed import completed
from bitsback.errors import BitsbackError, OutputExists
from bitsback.memory import keep_pages
from bitsback.whole import WINDOWS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from bitsback.coder.model import Model

MOST_ON_WINDOWS = 61  # processes of one executor: of handles, which it waits for at once, 63


@dataclass(frozen=True)
class Task:
    """One file to compress, decompress or check.

    action: "compress", "decompress" or "check"; target: None if decompress_file chooses it, or
    there is none; options: those of codecs.io.files.{compress,decompress,check}_file, and for
    "decompress" `claimed`, what RunOutputs.claimed has for it; model: path of a model, None for the
    default; on_cluster: the device is that of a dask worker; again: the process of a run before
    this one was killed.  A task of a cluster, or one that is run again, may have been done: an
    output of "compress" that holds the same image is then its own.
    """

    action: str
    source: str
    target: str | None
    options: dict = field(default_factory=dict)
    model: str | None = None
    device: str = "cpu"
    on_cluster: bool = False
    again: bool = False


@functools.lru_cache(maxsize=2)
def _opened(path: str) -> "Model":
    from bitsback.coder.model import Model

    return Model.open(path)


_opening = threading.Lock()  # lru_cache would let two threads open one model twice


def open_model(path: str | None) -> "Model | None":
    """Opened once a process: the arithmetic's self-test takes longer than a small image."""
    with _opening:
        return _opened(path) if path else None


class _Termination:
    """Called to end this process at once and remove its temporary files.

    The main thread may be deep inside a library, where no exception can be raised.  The names of
    temporary files, *.part, are collected by an audit hook on open().
    """

    def __init__(self) -> None:
        self.temporary: set[str] = set()
        self.ended = False
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith(".part") and arguments[2] & os.O_EXCL:
            if self.ended:
                raise SystemExit  # no new temporary file from now on
            self.temporary.add(arguments[0])

    def __call__(self, *_: object) -> None:
        self.ended = True
        for path in tuple(self.temporary):
            with suppress(OSError):  # most were renamed to their final names
                os.unlink(path)
        os._exit(1)


def start_worker(parent: "Connection") -> None:
    """Initialises a worker process, so that it ends when its parent does.

    parent: a connection on which nothing is sent; it closes when the parent closes it or dies.
    """
    terminate = _Termination()
    # Ctrl-C reaches the parent too, which ends this process.
    for name, action in (("SIGINT", signal.SIG_IGN), ("SIGTERM", terminate), ("SIGHUP", terminate)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), action)

    def watch() -> None:
        with suppress(EOFError, OSError):
            parent.recv_bytes()
        terminate()

    threading.Thread(target=watch, daemon=True).start()
    limit_spinning()
    import torch

    torch.set_num_threads(1)
    keep_pages()


def run_task(task: Task, slots: Slots | None = None) -> tuple:
    """Runs one task, in a worker; threads may run several.  Errors: BitsbackError, OSError.

    compress: (Header, size in bytes).  decompress: (paths written, [(path, names of the metadata
    that its format does not hold)]).  check: (Header,).  Outputs are overwritten
    only if task.options allow it.  slots: of the tasks on the device.
    """
    device = worker_device(task.device) if task.on_cluster else task.device
    return with_memory(lambda where: _run(task, where), device, task.source, slots)


def _run(task: Task, device: str) -> tuple:
    from bitsback.codecs.io import files

    options = {"model": open_model(task.model), "device": device} | task.options
    if task.action == "compress":
        assert task.target is not None
        try:
            return files.compress_file(task.source, task.target, **options)
        except OutputExists:
            done = None
            if task.on_cluster or task.again:
                done = files.compressed_before(task.source, task.target, **options)
            if done is None:
                raise
            return done
    if task.action == "check":
        return (files.check_file(task.source, **options),)
    left_out: list[tuple] = []
    claimed = options.pop("claimed", {})
    paths = files.decompress_file(
        task.source,
        task.target,
        note=lambda *entry: left_out.append(entry),
        claim=lambda targets: refuse_claimed(targets, task.source, claimed),
        **options,
    )
    return paths, left_out


def _again(argument: Any) -> Any:
    return replace(argument, again=True) if isinstance(argument, Task) else argument


@contextmanager
def processes(count: int) -> Iterator[Workers]:
    """An executor of `count` processes, of Windows at most MOST_ON_WINDOWS, with one thread each.

    They end with this process, however it ends, and at once if the block raises.
    """
    count = min(count, MOST_ON_WINDOWS) if WINDOWS else count
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    start = functools.partial(
        ProcessPoolExecutor, count, context, initializer=start_worker, initargs=(watched,)
    )
    executor = Workers(count, start, _again)
    try:
        yield executor
        executor.shutdown()
    finally:
        executor.stop()
        held.close()
        executor.shutdown()
        watched.close()


def cluster(address: str) -> tuple[Executor, Any]:
    """(executor, client) of the dask cluster at `address`.  Errors: BitsbackError.

    The workers need bitsback installed and the same paths as here.
    """
    import asyncio

    try:
        from distributed import Client
    except ImportError:
        raise BitsbackError(
            "--dask needs the package distributed: pip install 'bitsback[dask]'"
        ) from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError, asyncio.TimeoutError) as error:  # Python 3.10's
        raise BitsbackError(f"{address}: no dask scheduler there ({error})") from None
    return client.get_executor(pure=False, retries=2), client


def run(
    tasks: Iterable[Task], executor: Executor
) -> Iterator[tuple[Task, Any, BaseException | None]]:
    """(task, result, None) or (task, None, error) of each task, in the order of completion.

    Tasks that have not begun are cancelled if the iterator is closed early.
    """
    futures = {executor.submit(run_task, task): task for task in tasks}
    try:
        for future in completed(futures):
            task = futures[future]
            try:
                yield task, future.result(), None
            except BrokenProcessPool:
                error = BitsbackError("its worker process was killed (out of memory?)")
                yield task, None, error
            except FAILURES as failure:
                yield task, None, failure
    finally:
        for future in futures:
            future.cancel()
