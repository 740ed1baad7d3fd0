"""Which Triton kernels of the coder run on a device and compute the right integers there.

A kernel that fails to compile, or computes anything else than torch operations do on the CPU, is
not used: torch operations do its work.  Lanes without kernels stay on the host.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitsback.ans import lanes_numpy
from bitsback.ans.colour_counts import GREEN, ColourCounts
from bitsback.ans.device_counts import DeviceCounts
from bitsback.ans.device_lanes import DeviceLanes, Kernels, have_triton
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.coder import distribution_arrays
from bitsback.diffusion.passes import Places, coding_passes
from bitsback.integer.network import StepTables
from bitsback.memory import out_of_memory

VALUES, LANES = 1000, 70
CPU = torch.device("cpu")


def usable_kernels(
    gaussians: Gaussians, forward: Gaussians, device: torch.device
) -> tuple[Kernels, dict[str, str]]:
    """(Kernels that may be used, {kind: why not} of the others).

    gaussians, forward: a model's tables.
    """
    if not have_triton(device):
        return Kernels(False, False, False), {"all": "Triton does not run here"}
    tests: dict[str, Callable[[torch.device, bool], list[np.ndarray]]] = {
        "lanes": lambda there, kernels: _lanes(gaussians, forward, there, kernels),
        "counts": lambda there, kernels: _counts(gaussians, there, kernels),
        "distributions": _distributions,
    }
    found, reasons = {}, {}
    for kind, results in tests.items():
        try:
            pairs = zip(results(device, True), results(CPU, False), strict=True)
            if not all(np.array_equal(ours, expected) for ours, expected in pairs):
                reasons[kind] = "other integers than on the CPU"
        except Exception as error:  # compilers and drivers fail in many ways
            if out_of_memory(error):
                raise  # it says nothing about the kernel
            reasons[kind] = f"{type(error).__name__}: {error}"
        found[kind] = kind not in reasons
    return Kernels(**found), reasons


def _message() -> Lanes:
    found = Lanes(np.random.default_rng(0).bytes(20 * VALUES), lanes_numpy)
    found.widen(LANES)
    return found


def _tensors(device: torch.device, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array.astype(np.int32)).to(device) for array in arrays]


def _lanes(
    gaussians: Gaussians, forward: Gaussians, device: torch.device, kernels: bool
) -> list[np.ndarray]:
    """Values popped, and all bytes, after pops and pushes of each kind."""
    rng = np.random.default_rng(1)
    mean32, scale = rng.integers(-3000, 3000, VALUES), rng.integers(0, 113, VALUES)
    values = np.where(rng.random(VALUES) < 0.1, rng.integers(-9000, 9000, VALUES), mean32 >> 5)
    ends = np.sort(rng.integers(1, 2**24 - 20, (17, VALUES)), 0) + np.arange(17)[:, None]
    ends[-1] = 2**24
    mean, row, value, end, one = _tensors(device, mean32, scale, values, ends, np.zeros(1))
    lanes = DeviceLanes(_message(), device, 9 * VALUES, kernels)
    popped = [
        lanes.pop_gaussian(forward.table, mean, one, escapes=False),
        lanes.pop_gaussian(gaussians.table, mean, row),
        torch.empty_like(mean),
    ]
    lanes.pop_each(mean, end, popped[2])
    lanes.push_each(popped[2], mean, end)
    lanes.push_gaussian(gaussians.table, value, mean, row)
    lanes.push_gaussian(forward.table, popped[0], mean, one, escapes=False)
    data = np.frombuffer(lanes.to_lanes().to_bytes(), np.uint8)
    return [*(array.cpu().numpy() for array in popped), data]


def _counts(gaussians: Gaussians, device: torch.device, kernels: bool) -> list[np.ndarray]:
    """Cumulative frequencies and counts of random values."""
    rng = np.random.default_rng(2)
    values, keys = rng.integers(-128, 128, VALUES), np.zeros(VALUES)
    mean32, scale = rng.integers(-4600, 4600, VALUES), rng.integers(0, 113, VALUES)
    value, key, mean, row = _tensors(device, values, keys, mean32, scale)
    counts = DeviceCounts(ColourCounts(3), device, kernels)
    counts.count(GREEN, key, value, 3)
    counts.count(GREEN, key[::2], value[::2], -1)
    ends = counts.ends(gaussians, GREEN, key, mean, row)
    return [ends.cpu().numpy()]


def _distributions(device: torch.device, kernels: bool) -> list[np.ndarray]:
    """Means, scales and innovations of two steps of random numbers, one of them gray."""
    module: Any = distribution_arrays
    if kernels:
        module = importlib.import_module("bitsback.coder.distribution_kernels")
    rng, found = np.random.default_rng(3), []
    for channels in (3, 1):
        tables = _tensors(device, *rng.integers(-300, 300, (4, 256)))
        step = StepTables(71000, -321, 96, *tables)
        sizes = (2, 9, 16, 24), (2, 9, 8, 12), (2, channels, 11, 18), (2, channels, 11, 18)
        trunk, head, y, values = _tensors(device, *(rng.integers(-300, 300, s) for s in sizes))
        innovations = torch.zeros((2, 8, 12, 12), dtype=torch.int8, device=device)
        ours = module.StepDistributions(step, trunk, y, values, None)
        for number, parts in enumerate(coding_passes(8)):
            ours.begin(Places(parts, 11, 18, number), head if number else None)
            for colour in (1, 0, 2)[:channels]:
                found += [array.cpu().numpy() for array in ours.of(colour)]
            ours.put_innovations(innovations)
        found.append(innovations.cpu().numpy())
    return found
