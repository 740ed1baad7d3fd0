"""The devices of a run, and what is done where the memory of one is too small.

An image whose coding finds no memory is coded again with fewer others beside it, at last on the
CPU.  Where its segments lie does not depend on that: the bytes are the same.  (Before that, a
network is evaluated tile by tile: integer/tiles.py.)
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import click

from bitsback.devices import DEVICE_ERRORS, is_gpu, is_usable, own_stream
from bitsback.memory import give_device_memory_back, out_of_memory

if TYPE_CHECKING:
    from bitsback.coder.model import Model

log = logging.getLogger("bitsback")
Result = TypeVar("Result")

# Images at once on a GPU.  One of them keeps one of its processors busy with lanes, and Python
# launches the kernels of all: more than these wait for Python (README.md).
MOST_AT_ONCE = 8
LONGEST = 200  # letters of torch's reason for a device that is not there
USABLE = 0.8  # of a GPU's memory: the rest is CUDA's and other programs'


def torch_devices(names: str) -> list[str]:
    """The torch devices for --device: names separated by commas, `auto` resolved.

    Usage errors for what is not there.  No CUDA device is initialised.
    """
    import torch

    found = []
    for name in names.split(","):
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            there = is_usable(name)
        except DEVICE_ERRORS as error:
            told = str(error).splitlines()[0][:LONGEST]
            raise click.UsageError(f"--device {name}: {told}") from None
        if not there:
            count = torch.cuda.device_count()
            raise click.UsageError(f"--device {name}: no such device here ({count} CUDA devices)")
        found.append(name)
    return found


def worker_device(name: str) -> str:
    """The device of a dask worker for --device.

    `cuda` and `auto` become the worker's own card: the first of its CUDA_VISIBLE_DEVICES where that
    is set (as by dask-cuda), else the one of the number at the end of its name.
    """
    import torch

    count = torch.cuda.device_count()
    if name == "auto" and not count:
        return "cpu"
    if name not in ("auto", "cuda") or not count:
        return name
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        return "cuda:0"
    from distributed import get_worker

    number = re.search(r"(?:^|-)(\d+)$", str(get_worker().name))
    return f"cuda:{int(number[1]) % count if number else 0}"


def images_at_once(model: "Model | None", device: str) -> int:
    """How many images a GPU's memory has room for, at most MOST_AT_ONCE; 1 on other devices."""
    if not is_gpu(device):
        return 1
    import torch

    from bitsback.codecs.estimate import RESERVED, device_bytes

    total = torch.cuda.get_device_properties(device).total_memory
    fitting = int(USABLE * total / (RESERVED * device_bytes(model))) if model else MOST_AT_ONCE
    return max(1, min(MOST_AT_ONCE, fitting))


class Slots:
    """How many images are coded at once on a device: fewer after each that found no memory."""

    def __init__(self, count: int = 1):
        self.count, self._active, self._changed = count, 0, threading.Condition()

    @contextmanager
    def one(self) -> Iterator[int]:
        """Waits for a place, and holds it for the block.  Yields how many there were then."""
        with self._changed:
            self._changed.wait_for(lambda: self._active < self.count)
            self._active += 1
            count = self.count
        try:
            yield count
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def fewer(self) -> None:
        """Fewer from now on than are active, one at least.  Called inside `one`."""
        with self._changed:
            self.count = max(1, min(self.count, self._active) - 1)


def with_memory(
    work: Callable[[str], Result], device: str, name: object = "", slots: Slots | None = None
) -> Result:
    """work(device), with fewer others at once or at last on the CPU where memory is too small.

    work: may be called again after a failed allocation, having written nothing; name: of what it
    codes, for the log.  It runs on a stream of this thread.  Errors: those of work; MemoryError.
    """
    slots = slots or Slots()
    for where in (device, "cpu") if is_gpu(device) else (device,):
        alone = False
        while not alone:
            # on the CPU without a place, which others can use meanwhile
            with slots.one() if where == device else nullcontext(1) as count:
                alone = count == 1
                try:
                    with own_stream(where):
                        return work(where)
                except Exception as error:  # torch's, Triton's and Python's have no class in common
                    if not out_of_memory(error):
                        raise
                    if not alone:
                        slots.fewer()
            give_device_memory_back()
            if not alone:
                log.info("%s: no memory on %s: again with fewer at once", name, where)
        if where != "cpu":
            log.info("%s: no memory on %s: on the CPU", name, where)
    raise MemoryError("not enough memory")
