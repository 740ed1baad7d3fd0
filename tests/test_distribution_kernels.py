"""Distributions by Triton kernels: the integers of torch operations, for any layout and values."""

import numpy as np
import pytest
import torch

from bitsback.coder import distribution_arrays
from bitsback.coder.sample_tensors import FreeSamples
from bitsback.diffusion.passes import Places, coding_passes
from bitsback.integer.network import StepTables

pytest.importorskip("triton")

SHAPES = [(1, 3, 1, 1), (2, 3, 7, 10), (3, 1, 1, 6), (1, 1, 9, 5), (2, 3, 2, 3), (1, 3, 6, 1)]
LARGE = 2**31 - 1
CPU = torch.device("cpu")


def numbers(rng, shape, reach, device):
    return torch.from_numpy(rng.integers(-reach - 1, reach + 1, shape).astype(np.int32)).to(device)


def case(shape, reach, seed, device):
    """(step, trunk, heads, y, values): random integers, channels last, wider than the values."""
    rng = np.random.default_rng(seed)
    batch, _, height, width = shape
    tables = [numbers(rng, 256, reach, device) for _ in range(4)]
    step = StepTables(int(rng.integers(-70000, 70000)), -321, 96, *tables)
    rows, columns = (height + 7) // 8 * 8, (width + 7) // 8 * 8
    trunk = numbers(rng, (batch, rows, columns, 9), reach, device).permute(0, 3, 1, 2)
    trunk = trunk[:, :, : height + 1, : width + 1]
    heads = numbers(rng, (2, batch, rows // 2, columns // 2, 9), reach, device).permute(
        0, 1, 4, 2, 3
    )
    return (
        step,
        trunk,
        heads,
        numbers(rng, shape, reach, device),
        numbers(rng, shape, reach, device),
    )


def found(module, device, shape, passes, reach, seed, free=None):
    """All that a module computes for one step: means, scales and innovations."""
    step, trunk, heads, y, values = case(shape, reach, seed, device)
    order = coding_passes(passes)
    mask = None if free is None else FreeSamples(free, [order], device)
    ours = module.StepDistributions(step, trunk, y, values, mask)
    innovations = torch.zeros(
        (*heads.shape[1:2], *heads.shape[3:], 12), dtype=torch.int8, device=device
    )
    results = []
    for number, parts in enumerate(order):
        places = Places(parts, *shape[2:], number)
        if not places.n:
            continue
        ours.begin(places, heads[number % 2] if number else None)
        for colour in (1, 0, 2)[: shape[1]]:
            results += [array.cpu().clone() for array in ours.of(colour)]
        ours.put_innovations(innovations)
        results.append(innovations.cpu().clone())
    return results


@pytest.mark.parametrize("passes", [2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [300, 40_000, LARGE])
def test_kernels_equal_torch_operations(device, shape, passes, reach):
    """Sums and products that pass int32, as a damaged file may cause them, wrap alike."""
    from bitsback.coder import distribution_kernels

    expected = found(distribution_arrays, CPU, shape, passes, reach, passes)
    actual = found(distribution_kernels, device, shape, passes, reach, passes)
    assert len(expected) == len(actual)
    assert all(torch.equal(a, b) for a, b in zip(expected, actual))


@pytest.mark.parametrize("shape", [(2, 3, 7, 10), (1, 1, 9, 5)])
def test_only_free_values_are_returned(device, shape):
    """A mask chooses the same values in both."""
    from bitsback.coder import distribution_kernels

    free = np.random.default_rng(5).random(shape) < 0.4
    expected = found(distribution_arrays, CPU, shape, 4, 300, 3, free)
    actual = found(distribution_kernels, device, shape, 4, 300, 3, free)
    assert all(torch.equal(a, b) for a, b in zip(expected, actual))
    everything = found(distribution_arrays, CPU, shape, 4, 300, 3)
    assert sum(map(len, expected)) < sum(map(len, everything))
