"""Lanes that live on a torch device while a segment is coded, so that no array leaves it.

The loops are a Triton kernel an array where Triton is there, on a GPU or under its interpreter,
else torch operations.  Both give the results of lanes_numpy.py.  Nothing waits for the device until
`to_lanes`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitsback.ans import lanes_torch
from bitsback.ans.lanes import MAX_LANES, Lanes
from bitsback.ans.row_table import RowTable
from bitsback.errors import StackEmpty

PUSHING = 32  # lanes of a program that pushes: one for each thread of a warp
GIVEN = 2**21  # words that may wait to be put on the stack: a launch of a kernel for many arrays
# (table, its edges or its rows as kernels take them, on the device) by the id of the edges; the
# table keeps the id its own
Tables = dict[int, tuple[RowTable, Tensor]]


class Kernels(NamedTuple):
    """Whose work on a device Triton kernels do; torch operations do that of the others."""

    lanes: bool
    counts: bool
    distributions: bool


def have_triton(device: torch.device) -> bool:
    """Whether Triton runs kernels on tensors of this device."""
    try:
        import triton
    except ImportError:
        return False
    return device.type == "cuda" or bool(triton.knobs.runtime.interpret)


def least(sizes: Sequence[int | Tensor]) -> int:
    """The least of numbers; those on a device are fetched together."""
    there = [size for size in sizes if isinstance(size, Tensor)]
    here = [size for size in sizes if not isinstance(size, Tensor)]
    return min(here + ([int(torch.stack(there).min())] if there else []))


class DeviceLanes:
    """The lanes of `lanes` on a device; those are not used meanwhile.

    kernels: True for Triton, False for torch operations, None for Triton where it runs.
    room: words that are pushed on top at most, for which memory is taken now; tables: those of
    earlier segments, which are on the device already.
    """

    def __init__(
        self,
        lanes: Lanes,
        device: torch.device,
        room: int,
        kernels: bool | None = None,
        tables: Tables | None = None,
    ):
        self._lanes, self._device, self._open = lanes, device, len(lanes)
        self._kernels = have_triton(device) if kernels is None else kernels
        self.state = torch.from_numpy(lanes.state.copy()).to(device)
        self.words = torch.empty(lanes.count + room + 1, dtype=torch.int64, device=device)
        words = torch.from_numpy(lanes.words[: lanes.count].astype("int64"))
        self.words[: lanes.count] = words.to(device)
        self.count = torch.full((), lanes.count, dtype=torch.int64, device=device)
        self._tables: Tables = {} if tables is None else tables
        self._width = 128  # of a program: a power of two; few widths, for few compilations
        while self._width < self._open:
            self._width *= 2
        assert self._width <= MAX_LANES
        if self._kernels:
            from bitsback.ans import lanes_push_triton, lanes_triton, lanes_triton_each, launch
            from bitsback.ans.size_triton import size_kernel
            from bitsback.ans.words_triton import BLOCK, WARPS, append_words

            self._programs: dict[str, Any] = {
                "pop_gaussian": lanes_triton.pop_gaussian,
                "push_gaussian": lanes_push_triton.push_gaussian,
                "pop_each": lanes_triton_each.pop_each,
                "push_each": lanes_triton_each.push_each,
            }
            self._size, self._append = size_kernel, append_words
            self._whole = {"BLOCK": BLOCK, "num_warps": WARPS}
            self._warps = lanes_triton.warps(self._width)
            self._run: Any = launch.launch
            self._given = self.state.new_empty(0)  # filled from its end
            self._low = 0  # of it, the first place that is filled

    def __len__(self) -> int:
        return self._open

    def to_lanes(self) -> Lanes:
        """The lanes given at first, as they are now; waits for the device.  Errors: StackEmpty.

        A value without frequency was pushed where that is the error of a decoder's lanes.
        """
        self._flush()
        count = int(self.count)
        if count < 0:
            raise StackEmpty("the stack ran dry")
        self._lanes.state = self.state.cpu().numpy()
        self._lanes.words = self.words[:count].cpu().numpy().astype("uint32")
        self._lanes.count = count
        return self._lanes

    def _table(self, table: RowTable) -> Tensor:
        """On the device: rows as kernels take them, or the edges."""
        key = id(table.edges)
        if key not in self._tables:
            edges = table.edges
            if self._kernels:
                from bitsback.ans.lanes_triton import search_rows

                edges = search_rows(edges)
            self._tables[key] = table, torch.from_numpy(edges).to(self._device)
        return self._tables[key][1]

    @property
    def size_bits(self) -> Tensor:
        """() int64: bits on the stack and in the lanes; fetching it waits for the device."""
        if self._kernels:
            self._flush()
            found = self.count.new_empty(())
            arrays = self.state, self.count, found
            self._run(self._size, (1,), *arrays, self._open, LANES=self._width)
            return found
        exponents = torch.frexp((self.state >> 31).double())[1] + 30
        return exponents.sum() + 32 * self.count

    def push_gaussian(
        self, table: RowTable, values: Tensor, mean32: Tensor, scale: Tensor, escapes: bool = True
    ) -> None:
        """As Lanes.push_gaussian, of int32 tensors; errors are found by to_lanes."""
        if not values.shape[0]:
            return
        rows = self._table(table)
        if self._kernels:
            many = int(scale.shape[0] > 1)
            arrays = rows, *map(Tensor.contiguous, (mean32, scale, values))
            self._push("push_gaussian", arrays, many, ESCAPES=escapes)
            return
        self.count = lanes_torch.push_gaussian(
            self.state, self.words, self.count, rows, values, mean32, scale, escapes
        )

    def pop_gaussian(
        self, table: RowTable, mean32: Tensor, scale: Tensor, escapes: bool = True
    ) -> Tensor:
        """The mirror of push_gaussian: (n,) int32."""
        values = torch.empty(mean32.shape[0], dtype=torch.int32, device=self._device)
        if not values.shape[0]:
            return values
        rows = self._table(table)
        if self._kernels:
            many = int(scale.shape[0] > 1)
            arrays = rows.view(torch.int64), mean32.contiguous(), scale.contiguous(), values
            self._pop("pop_gaussian", arrays, many, ESCAPES=escapes)
            return values
        self.count = lanes_torch.pop_gaussian(
            self.state, self.words, self.count, rows, mean32, scale, escapes, values
        )
        return values

    def push_each(self, values: Tensor, first: Tensor, ends: Tensor) -> None:
        """As Lanes.push_each, of int32 tensors.  ends: (K, n), cumulative frequencies."""
        if not values.shape[0]:
            return
        if self._kernels:
            arrays = first.contiguous(), ends.contiguous(), values.contiguous()
            self._push("push_each", arrays, SYMBOLS=ends.shape[0])
            return
        self.count = lanes_torch.push_each(self.state, self.words, self.count, values, first, ends)

    def pop_each(self, first: Tensor, ends: Tensor, values: Tensor) -> None:
        """The mirror of push_each: writes values (n,), contiguous."""
        if not values.shape[0]:
            return
        if self._kernels:
            arrays = first.contiguous(), ends.contiguous(), values
            self._pop("pop_each", arrays, SYMBOLS=ends.shape[0])
            return
        self.count = lanes_torch.pop_each(self.state, self.words, self.count, first, ends, values)

    def _push(self, name: str, arrays: tuple[Tensor, ...], *sizes: int, **constants: int) -> None:
        """Pushes the last of the arrays, in programs of few lanes; the words wait in `given`.

        Later words have lower places, so that they are one array for all pushes since `_flush`.
        """
        n = arrays[-1].shape[0]
        places = -(-n // self._open) * self._open * (1 + constants.get("ESCAPES", True))
        if places > self._low:
            self._flush()
            if places > self._given.shape[0]:
                self._given = self.state.new_empty(max(places, min(GIVEN, self.words.shape[0])))
            self._low = self._given.shape[0]
        self._low -= places
        constants |= {"LANES": PUSHING, "num_warps": 1}
        head, sizes = (self.state, self._given, self._low), (n, self._open, *sizes)
        grid = (-(-self._open // PUSHING),)
        self._run(self._programs[name], grid, *head, *arrays, *sizes, **constants)

    def _flush(self) -> None:
        """Puts the words of earlier pushes on the stack."""
        if not self._kernels or self._low == self._given.shape[0]:
            return
        given, stack = self._given, (self.words, self.count, self.words.shape[0])
        self._run(self._append, (1,), given, self._low, given.shape[0], *stack, **self._whole)
        self._low = given.shape[0]

    def _pop(self, name: str, arrays: tuple[Tensor, ...], *sizes: int, **constants: int) -> None:
        """The mirror of _push: one program has all lanes."""
        self._flush()
        constants |= {"LANES": self._width, "WARPS": self._warps, "num_warps": self._warps}
        stack, n = (self.state, self.words, self.count), arrays[-1].shape[0]
        sizes = n, self._open, *sizes
        self._run(self._programs[name], (1,), *stack, *arrays, *sizes, **constants)
