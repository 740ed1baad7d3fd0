"""Where a device has too little memory: fewer images at once, tiles, the CPU; the same files."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from bitsback.cli import devices, pool
from bitsback.cli.devices import Slots, with_memory
from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.coder.chain import Chain
from bitsback.coder.model import Model
from tests.commands import call, error_lines


class Full(torch.OutOfMemoryError):
    def __init__(self):
        super().__init__("CUDA out of memory. Tried to allocate 1.00 GiB.")


@pytest.fixture
def no_streams(monkeypatch):
    """Names of CUDA devices without devices, whose memory is not given back."""
    monkeypatch.setattr(devices, "give_device_memory_back", lambda: None)
    monkeypatch.setattr(devices, "own_stream", lambda device: nullcontext())


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


class Allocator(TorchDispatchMode):
    """Refuses results of torch operations: fails(number of the operation, bytes of its result)."""

    def __init__(self, fails):
        super().__init__()
        self.fails, self.count, self.refused = fails, 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        if isinstance(found, torch.Tensor):
            self.count += 1
            if self.fails(self.count, found.nbytes):
                self.refused += 1
                raise Full
        return found


@pytest.mark.parametrize(
    "fails, where",
    [
        (lambda count, size: 300 < count < 500, "on the CPU"),
        pytest.param(lambda count, size: count in (30, 31), "in tiles", marks=pytest.mark.slow),
    ],
)
def test_allocations_that_fail_leave_the_same_file(
    fails, where, tmp_path, photograph, prior_file, short_model, monkeypatch, no_streams, caplog
):
    """Some allocations of a device, which is really the CPU, fail: of a network, which is then
    evaluated in tiles, or more than tiles help with.
    """
    caplog.set_level(logging.INFO, "bitsback")
    image, chain = photograph(48, 120), Model.chain
    expected = prior_file(image, short_model)

    def there(self, device="cpu", *arguments):
        return chain(self, device.replace("cuda:0", "cpu"), *arguments)

    monkeypatch.setattr(Model, "chain", there)
    header = Header((Entry(120, 48),), pixel_digest([image]))
    refused = []

    def work(device):
        if device == "cpu":
            return prior_codec.encode_stack([image], header, short_model, device)
        with Allocator(fails) as allocator:
            try:
                return prior_codec.encode_stack([image], header, short_model, device)
            finally:
                refused.append(allocator.refused)

    assert container.write(*with_memory(work, "cuda:0", "a.png")) == expected
    assert refused[0] > 0 and where in caplog.text


def test_a_segment_without_memory_leaves_the_same_file(
    tmp_path, photograph, short_model, monkeypatch, no_streams, caplog
):
    """The second segment fails on a device that is really the CPU; all is done again, verified."""
    caplog.set_level(logging.INFO, "bitsback")
    monkeypatch.setattr("bitsback.codecs.mode_decision.fallback_hopeless", lambda *_: True)
    chain, push, calls = Model.chain, Chain.push, []

    def there(self, device="cpu", *arguments):
        return chain(self, device.replace("cuda:0", "cpu"), *arguments)

    def pushed(self, *arguments, **options):
        calls.append(self)
        if len(calls) == 2:
            raise Full
        return push(self, *arguments, **options)

    source, target = tmp_path / "a.png", tmp_path / "a.bbk"
    Image.fromarray(photograph(48, 48)).save(source)
    task = pool.Task("compress", str(source), str(target), model=str(short_model.path))
    pool.run_task(task)
    expected = target.read_bytes()
    target.unlink()
    monkeypatch.setattr(Model, "chain", there)
    monkeypatch.setattr("bitsback.codecs.encoder.require", lambda device: None)
    monkeypatch.setattr(Chain, "push", pushed)
    pool.run_task(replace(task, device="cuda:0"))
    assert target.read_bytes() == expected and len(calls) > 3
    assert f"{source}: no memory on cuda:0: on the CPU" in caplog.messages


def test_a_file_without_memory_is_one_line(folder, monkeypatch, short_model, photograph):
    """compress, on the CPU, whose allocator raises RuntimeError: an error line, exit status 1."""
    Image.fromarray(photograph(64, 64)).save(folder / "a.png")

    def push(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Chain, "push", push)
    result = call("compress", folder / "a.png", "--model", short_model.path)
    assert result.exit_code == 1 and not (folder / "a.bbk").exists()
    assert len(error_lines(result)) == 1 and "not enough memory for this file" in result.stderr


def test_the_log_is_printed_with_v(folder, short_model, monkeypatch):
    """Once a message, and only with -v."""
    assert np.array(Image.open(folder / "a.png")).shape == (9, 11, 3)
    run = devices.with_memory

    def noted(*arguments):
        for _ in range(2):
            logging.getLogger("bitsback").info("in tiles")
        return run(*arguments)

    monkeypatch.setattr("bitsback.cli.compress.with_memory", noted)
    arguments = "compress", folder / "a.png", "-f", "--model", short_model.path
    assert error_lines(call(*arguments, "-v")).count("bitsback: in tiles") == 1
    assert not error_lines(call(*arguments))
