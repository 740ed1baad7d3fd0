"""Which implementation of the coder's work is used.

On the host, compiled loops where numba is installed, numpy's and torch's arrays elsewhere; for
tensors, Triton kernels where they run, torch operations elsewhere.  All compute the same integers.
numba takes half a second to load: it is imported when something is coded.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch


def placed(values: Any) -> bool:
    """Whether values of a level are Placed, not an array of numpy or a tensor."""
    return not isinstance(values, (np.ndarray, torch.Tensor))


def sample_functions(array: Any) -> ModuleType:
    """The module whose functions order, mask and noise samples where `array` is.

    array: numpy's, a tensor, or Placed, for which kernels do it.
    """
    if placed(array):
        from bitsback.coder import placed as placed_values

        return placed_values
    if isinstance(array, torch.Tensor):
        from bitsback.coder import sample_tensors

        return sample_tensors
    from bitsback.ans.compiled import compiled_or
    from bitsback.coder import sample_arrays

    return compiled_or(sample_arrays, "bitsback.coder.sample_loops")


def distribution_module(values: Any, device: torch.device) -> Any:
    """The module whose class StepDistributions computes distributions of `values`.

    values: as sample_functions'; device: the network's.
    """
    from bitsback.coder import distribution_arrays

    if placed(values):
        from bitsback.coder import distribution_kernels

        return distribution_kernels
    if isinstance(values, torch.Tensor) or device.type != "cpu":
        return distribution_arrays
    from bitsback.ans.compiled import compiled_or

    return compiled_or(distribution_arrays, "bitsback.coder.distribution_loops")
