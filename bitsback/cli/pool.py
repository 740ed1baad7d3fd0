"""Many files at once: one task a file, in processes of this machine or on the workers of a dask cluster.

Both are executors of concurrent.futures.  A task is done whole or not at all (outputs get their names when they are whole),
so one that was lost with its worker is simply done again; what it finds of its own is then its result.
"""

import functools
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context

from bitsback.cli.waiting import limit_turns
from bitsback.errors import BitsbackError, OutputExists
from bitsback.memory import keep_pages


@dataclass(frozen=True)
class Task:
    """What to do: action "compress" or "decompress"; options as codecs.files' function of that name takes; model: a path, or None."""

    action: str
    source: str
    target: str | None  # decompress: None for what files.decompress_file makes of the source's name
    options: dict = field(default_factory=dict)
    model: str | None = None
    device: str = "cpu"
    again: bool = False  # it may be done twice, as on a cluster: an output that holds the same image is its own


@functools.lru_cache(maxsize=2)
def _model(path):
    """Opened once a process: the self-test of the arithmetic takes longer than a small image."""
    from bitsback.coder.model import Model

    return Model.open(path)


class _Ending:
    """Ends this process at once and leaves no temporary file, whatever its main thread is at.

    That may be deep in a library, where nothing can be raised.  Names of temporary files are
    learnt from Python's own audit of what is opened (sys.addaudithook): *.part, made for this
    process alone.
    """

    def __init__(self):
        self.temporary, self.ended = set(), False
        sys.addaudithook(self._audit)

    def _audit(self, event, arguments):
        if event == "open" and str(arguments[0]).endswith(".part") and arguments[2] & os.O_EXCL:
            if self.ended:
                raise SystemExit  # no new one from now on
            self.temporary.add(arguments[0])

    def __call__(self, *_):
        self.ended = True
        for path in tuple(self.temporary):
            with suppress(OSError):  # most have their names by now
                os.unlink(path)
        os._exit(1)


def _begin(parent):
    """A worker's first act.

    parent: a connection on which nothing ever comes, until it closes as the parent lets go of it
    or dies, of whatever.
    """
    end = _Ending()
    # Ctrl-C reaches the parent too, which ends this.
    for name, action in (("SIGINT", signal.SIG_IGN), ("SIGTERM", end), ("SIGHUP", end)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), action)

    def watch():
        with suppress(EOFError, OSError):
            parent.recv_bytes()
        end()

    threading.Thread(target=watch, daemon=True).start()
    limit_turns()
    import torch

    torch.set_num_threads(1)
    keep_pages()


def do(task):
    """One task, in a worker's process.  Errors: BitsbackError, OSError.

    compress: (Header, size in bytes); decompress: (paths written, [(path, names of metadata that it does not hold)]).
    Outputs are overwritten only if `options` say so.
    """
    from bitsback.codecs.io import files

    options = {
        "model": _model(task.model) if task.model else None,
        "device": task.device,
    } | task.options
    if task.action == "compress":
        try:
            return files.compress_file(task.source, task.target, **options)
        except OutputExists:
            done = (
                files.compressed_before(task.source, task.target, **options) if task.again else None
            )
            if done is None:
                raise
            return done
    left_out = []
    paths = files.decompress_file(
        task.source, task.target, note=lambda *told: left_out.append(told), **options
    )
    return paths, left_out


@contextmanager
def processes(count):
    """An executor of `count` processes with one thread each.

    They end with this process, however it ends, and at once if the block is left by an error.
    """
    context = get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(watched,))
    try:
        yield executor
        executor.shutdown()
    finally:
        held.close()
        executor.shutdown(cancel_futures=True)
        watched.close()


def cluster(address):
    """An executor on the workers of the dask cluster at `address`, and its client.  Errors: BitsbackError.

    The workers need bitsback installed and the same paths as here.
    """
    try:
        from distributed import Client
    except ImportError:
        raise BitsbackError(
            "--dask needs the package distributed: pip install 'bitsback[dask]'"
        ) from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise BitsbackError(f"{address}: no dask scheduler there ({error})") from None
    return client.get_executor(pure=False, retries=2), client


def run(tasks, executor):
    """(task, result, None) or (task, None, error) of each, as they are done.  Leaves nothing running if it is closed early."""
    futures = {executor.submit(do, task): task for task in tasks}
    try:
        for future in as_completed(futures):
            task = futures[future]
            try:
                yield task, future.result(), None
            except BrokenProcessPool:
                yield (
                    task,
                    None,
                    BitsbackError("its process was ended from outside (too little memory?)"),
                )
            except (BitsbackError, OSError, MemoryError) as error:
                yield task, None, error
    finally:
        for future in futures:
            future.cancel()
