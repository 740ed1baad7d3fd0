"""Colour counts on a device: ColourCounts with tensors in place of arrays.

The tables stay on the device for all segments of a file.  A chunk takes three operations: the
cumulative frequencies of its values, a push or pop under them, and counting.
"""

from typing import Any

import torch
from torch import Tensor

from bitsback.ans import colour_tensors
from bitsback.ans.colour_counts import TABLE_SIZES, ColourCounts, PixelArray, Table, chunks
from bitsback.ans.colour_frequencies import BEHIND
from bitsback.ans.device_lanes import DeviceLanes, have_triton
from bitsback.ans.gaussian_tables import FRACTION_BITS, Gaussians


class DeviceCounts:
    """The counts of `counts` on a device; those are not used meanwhile.

    kernels: True for Triton, False for torch operations, None for Triton where it runs.  Methods
    are those of ColourCounts; none waits for the device.
    """

    def __init__(self, counts: ColourCounts, device: torch.device, kernels: bool | None = None):
        self.share, self.base, self.counted = counts.share, counts.base, counts.counted
        self._device = device
        self._kernels = have_triton(device) if kernels is None else kernels
        self._tables = {
            table: torch.from_numpy(found).to(device, copy=True)
            for table, found in counts._tables.items()
        }
        self._frequencies: dict[int, Tensor] = {}
        self._loops: Any = colour_tensors
        if self._kernels:
            from bitsback.ans import colour_triton

            self._loops = colour_triton
        self._changes: list[tuple[Table, Tensor, Tensor, int]] | None = None

    def _table(self, table: Table) -> Tensor:
        if table not in self._tables:
            self._tables[table] = torch.zeros(
                TABLE_SIZES[table], dtype=torch.int32, device=self._device
            )
        return self._tables[table]

    def snapshot(self) -> None:
        """Marks the state that `restore` returns to, in place of any earlier one."""
        self._changes = []

    def restore(self) -> None:
        """Undoes all changes since `snapshot`, and ends it."""
        changes, self._changes = self._changes or [], None
        for table, keys, values, times in reversed(changes):
            self.count(table, keys, values, -times)

    def count(self, table: Table, keys: Tensor, values: Tensor, times: int = 1) -> None:
        """Adds `times` to the counts of values (n,) after keys (n,), int32, contiguous."""
        n = values.shape[0]
        if not n:
            return
        self._loops.count(self._table(table), keys, values, times)
        self.counted += times * n
        if self._changes is not None:
            self._changes.append((table, keys, values, times))

    def push(self, lanes: DeviceLanes, gaussians: Gaussians, array: PixelArray) -> None:
        """As ColourCounts.push, of int32 tensors."""
        table, keys, values, mean32, scale = array
        if self.counted < values.shape[0]:
            raise ValueError("what is pushed has not been counted")
        for part in reversed(chunks(values.shape[0])):
            here, after, rows = values[part], keys[part], (mean32[part], scale[part])
            self.count(table, after, here, -1)
            lanes.push_each(here, *self._symbols(gaussians, table, after, *rows))

    def pop(
        self,
        lanes: DeviceLanes,
        gaussians: Gaussians,
        table: Table,
        keys: Tensor,
        mean32: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """The mirror of push: (n,) int32, which are in the counts then."""
        values = torch.empty(keys.shape[0], dtype=torch.int32, device=self._device)
        for part in chunks(keys.shape[0]):
            here, after = values[part], keys[part]
            first, ends = self._symbols(gaussians, table, after, mean32[part], scale[part])
            lanes.pop_each(first, ends, here)
            self.count(table, after, here)
        return values

    def _symbols(
        self, gaussians: Gaussians, table: Table, keys: Tensor, mean32: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(n,) the value of symbol 0 of each, and what `ends` returns."""
        rows = self._frequencies.get(id(gaussians))
        if rows is None:
            rows = torch.from_numpy(gaussians.frequencies).to(self._device)
            self._frequencies[id(gaussians)] = rows
        arguments = rows, self._table(table), keys, mean32, scale, self.share, self.base
        if self._kernels:
            return self._loops.symbols(*arguments)
        return (mean32 >> FRACTION_BITS) - BEHIND, colour_tensors.ends(*arguments)

    def ends(
        self, gaussians: Gaussians, table: Table, keys: Tensor, mean32: Tensor, scale: Tensor
    ) -> Tensor:
        """(WIDTH + 1, n) int32: cumulative frequencies of each value's symbols, the last 2^24."""
        return self._symbols(gaussians, table, keys, mean32, scale)[1]
