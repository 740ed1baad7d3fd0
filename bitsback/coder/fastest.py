"""Which implementation of the coder's work on the host is used.

Compiled loops where numba is installed, numpy's and torch's arrays elsewhere; both compute the same
integers.  numba takes half a second to load: it is imported when something is coded.
"""

from types import ModuleType

import torch


def sample_functions() -> ModuleType:
    """The module whose functions order, mask and noise samples on the host."""
    from bitsback.ans.compiled import HAVE_NUMBA
    from bitsback.coder import sample_arrays

    if not HAVE_NUMBA:
        return sample_arrays
    from bitsback.coder import sample_loops

    return sample_loops


def distribution_module(device: torch.device) -> ModuleType:
    """The module whose class StepDistributions computes distributions on `device`."""
    from bitsback.ans.compiled import HAVE_NUMBA
    from bitsback.coder import distribution_arrays

    if device.type != "cpu" or not HAVE_NUMBA:
        return distribution_arrays
    from bitsback.coder import distribution_loops

    return distribution_loops
