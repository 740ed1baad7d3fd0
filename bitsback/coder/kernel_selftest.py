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
from bitsback.coder import distribution_arrays, sample_tensors
from bitsback.coder.context import Context, free_values, on_device
from bitsback.coder.fastest import sample_functions
from bitsback.coder.top import Top
from bitsback.diffusion.passes import Places, coding_passes
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.integer.network import StepTables
from bitsback.memory import out_of_memory

VALUES = 3000
LANES = 70, 2100  # kernels of few and of many lanes are compiled apart (HOLD in lanes_triton.py)
CPU = torch.device("cpu")
WHOLE = WholeRows(1000, 8, 0)


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


def _message(lanes: int) -> Lanes:
    found = Lanes(np.random.default_rng(0).bytes(20 * VALUES), lanes_numpy)
    found.widen(lanes)
    return found


def _tensors(device: torch.device, *arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array.astype(np.int32)).to(device) for array in arrays]


def _lanes(
    gaussians: Gaussians, forward: Gaussians, device: torch.device, kernels: bool
) -> list[np.ndarray]:
    """Values popped, and all bytes, after pops and pushes of each kind."""
    results = (_of_lanes(gaussians, forward, device, kernels, lanes) for lanes in LANES)
    return [array for found in results for array in found]


def _of_lanes(
    gaussians: Gaussians, forward: Gaussians, device: torch.device, kernels: bool, count: int
) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    mean32, scale = rng.integers(-3000, 3000, VALUES), rng.integers(0, 113, VALUES)
    values = np.where(rng.random(VALUES) < 0.1, rng.integers(-9000, 9000, VALUES), mean32 >> 5)
    ends = np.sort(rng.integers(1, 2**24 - 20, (17, VALUES)), 0) + np.arange(17)[:, None]
    ends[-1] = 2**24
    mean, row, value, end, one = _tensors(device, mean32, scale, values, ends, np.zeros(1))
    lanes = DeviceLanes(_message(count), device, 9 * VALUES, kernels)
    popped = [
        lanes.pop_gaussian(forward.table, mean, one, escapes=False),
        lanes.pop_gaussian(gaussians.table, mean, row),
        torch.empty_like(mean),
    ]
    lanes.pop_each(mean, end, popped[2])
    lanes.push_each(popped[2], mean, end)
    lanes.push_gaussian(gaussians.table, value, mean, row)
    popped.append(lanes.size_bits)
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
    counts.count(GREEN, key[::2].contiguous(), value[::2].contiguous(), -1)
    ends = counts.ends(gaussians, GREEN, key, mean, row)
    return [ends.cpu().numpy()]


def _distributions(device: torch.device, kernels: bool) -> list[np.ndarray]:
    """What a decoder and an encoder get of two steps of random numbers, one of them gray.

    Some samples are fixed in the first.
    """
    rng, found = np.random.default_rng(3), []
    for channels in (3, 1):
        tables = _tensors(device, *rng.integers(-300, 300, (4, 256)))
        tables[0] %= 32  # half of them have rows of whole pixels
        step = StepTables(71000, -321, 96, *tables)
        shape = 2, channels, 11, 18
        sizes = (2, 9, 16, 24), (2, 9, 8, 12), (2, channels, 8, 24), (2, channels, 11, 6)
        trunk, head, below, right = _tensors(device, *(rng.integers(-300, 300, s) for s in sizes))
        y, values = (rng.integers(-300, 300, shape).astype(np.int32) for _ in range(2))
        free = rng.random(shape) < 0.8 if channels == 3 else None
        form = _Kernels if kernels else _Operations
        found += form(step, trunk, head, y, values, free, below, right).results()
    return [array.cpu().numpy() for array in found]


class _Operations:
    """One step by torch operations."""

    def __init__(
        self,
        step: StepTables,
        trunk: torch.Tensor,
        head: torch.Tensor,
        y: np.ndarray,
        values: np.ndarray,
        free: np.ndarray | None,
        below: torch.Tensor,
        right: torch.Tensor,
    ):
        self.head, self.device = head, trunk.device
        self.order, self.shape = coding_passes(8), y.shape
        coded = [array.ravel() if free is None else array[free] for array in (y, values)]
        fixed = [None if free is None else array[~free] for array in (y, values)]
        context = Context(below.cpu().numpy(), right.cpu().numpy(), free, fixed[0])
        lower = context._replace(fixed=fixed[1])
        self.context, self.lower = self._there([context, lower])
        self.y, self.values = (
            around.placed(_tensors(self.device, array)[0], self.shape)
            for around, array in zip((self.context, self.lower), coded)
        )
        self.arguments = step, trunk, self.y
        self.rows = Top((3, -5, 9), (70, 71, 69))._parameters(self.shape, self.context)

    def _there(self, contexts: list[Context]) -> list[Context]:
        return on_device(contexts, [self.order], self.device)

    def results(self) -> list[torch.Tensor]:
        """All that is computed: an encoder's, then a decoder's."""
        found = [*self.rows, self.context.around(self.y), free_values(self.y, self.context.free)]
        for known in (True, False):
            found += self._passes(known)
        return found

    def _passes(self, known: bool) -> list[torch.Tensor]:
        found, free, values = [], self.context.free, self.values
        step = distribution_arrays.StepDistributions(*self.arguments, values, free)
        innovations = torch.zeros((2, 8, 12, 12), dtype=torch.int8, device=self.device)
        for number, parts in enumerate(self.order):
            places = Places(parts, self.shape[2], self.shape[3], number)
            step.begin(places, self.head if number else None, innovations if number < 7 else None)
            for colour in (1, 0, 2)[: self.shape[1]]:
                channel = colour if self.shape[1] == 3 else 0
                where = places, values, channel, free
                mean32, scale = step.of(colour)
                above = sample_tensors.of_colour(places, self.y, channel, free)
                found += [mean32, WHOLE.scale(mean32, scale, above)]
                found.append(sample_tensors.counted(*where)[1])
                found.append(sample_tensors.of_colour(*where))
            step.end()
        return [*found, innovations, values]


class _Kernels(_Operations):
    """The same by kernels."""

    def _there(self, contexts: list[Context]) -> list[Context]:
        from bitsback.coder.placed import placed_contexts

        return [*placed_contexts(contexts, [self.order], self.device)]

    def _passes(self, known: bool) -> list[torch.Tensor]:
        module: Any = importlib.import_module("bitsback.coder.distribution_kernels")
        found, free, values, fixed = [], self.context.free, self.values, self.lower.fixed
        samples = sample_functions(values)
        if not known:
            values = samples.empty(values, self.shape)
            if fixed is not None:
                samples.put_fixed(values, fixed, free)
        step = module.StepDistributions(*self.arguments, values, free)
        step.known, step.keyed, step.whole = known, True, WHOLE
        innovations = torch.zeros((2, 8, 12, 16), dtype=torch.int8, device=self.device)
        listed = None
        if free is not None:
            mask = free.mask.view(self.shape).cpu().numpy() != 0
            listed = sample_tensors.FreeSamples(mask, [self.order], self.device)
        for number, parts in enumerate(self.order):
            places = Places(parts, self.shape[2], self.shape[3], number)
            step.begin(places, self.head if number else None, innovations if number < 7 else None)
            for colour in (1, 0, 2)[: self.shape[1]]:
                channel = colour if self.shape[1] == 3 else 0
                here = sample_tensors.of_colour(places, self.values.values, channel, listed)
                found += [*(array.clone() for array in step.of(colour))]
                found += [step.keys(colour)[1].clone(), step.coded(colour) if known else here]
                step.put(here.contiguous())
            step.end()
        return [*found, innovations[..., :12], values.values]
