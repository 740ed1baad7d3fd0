"""Which implementation of the coder's work is used.

On the host, compiled loops where numba is installed, numpy's and torch's arrays elsewhere; for
tensors, Triton kernels where they run, torch operations elsewhere.  All compute the same integers.
numba takes half a second to load: it is imported when something is coded.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch

from bitsback.ans.device_lanes import have_triton


def sample_functions(array: np.ndarray | torch.Tensor) -> ModuleType:
    """The module whose functions order, mask and noise samples where `array` is."""
    if isinstance(array, torch.Tensor):
        from bitsback.coder import sample_tensors

        return sample_tensors
    from bitsback.ans.compiled import compiled_or
    from bitsback.coder import sample_arrays

    return compiled_or(sample_arrays, "bitsback.coder.sample_loops")


def distribution_module(
    values: np.ndarray | torch.Tensor, device: torch.device, kernels: bool | None = None
) -> Any:
    """The module whose class StepDistributions computes distributions of `values`.

    device: the network's; kernels: for tensors, False for torch operations, None for Triton where
    it runs.
    """
    from bitsback.coder import distribution_arrays

    if isinstance(values, torch.Tensor):
        if kernels is False or kernels is None and not have_triton(device):
            return distribution_arrays
        from bitsback.coder import distribution_kernels

        return distribution_kernels
    if device.type != "cpu":
        return distribution_arrays
    from bitsback.ans.compiled import compiled_or

    return compiled_or(distribution_arrays, "bitsback.coder.distribution_loops")
