"""How many operations a segment asks of a device, and that none of them waits for it."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from benchmarks.launches import launches
from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import DeviceLanes, Kernels
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import Context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.integer.convolution import Reference

pytest.importorskip("triton")
# Operations of a segment, convolutions of one operation each included.  Of these are 403 of the
# network's, 94 arrays of lanes, 8 that put words on the stack, and 3 for each of 72 chunks under
# colour counts.
MOST_PUSHED, MOST_POPPED = 818, 918
ALL = Kernels(True, True, True)


class OneOperation(Reference):
    """Each convolution, with what follows it, is one operation, as of the backends for GPUs."""

    def like(self, layers):
        return OneOperation(layers, self.device)


def _one(method):
    def once(self, *arguments, **options):
        torch.zeros((), device=self.device)  # what is counted
        with _disable_current_modes():
            return method(self, *arguments, **options)

    return once


for name in ("convolve", "convolve_sum", "convolve_narrow", "convolve_limited", "network_input"):
    if hasattr(Reference, name):
        setattr(OneOperation, name, _one(getattr(Reference, name)))


@pytest.fixture
def nothing_computed(monkeypatch):
    """Kernels are launched and compute nothing; tensors of the device "meta" have no values."""
    from triton.runtime.interpreter import InterpretedFunction

    monkeypatch.setattr(InterpretedFunction, "run", lambda self, *arguments, **options: None)
    monkeypatch.setattr(DeviceLanes, "to_lanes", lambda self: None)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape))  # at its end


def coded(model, masked, kernels=ALL, size=(96, 64)):
    """Counters of operations of a push and of a pop under a model, colours counted.

    Of a second segment: tables are on the device by then.
    """
    x = np.zeros((1, 3, *size), np.int32)
    free = np.random.default_rng(0).random(x.shape) < 0.9 if masked else None
    context = Context(x[:, :, :8], x[:, :, :, :8], free, x[~free] if masked else None)
    context = context._replace(below=np.zeros((1, 3, 8, size[1] + 8), np.int32))
    chain = model.chain("meta", OneOperation(model.layers, "meta"), kernels=kernels)
    lanes, counts = Lanes(bytes(400)), ColourCounts(3)
    lanes.widen(9)
    counts.count_all(x)
    there = chain.counts_for(counts)
    top = Top((0, 0, 0), (70, 70, 70))
    for _ in range(2):
        there.counted = x.size
        with launches() as pushes:
            chain.push(lanes, x, top, context, lambda stack: stack.size_bits, there)
        with launches() as pops:
            chain.pop(lanes, x.shape, top, context, counts=there)
    return pushes, pops


@pytest.mark.parametrize("masked", [False, True])
def test_operations_of_a_segment(nothing_computed, masked):
    """Tensors without values raise where anything looks at one: nothing waits inside a segment."""
    pushes, pops = coded(Model.open(), masked)
    assert 500 < sum(pushes.values()) <= MOST_PUSHED and 500 < sum(pops.values()) <= MOST_POPPED
    assert not any(name in pops for name in ("index_select", "clone", "cat", "copy"))


def test_operations_of_an_ensemble(nothing_computed):
    """Nothing waits either.  Of three members two are one batch: the networks' are twice those of
    one model.  Mirroring and means are the other half of what is added.
    """
    pushes, pops = coded(Model.open("best"), False)
    assert 1000 < sum(pushes.values()) <= 1856 and 1000 < sum(pops.values()) <= 1958


@pytest.mark.parametrize("masked", [False, True])
def test_torch_operations_do_not_wait_either(nothing_computed, short_model, masked):
    """Where Triton is missing there are more operations, each step of lanes apart."""
    pushes, pops = coded(short_model, masked, Kernels(False, False, False), (8, 8))
    assert not any(name.startswith("kernel") for name in [*pushes, *pops])
