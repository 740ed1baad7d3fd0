"""Bytes that a device holds while a segment is coded, added up without a device.

    python -m benchmarks.footprint [--models fast,default,best] [--side 1024]

Kernels are launched and compute nothing, and tensors of the device "meta" have sizes and no values:
what is counted is what torch's allocator would have handed out, in its units of 512 bytes.  Blocks
that it keeps unused come on top.  Needs TRITON_INTERPRET=1, which is set here.
"""

import argparse
import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from benchmarks.report import summary, table
from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import DeviceLanes, Kernels
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import CONTEXT_ROWS, Context
from bitsback.coder.model import Model
from bitsback.coder.top import Top

UNIT = 512  # bytes: torch's allocator for CUDA rounds up to multiples
ALL = Kernels(True, True, True)


class Footprint(TorchDispatchMode):
    """Adds up the bytes of all storages on one type of device: `held` now, `peak` at most.

    Storages made before, or inside of an operation that does not return them, are not seen.
    """

    def __init__(self, device: str = "meta"):
        super().__init__()
        self.device, self.held, self.peak = device, 0, 0
        self._seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        found = function(*arguments, **(options or {}))
        for value in tree_iter(found):
            if isinstance(value, torch.Tensor) and value.device.type == self.device:
                storage = value.untyped_storage()
                if storage not in self._seen:
                    self._seen.add(storage)
                    size = -(-storage.nbytes() // UNIT) * UNIT
                    weakref.finalize(storage, self._free, size)
                    self.held += size
                    self.peak = max(self.peak, self.held)
        return found

    def _free(self, size: int) -> None:
        self.held -= size


@contextmanager
def nothing_computed() -> Iterator[None]:
    """Kernels compute nothing, and nothing is fetched from the device at the end of a segment."""
    from triton.runtime.interpreter import InterpretedFunction

    def skip(self: Any, *arguments: Any, **options: Any) -> None:
        pass

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(InterpretedFunction, "run", skip))
        stack.enter_context(mock.patch.object(DeviceLanes, "to_lanes", lambda self: None))
        stack.enter_context(
            mock.patch.object(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape))
        )
        yield


def segment_peaks(model: Model, rows: int, columns: int, words: int) -> tuple[int, int]:
    """(bytes at the peak of a push, of a pop) of a segment with colours counted and a flat mask.

    words: on the stack.  The model's weights are included.
    """
    from bitsback.integer.triton_convolution import TritonInt8

    x = np.zeros((1, 3, rows, columns), np.int32)
    free = np.ones(x.shape, bool)
    free[:, :, ::4] = False  # the lists of indices of masked samples
    below = np.zeros((1, 3, CONTEXT_ROWS, columns + CONTEXT_ROWS), np.int32)
    right = np.zeros((1, 3, rows, CONTEXT_ROWS), np.int32)
    context, top, peaks = Context(below, right, free, x[~free]), Top((0,) * 3, (70,) * 3), []
    for way in ("push", "pop"):
        with nothing_computed(), Footprint() as bytes_:
            chain = model.chain("meta", TritonInt8(model.layers, "meta"), ALL)
            lanes = Lanes(bytes(4 * words))
            lanes.widen(256)
            counts = ColourCounts(3)
            counts.count_all(x)
            there = chain.counts_for(counts)
            there.snapshot()
            if way == "push":
                chain.push(lanes, x, top, context, counts=there)
            else:
                chain.pop(lanes, x.shape, top, context, counts=there)
            peaks.append(bytes_.peak)
            del chain, there
    return peaks[0], peaks[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--models", default="fast,default,best")
    parser.add_argument("--side", type=int, default=1024, help="of a square segment")
    parser.add_argument("--words", type=int, default=6_000_000, help="on the stack")
    args = parser.parse_args()
    from bitsback.codecs.estimate import device_bytes

    rows = []
    for name in args.models.split(","):
        model = Model.open(name)
        peaks = segment_peaks(model, args.side, args.side, args.words)
        estimate = device_bytes(model, args.side**2, args.words)
        rows.append([f"{name} {model.id[:16]}", *(f"{n / 2**20:.0f}" for n in (*peaks, estimate))])
    print(f"python -m benchmarks.footprint --models {args.models} --side {args.side}\n")
    print(table(["model", "push, MiB", "pop, MiB", "bound, MiB"], rows))


if __name__ == "__main__":
    main()
