"""compiled.py: the same results with numba, without it, and where nothing can be cached."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitsback.ans import compiled as module
from bitsback.ans.compiled import HAVE_NUMBA, compiled, inlined

needs_numba = pytest.mark.skipif(not HAVE_NUMBA, reason="numba is not installed")


def total(values):
    found = 0
    for value in values:
        found += value * value
    return found


@needs_numba
def test_a_compiled_function_computes_the_same():
    values = np.arange(-5, 9)
    fast = compiled(total)
    assert fast is not total and fast(values) == total(values) and fast.signatures


@needs_numba
def test_helpers_become_part_of_a_function():
    """A loop may call an inlined helper, of which there is no call left."""
    square = inlined(lambda value: value * value)

    def squares(values):
        found = 0
        for value in values:
            found += square(value)
        return found

    assert compiled(squares)(np.arange(5)) == 30


@needs_numba
def test_where_nothing_can_be_cached_it_is_compiled_all_the_same():
    """Source that is no file has no cache: numba raises RuntimeError for it."""
    numba, names = pytest.importorskip("numba"), {}
    exec("def twice(value):\n    return 2 * value", names)
    with pytest.raises(RuntimeError, match="cache"):
        numba.njit(cache=True)(names["twice"])
    assert compiled(names["twice"])(21) == 42


def test_without_numba_functions_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(module, "numba", None)
    assert compiled(total) is total and inlined(total) is total


CODE = """
import hashlib, sys
import numpy as np
if sys.argv[1] == "without":
    sys.modules["numba"] = None
from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.ans.lanes import Lanes
assert not (sys.argv[1] == "without" and HAVE_NUMBA)
lanes = Lanes(bytes(range(100)))
lanes.widen(7)
lanes.push_uniform(np.arange(3000) % 1000, 10)
message = lanes.to_bytes()
assert lanes.pop_uniform(3000, 10).tolist() == (np.arange(3000) % 1000).tolist()
print(lanes.loops.__name__, hashlib.sha256(message).hexdigest())
"""


def test_where_numba_is_missing_numpy_codes_the_same():
    """An import that fails is no error: other loops, the same bytes."""
    root = Path(__file__).resolve().parents[1]
    loops, digests = zip(
        *(
            subprocess.run(
                [sys.executable, "-c", CODE, which],
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            for which in ("with", "without")
        )
    )
    assert loops[1] == "bitsback.ans.lanes_numpy" and digests[0] == digests[1]
    assert len(digests[0]) == hashlib.sha256().digest_size * 2
    assert loops[0] == f"bitsback.ans.lanes_{'numba' if HAVE_NUMBA else 'numpy'}"
