"""Compiled loops or arrays: chosen late, and of no influence on what is coded."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from bitsback.ans import compiled
from bitsback.coder import distribution_arrays, fastest, sample_arrays
from bitsback.coder.context import Context
from bitsback.coder.top import Top
from tests.laws import credit


def test_importing_the_codecs_does_not_load_numba():
    program = (
        "import sys, bitsback.codecs.decoder, bitsback.codecs.encoder, bitsback.coder.chain; "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_arrays_serve_where_numba_is_missing_and_on_other_devices(monkeypatch):
    values, tensor = np.zeros(1, np.int32), torch.zeros(1, dtype=torch.int32)
    meta, cpu = torch.device("meta"), torch.device("cpu")
    assert fastest.distribution_module(values, meta) is distribution_arrays
    assert fastest.distribution_module(tensor, cpu) is distribution_arrays
    monkeypatch.setattr(compiled, "HAVE_NUMBA", False)
    assert fastest.distribution_module(values, cpu) is distribution_arrays
    assert fastest.sample_functions(values) is sample_arrays


@pytest.mark.skipif(not compiled.HAVE_NUMBA, reason="numba is missing")
@pytest.mark.parametrize("masked", [False, True])
def test_same_bits_without_numba(tiny_model, monkeypatch, masked):
    """A segment with context, pushed with compiled loops, is popped with arrays, bit for bit."""
    rng, chain = np.random.default_rng(0), tiny_model.chain()
    x, below, right = (
        rng.integers(-128, 128, (2, 3, *size)).astype(np.int32)
        for size in ((16, 10), (8, 14), (16, 4))
    )
    free = rng.random(x.shape) < 0.8 if masked else None
    context = Context(below, right, free, x[~free] if masked else None)
    stack, top = credit(20_000), Top((0, 0, 0), (70, 70, 70))
    before = stack.to_bytes()
    chain.push(stack, x, top, context)
    pushed = stack.copy()
    assert np.array_equal(chain.pop(stack, x.shape, top, context), x)
    assert stack.to_bytes() == before
    monkeypatch.setattr(compiled, "HAVE_NUMBA", False)
    assert np.array_equal(chain.pop(pushed, x.shape, top, context), x)
    assert pushed.to_bytes() == before
    chain.push(pushed, x, top, context)
    chain.push(stack, x, top, context)
    assert pushed.to_bytes() == stack.to_bytes()
