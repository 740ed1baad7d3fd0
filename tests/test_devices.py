"""Devices of a run: names, dask workers, threads on one device, and too little memory."""

import logging
import os
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import click
import numpy as np
import pytest
import torch
from PIL import Image

from bitsback import devices as streams
from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import Kernels
from bitsback.ans.lanes import random_lanes
from bitsback.cli import devices, pool
from bitsback.cli.devices import Slots, torch_devices, with_memory, worker_device
from bitsback.coder.chain import Chain
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.integer.convolution import plain_algorithms
from tests.commands import call, error_lines

NONE = Kernels(False, False, False)


class Full(torch.OutOfMemoryError):
    def __init__(self):
        super().__init__("CUDA out of memory. Tried to allocate 1.00 GiB.")


# --- names -----------------------------------------------------------------------------------


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


# --- threads on one device -------------------------------------------------------------------


@pytest.fixture
def tasks(tmp_path, photograph, tiny_model, monkeypatch):
    """Three images of two sizes to compress; the prior's file is kept at any size.

    Many lanes for few samples: torch operations take as long for a value as for all lanes' values.
    """
    monkeypatch.setattr("bitsback.codecs.segments.SAMPLES_PER_LANE", 64)
    monkeypatch.setattr("bitsback.codecs.mode_decision.fallback_hopeless", lambda *_: True)
    pool._opened.cache_clear()
    made = []
    for i in range(3):
        path = tmp_path / f"{i}.png"
        Image.fromarray(photograph(48, 48 + i // 2 * 8, i)).save(path)
        target = str(path.with_suffix(".bbk"))
        made.append(pool.Task("compress", str(path), target, model=str(tiny_model.path)))
    yield made
    pool._opened.cache_clear()


def use(chain_of, monkeypatch):
    """All models code with the chain that chain_of(model) builds."""
    chain = Model.chain

    def forced(self, device="cpu", *arguments):
        if arguments or device in self._chains:
            return chain(self, device, *arguments)
        with self._lock:
            if device not in self._chains:
                self._chains[device] = chain_of(self)
            return self._chains[device]

    monkeypatch.setattr(Model, "chain", forced)


def with_tensors(kernels):
    from bitsback.integer.onednn import Fast

    def make(model):
        return model._built("cpu", Fast(model.layers), kernels)

    return make


@pytest.fixture
def interpreted_in_turn(monkeypatch):
    """Triton's interpreter has one grid of programs for all threads, a GPU has many."""
    pytest.importorskip("triton")
    from triton.runtime.interpreter import InterpretedFunction

    run, lock = InterpretedFunction.run, threading.Lock()

    def in_turn(self, *arguments, **options):
        with lock:
            return run(self, *arguments, **options)

    monkeypatch.setattr(InterpretedFunction, "run", in_turn)


def written(tasks):
    return [open(task.target, "rb").read() for task in tasks]


@pytest.mark.parametrize(
    "kernels",
    [
        pytest.param(None, id="host"),
        pytest.param(NONE, id="tensors", marks=pytest.mark.slow),
    ],
)
def test_threads_make_the_files_of_one(tasks, kernels, monkeypatch):
    """One model, opened and built once, codes and checks images in threads at once."""
    if kernels is not None:
        use(with_tensors(kernels), monkeypatch)
        tasks = tasks[1:]
    opened, start = [], Model.__init__

    def opening(self, path):
        opened.append(path)
        time.sleep(0.1)  # long enough for another thread to open it, too
        start(self, path)

    monkeypatch.setattr(Model, "__init__", opening)
    slots = Slots(3)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda task: pool.run_task(task, slots), tasks))
    together = written(tasks)
    assert len(opened) == 1
    for task in tasks:
        os.remove(task.target)
        pool.run_task(task)
    assert together == written(tasks) and len(set(together)) == len(tasks)


@pytest.mark.parametrize(
    "kernels", [NONE, pytest.param(Kernels(True, True, True), marks=pytest.mark.slow)]
)
def test_threads_share_a_chain_of_tensors(tiny_model, kernels, interpreted_in_turn):
    """Segments of different sizes pushed and popped in threads by one chain, which has built none
    of its tables yet: the bytes and pixels of one thread.
    """
    rng, top = np.random.default_rng(5), Top((0, 0, 0), (70, 70, 70))
    sizes = (8, 16, 8, 16) if kernels == NONE else (8, 10)
    segments = [rng.integers(-20, 20, (1, 3, 8, side)).astype(np.int32) for side in sizes]

    def coded(chain, x):
        lanes = random_lanes(x.size, len(chain.levels), lanes=x.size)
        counts = ColourCounts(3)
        counts.count_all(x)
        chain.push(lanes, x, top, no_context(x), counts=chain.counts_for(counts))
        data, there = lanes.to_bytes(), chain.counts_for(ColourCounts(3))
        return data, chain.pop(lanes, x.shape, top, no_context(x), counts=there)

    shared = with_tensors(kernels)(tiny_model)
    with ThreadPoolExecutor(len(segments)) as threads:
        together = list(threads.map(lambda x: coded(shared, x), segments))
    alone = with_tensors(NONE)(tiny_model)
    for (data, back), x in zip(together, segments):
        assert data == coded(alone, x)[0] and np.array_equal(back, x)


def test_settings_of_convolutions_hold_while_any_thread_computes(monkeypatch):
    """TF32 and cuDNN are off until the last thread is done, and then what they were."""
    torch.backends.cuda.matmul.allow_tf32 = True
    cuda, first, second = torch.device("cuda"), plain_algorithms, plain_algorithms
    entered, leave = threading.Event(), threading.Event()

    def longer():
        with second(cuda):
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=longer)
    with first(cuda):
        thread.start()
        assert entered.wait(10)
    state = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.enabled
    leave.set()
    thread.join()
    assert state == (False, False)
    assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.enabled
    torch.backends.cuda.matmul.allow_tf32 = False


def test_streams_are_those_of_their_threads(two_cards, monkeypatch):
    """A stream for each thread and device, and its block runs on it."""
    entered = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: (device, threading.get_ident()))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: entered.append(stream) or _nothing())

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


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


# --- too little memory -----------------------------------------------------------------------


@pytest.fixture
def no_streams(monkeypatch):
    """Names of CUDA devices without devices, whose memory is not given back."""
    monkeypatch.setattr(devices, "give_device_memory_back", lambda: None)
    monkeypatch.setattr(devices, "own_stream", lambda device: _nothing())


def test_fewer_at_once_then_the_cpu(no_streams, caplog):
    """Three at once do not fit, two do; one image never does and is coded on the CPU."""
    caplog.set_level(logging.INFO, "bitsback")
    lock, active, done = threading.Lock(), [], []
    barrier = threading.Barrier(4, timeout=10)

    def work_on(number):
        def work(device):
            if device == "cpu":
                return number, device
            with lock:
                active.append(number)
                crowded = len(active) > 2
            try:
                if not done:  # all of the first round are there
                    barrier.wait()
                    done.append(number)
                if crowded or number == 7:
                    raise Full
                time.sleep(0.01)
                return number, device
            finally:
                with lock:
                    active.remove(number)

        return work

    slots = Slots(4)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda n: with_memory(work_on(n), "cuda", n, slots), range(8)))
    assert results == [(n, "cpu" if n == 7 else "cuda") for n in range(8)]
    assert slots.count < 4
    assert "7: no memory on cuda: on the CPU" in caplog.messages


@pytest.mark.parametrize("error", [MemoryError(), Full()])
def test_no_memory_anywhere(no_streams, error):
    """One clear error, which commands print with the file's name; others are raised as they are."""
    tried = []

    def work(device):
        tried.append(device)
        raise error

    with pytest.raises(MemoryError):
        with_memory(work, "cuda:1")
    assert tried == ["cuda:1", "cpu"]
    error = ValueError("something else")
    with pytest.raises(ValueError):
        with_memory(work, "cuda:1")
    assert tried[2:] == ["cuda:1"]


def failing(monkeypatch, model_path, which):
    """Allocations of a chain fail: `which`(number of the call) of the pushes of segments."""
    calls, push = [], Chain.push

    def pushed(self, *arguments, **options):
        calls.append(self)
        if which(len(calls)):
            raise Full
        return push(self, *arguments, **options)

    monkeypatch.setattr(Chain, "push", pushed)
    return calls


def test_a_segment_without_memory_leaves_the_same_file(tasks, monkeypatch, no_streams, caplog):
    """The second segment's first try fails, on a device that is really the CPU: same bytes."""
    caplog.set_level(logging.INFO, "bitsback")
    chain = Model.chain

    def there(self, device="cpu", *arguments):
        return chain(self, device.replace("cuda:0", "cpu"), *arguments)

    monkeypatch.setattr(Model, "chain", there)
    monkeypatch.setattr(streams, "is_there", lambda device: False)
    pool.run_task(tasks[0])
    expected = written(tasks[:1])
    os.remove(tasks[0].target)
    calls = failing(monkeypatch, tasks[0].model, lambda number: number == 2)
    task = pool.Task(**(vars(tasks[0]) | {"device": "cuda:0"}))
    pool.run_task(task)
    assert written([task]) == expected and len(calls) > 3
    assert f"{task.source}: no memory on cuda:0: on the CPU" in caplog.messages


def test_a_file_without_memory_is_one_line(folder, monkeypatch, tiny_model, photograph):
    """compress, on the CPU, whose allocator raises RuntimeError: an error line, exit status 1."""
    Image.fromarray(photograph(64, 64)).save(folder / "a.png")

    def push(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Chain, "push", push)
    result = call("compress", folder / "a.png", "--model", tiny_model.path)
    assert result.exit_code == 1 and not (folder / "a.bbk").exists()
    assert len(error_lines(result)) == 1 and "not enough memory for this file" in result.stderr


def test_the_log_is_printed_with_v(folder, tiny_model, monkeypatch):
    """Once a message, and only with -v."""
    assert np.array(Image.open(folder / "a.png")).shape == (9, 11, 3)
    run = devices.with_memory

    def noted(*arguments):
        for _ in range(2):
            logging.getLogger("bitsback").info("in tiles")
        return run(*arguments)

    monkeypatch.setattr("bitsback.cli.compress.with_memory", noted)
    arguments = "compress", folder / "a.png", "-f", "--model", tiny_model.path
    assert error_lines(call(*arguments, "-v")).count("bitsback: in tiles") == 1
    assert not error_lines(call(*arguments))
