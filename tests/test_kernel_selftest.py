"""The self-test of the coder's kernels passes here, and what fails it is not used."""

import pytest

from bitsback.ans import lanes_triton_each, size_triton
from bitsback.ans.gaussian_tables import Gaussians, forward_frequencies
from bitsback.coder import kernel_selftest
from bitsback.coder.kernel_selftest import usable_kernels

pytest.importorskip("triton")


def test_all_kernels_pass_and_a_failing_one_is_named(device, gaussians, monkeypatch):
    """As they are; then with a kernel that raises, and with one that does nothing."""
    forward = Gaussians(forward_frequencies([60]))
    assert usable_kernels(gaussians, forward, device) == ((True, True, True), {})

    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("no such instruction")

    class Idle:
        def __getitem__(self, grid):
            return lambda *arguments, **constants: None

    monkeypatch.setattr(kernel_selftest, "_counts", lambda *_: [])
    monkeypatch.setattr(kernel_selftest, "_distributions", lambda *_: [])
    for module, name, kernel, reason in (
        (lanes_triton_each, "push_each", Broken(), "RuntimeError: no such"),
        (size_triton, "size_kernel", Idle(), "other integers"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, kernel)
            found = usable_kernels(gaussians, forward, device)
        kernels, reasons = found
        assert kernels == (False, True, True)
        assert list(reasons) == ["lanes"] and reason in reasons["lanes"]
