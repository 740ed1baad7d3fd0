"""Loops compiled for the CPU by numba, where it is installed.

Every compiled loop has a form in numpy that computes the same integers and serves where numba is
missing.  This module imports numba: import it, and modules of loops, only when something is coded.
"""

import functools
import hashlib
import importlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

try:
    import numba
except Exception:  # missing, or broken: numba checks versions of numpy when it is imported
    numba = None  # type: ignore[assignment]

HAVE_NUMBA = numba is not None
PACKAGES = "ans", "coder", "diffusion", "integer"  # that compiled loops import from


@functools.cache
def _sources() -> bytes:
    """A digest of all modules that a compiled loop may take a constant or a helper from."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((Path(__file__).parents[1] / package).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()


def compiled_or(reference: ModuleType, loops: str) -> ModuleType:
    """The module of this name, whose loops are compiled, where numba is; else `reference`."""
    return importlib.import_module(loops) if HAVE_NUMBA else reference


class _Guarded:
    """numba's cache of one function, whose failures only cost the time to compile it.

    numba raises what it meets: a full disk, or a file that a power cut left empty, which would stop
    every later run too.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The compiled code, None where the cache has none that can be read."""
        try:
            return self._cache.load_overload(signature, context)
        except Exception:  # whatever unpickling raises
            with suppress(OSError):
                self._cache.flush()  # so that it is written anew
            return None

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keeps the code if it can be kept."""
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            self._cache.save_overload(signature, code)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on first use for the types it is called with; unchanged without numba.

    The machine code is cached on disk.  numba compiles again where the function's own file has
    changed; here also where any module has, since constants and helpers come from others.
    """
    if numba is None:
        return function
    # without Python's lock: loops of several images run at once in threads
    plain = functools.partial(numba.njit, error_model="numpy", nogil=True)
    try:
        dispatcher: Any = plain(cache=True)(function)
        file = dispatcher._cache._cache_file  # numba has no public way to say it
        file._source_stamp = (file._source_stamp, _sources())
        dispatcher._cache = _Guarded(dispatcher._cache)
    except (RuntimeError, AttributeError):  # no folder can be written; another numba
        return plain()(function)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A helper of compiled loops, which becomes part of each of them."""
    return function if numba is None else numba.njit(inline="always", error_model="numpy")(function)
