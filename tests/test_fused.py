"""fused.py, kernel_check.py: the Triton kernels, interpreted and on a CUDA device."""

import os

import pytest
import torch

from bitsback.integer.config import NetworkConfig
from bitsback.train import fused, kernel_check
from bitsback.train.denoiser import Denoiser, set_fused


@pytest.fixture
def triton():
    return pytest.importorskip("triton", reason="Triton is not installed")


def test_kernels_equal_the_operations_they_replace(triton, device):
    """Clamp with and without bias, weight rounding, and the gradients of all three."""
    assert kernel_check.kernels_agree(device)


def results(with_kernels, device):
    """Outputs and gradients of a tiny network, rounded, in bfloat16."""
    torch.manual_seed(1)
    network = Denoiser(NetworkConfig(8, 1, 8, 1, 8, 1, embedding=8, head=8))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, weights = 60 * torch.randn(2, 3, 16, 16), torch.randn(2, 9, 16, 16)
    network, x, weights = (thing.to(device) for thing in (network, x, weights))
    set_fused(network, with_kernels)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out, features, e = network.trunk(x, torch.tensor([0.1, 2.0], device=device), True)
        no = torch.zeros(2, dtype=torch.bool, device=device)
        ones = torch.ones(2, device=device)
        out = out + network.heads(features, e, ones, no, x / 60, True)
    (out.float() * weights[:, : out.shape[1]]).sum().backward()
    return out.detach(), {name: p.grad for name, p in network.named_parameters()}


def test_a_network_with_kernels_is_the_network(triton, device):
    """Outputs and the gradients of all parameters, up to what bfloat16 rounds."""
    (plain, before), (kernels, after) = results(False, device), results(True, device)
    assert (plain - kernels).abs().max() <= 0.02 * plain.abs().max()
    for name, gradient in before.items():
        assert (gradient - after[name]).norm() <= 0.05 * gradient.norm() + 1e-6, name


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
