"""many.py: every file once and intact, in processes and on a dask cluster with a worker that dies."""
import dataclasses
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from bitsback import many
from bitsback.errors import BitsbackError


@pytest.fixture
def tasks(tmp_path, photograph, tiny_model):
    """Ten pictures to compress, and one that is none."""
    made = []
    for i in range(10):
        path = tmp_path / f"{i}.png"
        Image.fromarray(photograph(48, 40 + i, i)).save(path)
        made.append(many.Task("compress", str(path), str(path.with_suffix(".bbk")), model=str(tiny_model.path)))
    (tmp_path / "bad.png").write_text("no picture")
    return [*made, many.Task("compress", str(tmp_path / "bad.png"), str(tmp_path / "bad.bbk"), model=str(tiny_model.path))]


def check(tasks, results, tmp_path, tiny_model, killed=0):
    """Every task has one result; the bad one an error of ours that names it; the others decode to their pictures.  killed: processes that nothing was left to clean up after."""
    assert sorted(task.source for task, _, _ in results) == sorted(task.source for task in tasks)
    for task, result, error in results:
        if "bad" in task.source:
            assert isinstance(error, BitsbackError) and "bad.png" in str(error)
            continue
        assert error is None and result[1] == os.path.getsize(task.target)
        back = many.do(many.Task("decompress", task.target, task.target + ".png", model=str(tiny_model.path)))
        assert np.array_equal(np.array(Image.open(back[0][0])), np.array(Image.open(task.source)))
    assert len(list(tmp_path.glob(".*"))) <= killed     # no partial file but the one that a killed process was just writing


def test_in_processes(tasks, tmp_path, tiny_model):
    """Two processes share eleven tasks."""
    with many.processes(2) as executor:
        check(tasks, list(many.run(tasks, executor)), tmp_path, tiny_model)


def test_on_a_cluster_with_a_worker_that_is_killed(tasks, tmp_path, tiny_model):
    """A LocalCluster of two; one process is killed while tasks run: all of them are done once and intact."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        executor, client = many.cluster(cluster.scheduler_address)
        tasks = [dataclasses.replace(task, again=True) for task in tasks]
        with client:
            victims = [worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()]
            results = many.run(tasks, executor)
            first = next(results)
            os.kill(victims[0], signal.SIGKILL)
            check(tasks, [first, *results], tmp_path, tiny_model, killed=1)
            assert victims[0] not in [worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()]


def test_no_scheduler_there():
    """An address where nobody listens: one clear error, soon."""
    pytest.importorskip("distributed")
    begin = time.monotonic()
    with pytest.raises(BitsbackError, match="no dask scheduler"):
        many.cluster("tcp://127.0.0.1:9")
    assert time.monotonic() - begin < 30
