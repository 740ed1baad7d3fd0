"""Devices of a run: their names, those of dask workers, streams of threads."""

import os
import threading
import types
from contextlib import nullcontext

import click
import pytest
import torch

from bitsback import devices as streams
from bitsback.cli import pool
from bitsback.cli.devices import torch_devices, worker_device
from tests.commands import call


@pytest.fixture
def two_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_names_of_devices(two_cards):
    """Cards that are there are taken without being touched; the error names the one that is not."""
    assert torch_devices("cuda:0,cuda:1") == ["cuda:0", "cuda:1"]
    assert torch_devices("auto") == ["cuda"] and torch_devices("cpu") == ["cpu"]
    with pytest.raises(click.UsageError, match=r"cuda:2: no such device here \(2 CUDA devices\)"):
        torch_devices("cuda:1,cuda:2")
    with pytest.raises(click.UsageError, match="toaster"):
        torch_devices("cpu,toaster")


def test_a_card_that_is_not_there(folder):
    result = call("compress", folder / "a.png", folder / "b.png", "--device", "cuda:0,cuda:9")
    assert result.exit_code == 2 and "--device cuda:" in result.stderr
    assert not list(folder.glob("*.bbk"))


@pytest.mark.parametrize(
    "asked, name, visible, cards, expected",
    [
        ("cuda", 1, None, 2, "cuda:1"),
        ("auto", "host-5", None, 4, "cuda:1"),
        ("cuda", "tcp://10.0.0.1:40331", None, 2, "cuda:0"),
        ("cuda", 1, "1,0", 2, "cuda:0"),  # dask-cuda puts a worker's own card first
        ("cuda:1", 0, None, 2, "cuda:1"),
        ("auto", 1, None, 0, "cpu"),
        ("cuda", 1, None, 0, "cuda"),
    ],
)
def test_each_dask_worker_has_its_card(asked, name, visible, cards, expected, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(distributed, "get_worker", lambda: types.SimpleNamespace(name=name))
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": visible} if visible else {})
    assert worker_device(asked) == expected


def test_a_task_of_a_cluster_runs_on_the_workers_card(folder, tiny_model, monkeypatch):
    monkeypatch.setattr(pool, "worker_device", lambda name: {"auto": "cpu"}[name])
    source, target = str(folder / "a.png"), str(folder / "a.bbk")
    task = pool.Task("compress", source, target, {}, str(tiny_model.path), "auto", on_cluster=True)
    assert pool.run_task(task)[1] == os.path.getsize(target)


def test_streams_are_those_of_their_threads(two_cards, monkeypatch):
    """A stream for each thread and device, and its block runs on it."""
    entered = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: (device, threading.get_ident()))
    monkeypatch.setattr(
        torch.cuda, "stream", lambda stream: entered.append(stream) or nullcontext()
    )

    def twice():
        for _ in range(2):
            with streams.own_stream("cuda:1"):
                pass
        with streams.own_stream("cpu"):
            pass

    threads = [threading.Thread(target=twice) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert entered == [("cuda:1", t.ident) for t in threads for _ in range(2)]
