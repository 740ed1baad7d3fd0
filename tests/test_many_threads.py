"""Images in threads on one device: the files of one thread."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import Kernels
from bitsback.ans.lanes import random_lanes
from bitsback.cli import pool
from bitsback.cli.devices import Slots
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.integer.convolution import plain_algorithms
from tests.test_locks import another_thread_in

NONE = Kernels(False, False, False)


@pytest.fixture
def tasks(tmp_path, photograph, short_model, monkeypatch):
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
        made.append(pool.Task("compress", str(path), target, model=str(short_model.path)))
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
def test_threads_share_a_chain_of_tensors(short_model, kernels, interpreted_in_turn):
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

    shared = with_tensors(kernels)(short_model)
    with ThreadPoolExecutor(len(segments)) as threads:
        together = list(threads.map(lambda x: coded(shared, x), segments))
    alone = with_tensors(NONE)(short_model)
    for (data, back), x in zip(together, segments):
        assert data == coded(alone, x)[0] and np.array_equal(back, x)


def test_settings_of_convolutions_hold_while_any_thread_computes(monkeypatch):
    """TF32 and cuDNN are off until the last thread is done, and then what they were."""
    torch.backends.cuda.matmul.allow_tf32 = True
    cuda, first, second = torch.device("cuda"), plain_algorithms, plain_algorithms
    with ExitStack() as other:
        with first(cuda):
            other.enter_context(another_thread_in(second(cuda)))
        state = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.enabled
    assert state == (False, False)
    assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.enabled
    torch.backends.cuda.matmul.allow_tf32 = False
