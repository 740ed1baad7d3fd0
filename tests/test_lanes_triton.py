"""The coder's kernels compile for a GPU.  What they compute: test_device_lanes.py and others."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPILE = """
import inspect
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from bitsback.ans import lanes_push_triton, lanes_triton, lanes_triton_each, words_triton

BITS = {"words": 64, "state": 64, "count": 64, "given": 64}

def compiled(kernel, warps, **constants):
    names = list(inspect.signature(kernel.fn).parameters)
    pointers = [name for name in names if name in POINTERS.split()]
    wide = BITS | ({"rows": 64} if kernel is lanes_triton.pop_gaussian else {})
    types = {name: f"*i{wide.get(name, 32)}" if name in pointers else "i32" for name in names}
    constants |= {"WARPS": warps} if "WARPS" in names else {}
    types |= {name: "constexpr" for name in constants}
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types, values)
    for target in (GPUTarget("cuda", 90, 32), GPUTarget("cuda", 80, 32)):
        made = triton.compile(source, target=target, options={"num_warps": warps})
    print(kernel.__name__, len(made.asm["ptx"]))

POINTERS = "state words count given rows mean32 scale values first ends"
compiled(words_triton.append_words, words_triton.WARPS, BLOCK=words_triton.BLOCK)
for width, gaussian, each in (
    (128, lanes_triton.pop_gaussian, lanes_triton_each.pop_each),
    (4096, lanes_triton.pop_gaussian, lanes_triton_each.pop_each),
    (32, lanes_push_triton.push_gaussian, lanes_triton_each.push_each),
):
    for escapes in (True, False):
        compiled(gaussian, lanes_triton.warps(width), ESCAPES=escapes, LANES=width)
    compiled(each, lanes_triton.warps(width), SYMBOLS=17, LANES=width)
"""


def test_kernels_compile_without_a_gpu(tmp_path):
    """The interpreter accepts more than the compiler does: every form of the lanes' kernels.

    Those of a whole segment: test_launch.py.

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
    assert len(done.stdout.splitlines()) == 10
