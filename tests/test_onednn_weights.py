"""Weights in oneDNN's form: when they are packed anew, and that they are not reordered."""

import os
import subprocess
import sys

import pytest
import torch

from bitsback.integer import selftest
from bitsback.integer.convolution import Layer
from bitsback.integer.onednn import Fast


def test_weights_are_packed_anew_only_where_their_order_may_change(monkeypatch):
    """When weights are packed anew.

    Layers whose outputs can be divided among registers in one way only: once for all tiny sizes,
    once for all others. Few weights: once for all sizes of many pixels, and for each size of few.
    Many weights: for each size. Of tiny sizes and of others the latest is kept.
    """
    if not selftest.agrees(Fast):
        pytest.skip("oneDNN's int8 is not used on this machine")

    def layer(outputs, inputs):
        return Layer(
            torch.ones(outputs, inputs, 3, 3, dtype=torch.int8),
            torch.zeros(1, outputs, dtype=torch.int32),
            torch.full((outputs,), 9, dtype=torch.int8),
        )

    backend, packed = (
        Fast({"one way": layer(48, 16), "few": layer(72, 16), "many": layer(192, 128)}),
        [],
    )
    prepack = torch.ops.onednn.qconv_prepack
    monkeypatch.setattr(
        torch.ops.onednn,
        "qconv_prepack",
        lambda *args: packed.append(tuple(args[-1])) or prepack(*args),
    )

    def packed_for(name, *sizes):
        packed.clear()
        for height, width in sizes:
            inputs = backend.layers[name].weight.shape[1]
            backend.convolve(
                name,
                torch.ones(1, inputs, height, width, dtype=torch.uint8).contiguous(
                    memory_format=torch.channels_last
                ),
                0,
            )
        return [shape[2:] for shape in packed]

    sizes = (9, 8), (80, 120), (8, 8), (9, 10)
    assert packed_for("one way", *sizes) == [(8, 8), (64, 64)]
    sizes = (64, 64), (80, 120), (9, 10), (8, 8), (8, 8), (64, 80), (8, 8)
    assert packed_for("few", *sizes) == [(64, 64), (9, 10), (8, 8), (64, 64)]
    assert packed_for("many", (64, 64), (80, 120), (80, 120)) == [(64, 64), (80, 120)]


REORDERS = """
import torch
from bitsback.integer.convolution import Layer
from bitsback.integer.onednn import Fast

def layer(outputs, inputs, size, stride):
    weight = torch.ones(outputs, inputs, size, size, dtype=torch.int8)
    rest = torch.zeros(1, outputs, dtype=torch.int32), torch.zeros(outputs, dtype=torch.int8)
    return Layer(weight, *rest, stride)

fast = Fast({"inner": layer(96, 96, 3, 1), "down": layer(96, 64, 2, 2)})
for height, width in ((4, 4), (6, 8), (8, 8), (12, 6), (12, 8), (14, 6), (32, 32), (64, 80)):
    for name, channels, by in (("inner", 96, 1), ("down", 64, 2)):
        x = torch.ones(1, channels, by * height, by * width, dtype=torch.uint8)
        x = x.contiguous(memory_format=torch.channels_last)
        for _ in range(3):
            print("call", flush=True)
            fast.convolve(name, x, 0)
in_strips = Fast({"inner": layer(96, 96, 3, 1)}, strip=2**18, rows=4)
x = torch.ones(1, 96, 37, 80, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
for _ in range(3):
    print("call", flush=True)
    in_strips.convolve_sum("inner", x, 0)
"""


def test_packed_weights_are_not_reordered_in_every_call():
    """Which order oneDNN wants is its own choice: tested where that is known (AVX-512 VNNI)."""
    environment = os.environ | {"ONEDNN_VERBOSE": "profile_exec", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REORDERS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    if "avx512_core_vnni" not in done.stdout:
        pytest.skip("oneDNN has other kernels here")
    calls = done.stdout.split("call\n")[1:]
    later = [call for i, call in enumerate(calls) if i % 3]  # the first call of a shape may pack
    assert len(later) == 34 and all(",convolution," in call for call in later)
    assert all(call.count(",convolution,") == 5 and ",reorder," not in call for call in later[-2:])
    # half of them, if tiny inputs had the order of others; none here, few where caches differ
    assert sum(",reorder," in call for call in later) < len(later) // 4
