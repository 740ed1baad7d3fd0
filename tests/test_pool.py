"""pool.py: every file once and intact, in processes and on a dask cluster with a dying worker."""

import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback import whole
from bitsback.cli import pool
from bitsback.errors import BitsbackError
from tests.commands import ROOT, default_sigint


@pytest.fixture
def tasks(tmp_path, photograph, tiny_model):
    """Ten images to compress, and a file that is not an image."""
    made = []
    for i in range(10):
        path = tmp_path / f"{i}.png"
        Image.fromarray(photograph(48, 40 + i, i)).save(path)
        made.append(
            pool.Task(
                "compress", str(path), str(path.with_suffix(".bbk")), model=str(tiny_model.path)
            )
        )
    (tmp_path / "bad.png").write_text("no image")
    return [
        *made,
        pool.Task(
            "compress",
            str(tmp_path / "bad.png"),
            str(tmp_path / "bad.bbk"),
            model=str(tiny_model.path),
        ),
    ]


def check(tasks, results, tmp_path, tiny_model, killed=0):
    """Every task has one result: an error with its name for the bad file, a file that decodes to
    its image for each other.  killed: number of processes killed, which may leave a temporary file
    each.
    """
    assert sorted(task.source for task, _, _ in results) == sorted(task.source for task in tasks)
    for task, result, error in results:
        if "bad" in task.source:
            assert isinstance(error, BitsbackError) and "bad.png" in str(error)
            continue
        assert error is None and result[1] == os.path.getsize(task.target)
        back = pool.run_task(
            pool.Task("decompress", task.target, task.target + ".png", model=str(tiny_model.path))
        )
        assert np.array_equal(np.array(Image.open(back[0][0])), np.array(Image.open(task.source)))
    assert (
        len(list(tmp_path.glob(".*"))) <= killed
    )  # no partial file but the one that a killed process was just writing


def test_in_processes(tasks, tmp_path, tiny_model):
    """Two processes share eleven tasks."""
    with pool.processes(2) as executor:
        check(tasks, list(pool.run(tasks, executor)), tmp_path, tiny_model)


@pytest.mark.slow
def test_on_a_cluster_with_a_worker_that_is_killed(tasks, tmp_path, tiny_model):
    """One of two workers is killed while tasks run: all tasks are done once and intact."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        executor, client = pool.cluster(cluster.scheduler_address)
        tasks = [dataclasses.replace(task, on_cluster=True) for task in tasks]
        with client:
            victims = [
                worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()
            ]
            results = pool.run(tasks, executor)
            first = next(results)
            os.kill(victims[0], signal.SIGKILL)
            check(tasks, [first, *results], tmp_path, tiny_model, killed=1)
            assert victims[0] not in [
                worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()
            ]


@pytest.mark.slow
def test_no_scheduler_there():
    """An address where nobody listens: one clear error, soon."""
    pytest.importorskip("distributed")
    begin = time.monotonic()
    with pytest.raises(BitsbackError, match="no dask scheduler"):
        pool.cluster("tcp://127.0.0.1:9")
    assert time.monotonic() - begin < 30


# --- processes that are ended from outside -------------------------------------------------


PARENT = """
import sys
from bitsback.cli import pool
from tests.test_pool import hang
with pool.processes(2) as executor:
    list(executor.map(hang, [sys.argv[1]] * 2))
"""


def hang(folder):
    """A task that has written half a file and hangs in C code, where no Python exception can be
    raised.
    """
    write_all = whole.write_all

    def half(stream, data):
        write_all(stream, data[:4])
        os.write(1, f"{os.getpid()}\n".encode())  # one piece: the two share the pipe
        libc = ctypes.CDLL(None)
        while True:
            libc.sleep(600)

    whole.write_all, whole._unnamed = half, lambda *_: False  # a file that has a name
    whole.write_whole(b"half a file", Path(folder) / f"{os.getpid()}.bbk", force=False, like=None)


def alive(process):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    "victim, number",
    [
        ("parent", signal.SIGKILL),
        pytest.param("parent", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("group", signal.SIGTERM, marks=pytest.mark.slow),
        ("group", signal.SIGINT),
    ],
)
def test_workers_end_with_their_parent(tmp_path, victim, number):
    """Whether the parent or the group is killed: the workers end at once, remove their temporary
    files, and close standard output.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default_sigint,
    )
    workers = [int(process.stdout.readline()) for _ in range(2)]
    try:
        assert len(list(tmp_path.iterdir())) == 2 and all(map(alive, workers))
        (os.kill if victim == "parent" else os.killpg)(process.pid, number)
        _, error = process.communicate(timeout=30)
        begin = time.monotonic()
        while any(map(alive, workers)) and time.monotonic() < begin + 20:
            time.sleep(0.02)
        assert not any(map(alive, workers)) and not list(tmp_path.iterdir())
        assert error.count("Traceback") == (
            number == signal.SIGINT
        )  # the parent's own; the command line says "interrupted"
    finally:
        for worker in filter(alive, workers):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_an_error_ends_the_workers_at_once(tmp_path):
    """An exception in the block ends workers without waiting for their tasks, and removes their
    files.
    """
    begin = time.monotonic()
    with pytest.raises(KeyError), pool.processes(1) as executor:
        executor.submit(hang, tmp_path)
        while not list(tmp_path.iterdir()):
            time.sleep(0.02)
        raise KeyError
    assert not list(tmp_path.iterdir()) and time.monotonic() < begin + 120


def test_a_worker_that_is_ended(tmp_path):
    """SIGTERM to a worker alone leaves no temporary file either; the second time the parent gets an
    exception.
    """
    with pytest.raises(BrokenProcessPool), pool.processes(1) as executor:
        task = executor.submit(hang, tmp_path)
        for _ in range(2):
            while not (there := list(tmp_path.iterdir())):
                time.sleep(0.02)
            (worker,) = executor._pool._processes
            os.kill(worker, signal.SIGTERM)
            while there[0].exists():
                time.sleep(0.02)
        task.result(timeout=60)
    assert not list(tmp_path.iterdir())


def test_an_ending_leaves_what_is_done(tmp_path):
    """Termination removes temporary files only: outputs with final names, whatever these are,
    stay.
    """
    code = """
import os, sys
from pathlib import Path
from bitsback import whole
from bitsback.cli import pool
end = pool._Termination()
whole._unnamed = lambda *_: False
for name in ("a.bbk", "b.part"):
    whole.write_whole(b"whole", Path(sys.argv[1]) / name, force=False, like=None)
Path(sys.argv[1], "mine.part").write_bytes(b"older")
end()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.bbk": b"whole",
        "b.part": b"whole",
        "mine.part": b"older",
    }
