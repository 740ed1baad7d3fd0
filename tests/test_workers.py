"""workers.py: what is done where processes are killed."""

import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from bitsback.cli import pool
from bitsback.cli.workers import Workers
from bitsback.codecs import decode
from tests.commands import call, error_lines, load, names, save


def start():
    return ProcessPoolExecutor(2, get_context("spawn"))


def work(folder, name, times):
    """Writes a line each time it is begun; its process is killed the first `times` times."""
    place = Path(folder, name)
    with place.open("a") as lines:
        lines.write("begun\n")
    if len(place.read_text("utf-8").split()) <= times:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return name


def fail(what):
    raise KeyError(what)


def test_a_killed_process_costs_its_own_task_alone(tmp_path):
    """What was at work beside it is run again; what was killed once is done the second time."""
    workers, killed = Workers(2, start), {"b": 9, "e": 1}
    futures = {n: workers.submit(work, tmp_path, n, killed.get(n, 0)) for n in "abcdef"}
    error = workers.submit(fail, "an error")
    with pytest.raises(KeyError, match="an error"):
        error.result(timeout=120)
    with pytest.raises(BrokenProcessPool):
        futures.pop("b").result(timeout=120)
    assert [future.result(timeout=120) for future in futures.values()] == list("acdef")
    workers.shutdown()
    begun = {name: (tmp_path / name).read_text("utf-8").count("begun") for name in "abcdef"}
    assert begun["e"] == max(begun.values()) == 2, begun


def test_processes_that_wait_may_be_killed(tmp_path):
    """Tasks that come later find new ones."""
    workers = Workers(1, start)
    assert workers.submit(work, tmp_path, "a", 0).result(timeout=60) == "a"
    for process in list(workers._pool._processes):
        os.kill(process, signal.SIGKILL)
    assert workers.submit(work, tmp_path, "b", 0).result(timeout=60) == "b"
    workers.shutdown()


def test_a_stop_ends_what_waits(tmp_path):
    """Tasks that have not begun are cancelled, and nothing is run again."""
    workers = Workers(1, start)
    first, second = (workers.submit(work, tmp_path, name, 9) for name in "ab")
    while not (tmp_path / "a").exists():
        time.sleep(0.02)
    workers.stop()
    with pytest.raises(BrokenProcessPool):
        first.result(timeout=60)
    assert second.cancelled() and names(tmp_path) == ["a"]
    workers.shutdown()


@pytest.mark.slow
def test_files_whose_worker_is_killed(tmp_path, photograph, monkeypatch):
    """The command does all of them, as with a system out of memory for a moment."""
    for i in range(4):
        save(photograph(40, 40, i), tmp_path / f"{i}.png")

    @contextmanager
    def killing(count):
        with processes(count) as executor:
            executor.submit(work, tmp_path, "mark", 1)
            yield executor

    processes = pool.processes
    monkeypatch.setattr("bitsback.cli.many.processes", killing)
    result = call("compress", "-q", "-j", 2, *(tmp_path / f"{i}.png" for i in range(4)))
    assert result.exit_code == 0 and not error_lines(result)
    for i in range(4):
        data = (tmp_path / f"{i}.bbk").read_bytes()
        assert np.array_equal(decode(data), load(tmp_path / f"{i}.png"))


def test_processes_that_cannot_start():
    """The tasks have the error, each its own; none waits for ever."""

    class Full:
        def submit(self, *_):
            raise OSError(12, "Cannot allocate memory")

        def shutdown(self, wait):
            pass

    workers = Workers(2, Full)
    for future in [workers.submit(print, i) for i in range(3)]:
        with pytest.raises(OSError, match="allocate"):
            future.result(timeout=9)
    workers.shutdown()
