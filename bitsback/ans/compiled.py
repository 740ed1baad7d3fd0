"""Loops compiled for the CPU by numba, where it is installed.

Every compiled loop has a form in numpy that computes the same integers and serves where numba is
missing.  This module imports numba: import it, and modules of loops, only when something is coded.
"""

from collections.abc import Callable
from typing import Any

try:
    import numba
except Exception:  # missing, or broken: numba checks versions of numpy when it is imported
    numba = None

HAVE_NUMBA = numba is not None


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on first use for the types it is called with; unchanged without numba.

    The machine code is cached on disk.  No other thread can run Python meanwhile: arrays that are
    passed in cannot change.
    """
    if numba is None:
        return function
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder can be written for the cache
        return numba.njit(error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A helper of compiled loops, which becomes part of each of them."""
    return function if numba is None else numba.njit(inline="always", error_model="numpy")(function)
