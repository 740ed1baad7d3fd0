"""The kernels of lanes compile for a GPU.  What they compute: test_device_lanes.py."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from bitsback.ans import lanes_triton

types = {name: "*i64" for name in ("state", "words", "count")}
types |= {name: "*i32" for name in ("edges", "mean32", "scale", "values")}
types |= {name: "i32" for name in ("n", "lanes", "many")}
types |= {"ESCAPES": "constexpr", "LANES": "constexpr"}
for kernel in (lanes_triton.pop_gaussian, lanes_triton.push_gaussian):
    for escapes in (True, False):
        source = ASTSource(kernel, types, {(10,): escapes, (11,): 256})
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
        print(kernel.__name__, len(made.asm["ptx"]))
"""


def test_kernels_compile_without_a_gpu(tmp_path):
    """The interpreter accepts more than the compiler does: both kernels, with and without escapes.

    In a process of its own: Triton's interpreter is chosen when Triton is imported.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "pop_gaussian",
        "pop_gaussian",
        "push_gaussian",
        "push_gaussian",
    ]
