"""Launches compiled kernels on a stand-in for an NVIDIA H100: all but the card's work.

    python -m tests.without_card

Kernels are compiled for sm_90; what would be handed to the card is written down in RUNS.  What
`launch` hands over is checked against what Triton itself does.
"""

import os

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


def main():
    assert not os.environ.get("TRITON_INTERPRET")
    driver.set_active(Card())
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


if __name__ == "__main__":
    main()
