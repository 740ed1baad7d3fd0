"""Launches compiled kernels on a stand-in for an NVIDIA H100: all but the card's work.

    python -m tests.without_card                        checks what `launch` hands over
    python -m tests.without_card pass                   compiles the kernels of a coding pass
    python -m tests.without_card MODEL [SIZE [masked]]  codes a segment of SIZE x SIZE pixels

Kernels are compiled for sm_90; what would be handed to the card is written down in RUNS.  The
last form prints the launches and the host's milliseconds of a push and a pop whose kernels
compute nothing, the least of nine.
"""

import os
import sys
import time

import numpy as np
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from bitsback.ans.launch import launch, launcher

RUNS: list = []


class Launched:
    """What Triton calls with the arguments of a launch."""

    def __init__(self, source, metadata):
        self.parameters = len(source.signature)

    def __call__(self, *arguments):
        x, y, z, stream, function, packed, _, _, _, *rest = arguments
        assert len(rest) == self.parameters and stream == 7 and len(packed) > 2
        RUNS.append(((x, y, z), function, rest))


class Utilities:
    functions = 0

    def load_binary(self, *_):
        Utilities.functions += 1
        return 0, Utilities.functions, 32, 0, 1024

    def unload_module(self, _):
        pass

    def get_device_properties(self, _):
        return {"max_shared_mem": 232448, "multiprocessor_count": 132}


class Card(DriverBase):
    """A driver of Triton whose only device is no device."""

    def __init__(self):
        self.utils, self.launcher_cls = Utilities(), Launched
        self.get_current_device, self.get_current_stream = (lambda: 0), (lambda _: 7)

    @staticmethod
    def is_active():
        return True

    def map_python_to_cpp_type(self, kind):
        return kind

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_active_torch_device(self):
        return torch.device("cpu")

    def get_benchmarker(self):
        return None


@triton.jit(do_not_specialize=["out", "n"])
def scaled(x, out, n, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < n, other=0)
    tl.store(out + i, value * factor, mask=i < n)


def same_as_plain(grid, *arguments, direct, **constants):
    """Checks a launch against the kernel's own, and whether Triton's way to it was left out."""
    scaled[grid](*arguments, **constants)
    expected, found, asked = RUNS[-1], len(RUNS), []
    run = JITFunction.run
    JITFunction.run = lambda self, *a, **k: asked.append(1) or run(self, *a, **k)
    try:
        launch(scaled, grid, *arguments, **constants)
    finally:
        JITFunction.run = run
    assert len(RUNS) == found + 1 and RUNS[-1][:2] == expected[:2]
    assert all(a is b or a == b for a, b in zip(RUNS[-1][2], expected[2], strict=True))
    assert bool(asked) == (not direct), (arguments[2:], constants, direct)


def check():
    """What `launch` hands over, against what Triton itself does."""
    x, out = (torch.zeros(64, dtype=torch.int32) for _ in range(2))
    assert x.data_ptr() % 16 == out.data_ptr() % 16 == 0
    for n, factor, direct in [
        (64, 32, False),  # what is met for the first time
        (63, 48, True),  # n is not specialised on, and 32 and 48 are multiples of 16
        (1, 5, False),
        (16, 7, True),
        (16, 1, False),  # a constant to the kernel
        (17, 1, True),
        (2**31, 32, False),  # another kernel: n is int64
        (2**31, 32, False),
        (2, 32, True),
    ]:
        same_as_plain((1,), x, out, n, factor, BLOCK=16, direct=direct)
    same_as_plain((2, 3), x, out, 9, 32, BLOCK=32, direct=False)
    same_as_plain((2, 3), x, out[1:], 9, 32, BLOCK=32, direct=True)
    same_as_plain((2, 3), x[1:], out, 9, 32, BLOCK=32, direct=False)  # no aligned loads
    same_as_plain((2, 3), x.long(), out, 9, 32, BLOCK=32, direct=False)
    same_as_plain((2, 3), x.long(), out, 8, 32, BLOCK=32, direct=True)
    same_as_plain((1,), x, out, 9, 32, BLOCK=32, num_warps=2, direct=False)
    same_as_plain((1,), x, out, 9, 32, BLOCK=32, num_warps=2, direct=True)
    functions = {function for _, function, _ in RUNS}
    assert len(functions) >= 7 and len(functions) == Utilities.functions
    _where_compiled_kernels_take_other_arguments(x, out)
    print("launched", len(RUNS))


def _where_compiled_kernels_take_other_arguments(x, out):
    """An older or newer Triton: its own way is taken from then on."""

    def refused(*_):
        raise TypeError("function takes exactly 12 arguments")

    ours = launcher(scaled, BLOCK=64)
    ours((1,), x, out, 3, 5)
    (made,) = ours._compiled.values()
    run, made._run = made._run, refused
    found, calls = len(RUNS), []
    plain = ours._plain
    ours._plain = lambda *a: (setattr(made, "_run", run), calls.append(1), plain(*a))
    for _ in range(2):
        ours((1,), x, out, 3, 5)
    assert len(RUNS) == found + 2 and len(calls) == 2


def one_pass():
    """Launches the kernels of a pass of an encoder and of a decoder."""
    from bitsback.coder.distribution_kernels import StepDistributions
    from bitsback.coder.placed import Placed
    from bitsback.diffusion.passes import Places, coding_passes
    from bitsback.integer.network import StepTables

    trunk = torch.zeros((1, 9, 8, 8), dtype=torch.int32)
    step = StepTables(1, 2, 3, *torch.zeros((4, 256), dtype=torch.int32))
    values = Placed(trunk[:, :3].contiguous(), (1, 3, 8, 8))
    for known in (True, False):
        found = StepDistributions(step, trunk, values, values, None)
        found.known = known
        found.begin(Places(coding_passes(4)[0], 8, 8), None, None)
        for colour in (1, 0, 2):
            found.put(found.of(colour)[0])
        found.end()
    print("launched", len(RUNS))


def code(name, size=160, masked=False):
    """Times a segment under a model, colours counted, a tenth of the samples fixed if masked."""
    from bitsback.ans.colour_counts import ColourCounts
    from bitsback.ans.device_lanes import DeviceLanes, Kernels
    from bitsback.ans.lanes import Lanes
    from bitsback.coder.context import Context
    from bitsback.coder.model import Model
    from bitsback.coder.top import Top
    from bitsback.integer.triton_convolution import TritonInt8

    DeviceLanes.to_lanes = lambda self: None  # the words are not what was pushed
    torch.set_num_threads(1)
    model = Model.open(name)
    chain = model.chain("cpu", TritonInt8(model.layers), Kernels(True, True, True))
    x = np.zeros((1, 3, size, size), np.int32)
    free = np.random.default_rng(0).random(x.shape) < 0.9 if masked else None
    below = np.zeros((1, 3, 8, size + 8), np.int32)
    context = Context(below, x[:, :, :, :8], free, x[~free] if masked else None)
    lanes, counts, top, sizes = (
        Lanes(bytes(4 * x.size)),
        ColourCounts(3),
        Top((0,) * 3, (70,) * 3),
        [],
    )
    lanes.widen(100)
    counts.count_all(x)
    there = chain.counts_for(counts)

    def push():
        there.counted = x.size
        chain.push(lanes, x, top, context, lambda s: sizes.append(s.size_bits), there)

    def pop():
        chain.pop(lanes, x.shape, top, context, counts=there)

    for work in (push, pop):
        times = []
        for _ in range(10):
            RUNS.clear()
            begin = time.process_time()
            work()
            times.append(1e3 * (time.process_time() - begin))
        print(f"{work.__name__}: {len(RUNS)} launches, {min(times):.1f} ms")


def main():
    assert not os.environ.get("TRITON_INTERPRET")
    driver.set_active(Card())
    if sys.argv[1:] == ["pass"]:
        one_pass()
    elif len(sys.argv) > 1:
        code(sys.argv[1], *map(int, sys.argv[2:3]), masked=sys.argv[3:] == ["masked"])
    else:
        check()


if __name__ == "__main__":
    main()
