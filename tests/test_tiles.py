"""tiles.py: where an allocation fails, a network gives the same integers from smaller tiles."""

import logging

import numpy as np
import pytest
import torch

from bitsback.integer import network as networks
from bitsback.integer.convolution import Reference
from bitsback.integer.network import IntegerNetwork, trunk_reach
from bitsback.integer.tiles import Grid, Tile, in_tiles
from bitsback.memory import out_of_memory


class Scarce(Reference):
    """The reference on a device of little memory: a layer's inputs of more values do not fit."""

    most = 2**60

    def convolve(self, name, x, index, clamp=False):
        if x.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        self.largest = max(getattr(self, "largest", 0), x.numel())
        return super().convolve(name, x, index, clamp)


@pytest.fixture
def scarce(tiny_model):
    expert = tiny_model.experts[0]
    return IntegerNetwork(Scarce(expert.layers), expert.config, tiny_model.steps)


def evaluated(network, y):
    """Outputs of the trunk and of a head on random innovations."""
    rng, (height, width) = np.random.default_rng(2), (-(-side // 8) * 4 for side in y.shape[2:])
    known = torch.from_numpy(rng.integers(-96, 97, (len(y), height, width, 12)).astype(np.int8))
    out, state = network.trunk(0, y)
    return [out, state, network.head(0, 1, state, known)]


@pytest.mark.parametrize(
    "shape, share", [((1, 3, 219, 170), 0.6), ((1, 1, 50, 299), 0.7), ((3, 3, 24, 40), 0.4)]
)
def test_tiles_give_the_same_integers(scarce, shape, share, caplog):
    """Odd sides, a long one, several images: down to tiles of a reach, whose outputs have borders
    on all sides.  Less is evaluated at once.
    """
    y = torch.from_numpy(np.random.default_rng(1).integers(-300, 300, shape).astype(np.int32))
    caplog.set_level(logging.INFO, "bitsback")
    whole = evaluated(scarce, y)
    largest = scarce.backend.largest
    assert not caplog.records
    scarce.backend.most, scarce.backend.largest = int(share * largest), 0
    tiled = evaluated(scarce, y)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(tiled, whole))
    assert 0 < scarce.backend.largest <= share * largest
    assert "in tiles" in caplog.records[-1].message


def test_the_reach_is_that_of_the_layers(scarce):
    """A changed input changes outputs up to the reach and none beyond it."""
    y = torch.zeros((1, 3, 1, 256), dtype=torch.int32)
    other, reach = y.clone(), trunk_reach(scarce.backend.layers)
    other[..., 128] = 900
    changed = (scarce.trunk(0, y)[0] != scarce.trunk(0, other)[0]).any(1).flatten().nonzero()
    assert 16 < reach <= 64 and (changed - 128).abs().max() <= reach


def test_what_does_not_fit_in_the_smallest_tile_is_an_error(scarce):
    scarce.backend.most = 10
    with pytest.raises(torch.OutOfMemoryError):
        scarce.trunk(0, torch.zeros((2, 3, 300, 300), dtype=torch.int32))


def test_other_errors_are_not_hidden():
    """Only a failed allocation is tried again."""
    calls = []

    def wrong(x):
        calls.append(len(x))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        in_tiles(wrong, [torch.zeros(4, 3, 99, 99)], Grid(8, 8, (1,)))
    assert calls == [4]


def test_halves():
    """Images first, then the longer side, at a multiple of the unit."""
    tile = Tile(0, 3, 0, 50, 0, 99)
    assert tile.halves(8) == (Tile(0, 1, 0, 50, 0, 99), Tile(1, 3, 0, 50, 0, 99))
    assert tile._replace(last=1).halves(8) == (Tile(0, 1, 0, 50, 0, 48), Tile(0, 1, 0, 50, 48, 99))
    assert networks.HEAD_GRID.margin % networks.HEAD_GRID.unit == 0


@pytest.mark.parametrize(
    "error, expected",
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("out of resource: shared memory, Required: 300000"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_failed_allocations_are_known_by_what_they_say(error, expected):
    assert out_of_memory(error) is expected
