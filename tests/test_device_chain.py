"""A segment coded as tensors, by torch operations and by Triton kernels: the host's bytes."""

import numpy as np
import pytest

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import Kernels
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import Context
from bitsback.coder.top import Top
from bitsback.integer.convolution import Reference

pytest.importorskip("triton")
KINDS = [False, True]  # torch operations, Triton kernels


def chains(model, kernels):
    """(the host's chain, the one of tensors)."""
    backend, chosen = Reference(model.layers), Kernels(kernels, kernels, kernels)
    return model.chain("cpu", backend), model.chain("cpu", backend, kernels=chosen)


def credit(x):
    lanes = Lanes(np.random.default_rng(1).bytes(6 * x.size + 4096))
    lanes.widen(7)
    return lanes


def laws(model, kernels, x, context, sharpness=0):
    """Both chains push the same bytes and pop what was pushed."""
    host, device = chains(model, kernels)
    top = Top((3, -5, 9), (70, 71, 69))
    found = []
    for chain in (host, device):
        lanes, watched = credit(x), []
        counts = ColourCounts(sharpness) if sharpness else None
        if counts:
            counts.count_all(x)
        counts = chain.counts_for(counts)
        chain.push(lanes, x, top, context, lambda s, w=watched: w.append(s.size_bits), counts)
        data = lanes.to_bytes()
        found.append((data, list(map(int, watched))))
        counts = chain.counts_for(ColourCounts(sharpness) if sharpness else None)
        back = chain.pop(lanes, x.shape, top, context, counts=counts)
        assert np.array_equal(back, x)
        assert lanes.to_bytes() == credit(x).to_bytes()
    assert found[0] == found[1]


def pixels(shape, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.integers(-3, 4, shape), 3)
    return np.clip(smooth + rng.integers(-40, 40, (*shape[:2], 1, 1)), -128, 127).astype(np.int32)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 7, 10), (1, 1, 9, 5), (3, 1, 1, 6)])
@pytest.mark.parametrize("sharpness", [0, 3])
def test_the_host_and_tensors_code_alike(tiny_model, kernels, shape, sharpness):
    x = pixels(shape)
    laws(tiny_model, kernels, x, Context(x[:, :, :0], x[:, :, :, :0]), sharpness)
