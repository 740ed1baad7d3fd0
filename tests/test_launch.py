"""Launches of Triton kernels: what Triton itself would run, compiled or interpreted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parents[1]


def test_interpreted():
    """Under TRITON_INTERPRET=1 the interpreter runs."""
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled where there is a device")
    from bitsback.ans.colour_triton import count_kernel
    from bitsback.ans.launch import launch, launcher

    counts = torch.zeros(256, dtype=torch.int32)
    keys, values = torch.zeros(3, dtype=torch.int32), torch.tensor([5, -128, 5], dtype=torch.int32)
    for _ in range(2):
        launch(count_kernel, (1,), counts, keys, values, 3, 4, BLOCK=4)
    assert counts[133] == 16 and counts[0] == 8 and counts.sum() == 24
    assert launcher(count_kernel, BLOCK=4) is launcher(count_kernel, BLOCK=4)


def on_a_stand_in(cache, *arguments):
    """Output of tests.without_card, in a process without the interpreter."""
    backends = pytest.importorskip("triton.backends")
    if not list((Path(backends.__file__).parent / "nvidia" / "bin").glob("ptxas*")):
        pytest.skip("Triton has no compiler for NVIDIA here")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.without_card", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiled_kernels_are_run_directly(tmp_path):
    """With the arguments with which Triton itself would run them."""
    assert on_a_stand_in(tmp_path).startswith("launched")


def test_kernels_of_a_pass_compile(tmp_path):
    """An encoder's one, and a decoder's four."""
    assert on_a_stand_in(tmp_path, "pass") == "launched 5\n"


@pytest.mark.slow  # the two above compile some of them
@pytest.mark.parametrize("masked", [False, True])
def test_all_kernels_of_a_segment_compile(tmp_path, tiny_model, masked):
    """For an H100, and are launched."""
    where = tiny_model.path, 24, *(["masked"] if masked else [])
    pushes, pops = on_a_stand_in(tmp_path, *where).splitlines()
    assert " launches" in pushes and " launches" in pops
