"""fused.py, kernel_check.py: the Triton kernels, by Triton's interpreter and without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitsback.train import fused, kernel_check

ROOT = Path(__file__).resolve().parents[1]
# A tiny network, rounded, in bfloat16: with the kernels and without
NETWORK = """
import torch
from bitsback.integer.config import NetworkConfig
from bitsback.train.denoiser import Denoiser, set_fused

def results(fused):
    torch.manual_seed(1)
    network = Denoiser(NetworkConfig(8, 1, 8, 1, 8, 1, embedding=8, head=8))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    set_fused(network, fused)
    x = 60 * torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, features, e = network.trunk(x, torch.tensor([0.1, 2.0]), True)
        no = torch.zeros(2, dtype=torch.bool)
        out = out + network.heads(features, e, torch.ones(2), no, x / 60, True)
    (out.float() * torch.randn(out.shape)).sum().backward()
    return out.detach(), {name: p.grad for name, p in network.named_parameters()}

(plain, before), (kernels, after) = results(False), results(True)
assert (plain - kernels).abs().max() <= 0.02 * plain.abs().max()
for name, gradient in before.items():
    assert (gradient - after[name]).norm() <= 0.05 * gradient.norm() + 1e-6, name
"""


def interpreted(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process whose Triton interprets kernels on CPU tensors."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT
    )


@pytest.fixture(scope="module")
def triton():
    return pytest.importorskip("triton", reason="Triton is not installed")


def test_kernels_equal_the_operations_they_replace(triton):
    """Clamp with and without bias, weight rounding, and the gradients of all three."""
    done = interpreted(
        "from bitsback.train.kernel_check import kernels_agree; assert kernels_agree('cpu')"
    )
    assert done.returncode == 0, done.stderr


def test_a_network_with_kernels_is_the_network(triton):
    """Outputs and the gradients of all parameters, up to what bfloat16 rounds."""
    done = interpreted(NETWORK)
    assert done.returncode == 0, done.stderr


def test_wrong_kernels_are_found(monkeypatch):
    """kernels_agree compares: a clamp at another place, or one that cannot run, is False."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, bias):
            return (x if bias is None else x + bias).clamp(0, 254).round().bfloat16()

        @staticmethod
        def backward(ctx, gradient):
            return gradient.float(), None

    monkeypatch.setattr(kernel_check, "FusedClamp", Wrong)
    assert not kernel_check.kernels_agree("cpu")


def test_without_a_compiler_the_kernels_do_not_agree():
    """On a CPU without the interpreter there is nothing to run them."""
    if fused.triton is not None and os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("interpreted")
    assert not kernel_check.kernels_agree("cpu")
