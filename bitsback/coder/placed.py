"""Values of a level on a device, where Triton kernels order, mask and place them.

Its array holds the context beside the values, as the network reads it: nothing is copied together.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from bitsback.ans.colour_counts import BLUE, GREEN, RED
from bitsback.ans.device_counts import DeviceCounts
from bitsback.ans.launch import launch
from bitsback.coder import sample_triton
from bitsback.coder.context import Context
from bitsback.coder.free_ranks import BLOCK, FreeRanks, grid_of, masks
from bitsback.diffusion.passes import Pass


class Placed:
    """Values (B, C, H, W) int32, in an array with room for their context below and to the right.

    whole: (B, C, H + h, W + w), contiguous; coded: (n,) the free ones in C order, where they are
    known already; surrounded: whether the context is in `whole`.
    """

    def __init__(
        self,
        whole: Tensor,
        shape: tuple[int, ...],
        coded: Tensor | None = None,
        surrounded: bool = False,
    ):
        self.whole, self.shape = whole, tuple(shape)
        self.surrounded, self._coded = surrounded, coded
        self.sizes = *self.shape[2:], *whole.shape[2:]  # sample_triton.SIZES
        self.size = shape[0] * shape[1] * shape[2] * shape[3]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def values(self) -> Tensor:
        """A view: (B, C, H, W)."""
        return self.whole[:, :, : self.shape[2], : self.shape[3]]

    def coded(self, free: FreeRanks | None) -> Tensor:
        """(n,) the free values in C order."""
        if self._coded is None and free is None and self.whole.shape == self.shape:
            self._coded = self.whole.view(-1)
        if self._coded is None:
            self._coded = self.whole.new_empty(self.size if free is None else free.coded)
            launch(
                sample_triton.compact,
                grid_of(self.size),
                self.whole,
                self._coded,
                *masks(free, self.whole),
                self.size,
                *self.sizes,
                MASKED=free is not None,
                BLOCK=BLOCK,
            )
        return self._coded

    def settle(
        self,
        known: Tensor,
        free: FreeRanks | None,
        coded: Tensor | None = None,
        context: bool = False,
        begin: int = 0,
    ) -> None:
        """Writes coded values, those of the context, and with `free` the fixed ones.

        known: the samples below, those to the right, and from `begin` on the fixed ones.
        """
        batch, channels, height, width = self.shape
        n = self.whole.numel()
        right = batch * channels * (self.sizes[2] - height) * self.sizes[3]
        launch(
            sample_triton.settle,
            grid_of(n),
            self.whole,
            known if coded is None else coded,
            known,
            *masks(free, self.whole),
            n,
            *self.sizes,
            right,
            begin,
            CODED=coded is not None,
            MASKED=free is not None,
            CONTEXT=context,
            BLOCK=BLOCK,
        )


class PlacedContext(Context):
    """A Context whose `free` is FreeRanks; `known`: all its values, as Placed.settle takes them."""

    known: Tensor
    sizes: tuple[int, ...]  # rows below, columns to the right

    def placed(self, coded: Tensor, shape: tuple[int, ...]) -> Placed:
        """(n,) int32, the coded values -> the segment, in an array with all its context."""
        full = *shape[:2], shape[2] + self.sizes[0], shape[3] + self.sizes[1]
        found = Placed(coded.new_empty(full), shape, coded, True)
        free = None if self.fixed is None else self.free
        begin = self.known.shape[0] - (0 if free is None else free.fixed)
        found.settle(self.known, free, coded, any(self.sizes), begin)
        return found

    def around(self, values: Placed) -> Tensor:
        """As Context.around: values.whole."""
        if not values.surrounded and any(self.sizes):
            values.settle(self.known, None, context=True)
        values.surrounded = True
        return values.whole

    def top_rows(
        self, mean32: Sequence[int] | np.ndarray, scale: Sequence[int], shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """mean32 and scale (n,) int32 of the coded values, of one Gaussian for each channel.

        mean32: an integer for each channel, or (B, C, H, W) int32.
        """
        each, channels, free = isinstance(mean32, np.ndarray), shape[1], self.free
        size = shape[0] * channels * shape[2] * shape[3]
        rows = self.known.new_empty((2, size if free is None else free.coded))
        means = rows
        if isinstance(mean32, np.ndarray):
            whole = np.ascontiguousarray(np.broadcast_to(mean32, shape))
            means = torch.from_numpy(whole).to(rows.device)
        numbers = [0] * 3 if each else list(map(int, mean32))
        numbers = numbers + [0] * (3 - len(numbers)) + list(map(int, scale))
        launch(
            sample_triton.top_rows,
            grid_of(size),
            means,
            rows[0],
            rows[1],
            *masks(free, self.known),
            size,
            shape[2] * shape[3],
            channels,
            *(numbers + [0] * (6 - len(numbers))),
            EACH=each,
            MASKED=free is not None,
            BLOCK=BLOCK,
        )
        return rows[0], rows[1]


def placed_contexts(
    contexts: Sequence[Context], orders: Iterable[tuple[Pass, ...]], device: torch.device
) -> list[PlacedContext]:
    """Contexts of one segment on a device, uploaded as one array.  orders: as on_device's."""
    first = contexts[0]
    free = None if first.free is None else FreeRanks(first.free, orders, device)
    none = np.empty(0, np.int32)
    lists = [
        (c.below.ravel(), c.right.ravel(), none if c.fixed is None else c.fixed) for c in contexts
    ]
    parts = [np.concatenate(arrays) for arrays in lists]
    known, begin, found = torch.from_numpy(np.concatenate(parts)).to(device), 0, []
    for context, part in zip(contexts, parts):
        here = known[begin : begin + len(part)]
        fixed = None if context.fixed is None else here[len(part) - len(context.fixed) :]
        there = PlacedContext(None, None, free, fixed)
        there.known = here
        there.sizes = first.below.shape[2], first.right.shape[3]
        begin += len(part)
        found.append(there)
    return found


# The functions of sample_arrays.py


def free_values(values: Placed, free: FreeRanks | None) -> Tensor:
    """As sample_arrays.free_values."""
    return values.coded(free)


def empty(like: Placed, shape: tuple[int, ...]) -> Placed:
    """As sample_arrays.empty, with room for the context of `like`."""
    return Placed(torch.empty_like(like.whole), shape)


def put_fixed(values: Placed, fixed: Tensor, free: FreeRanks) -> None:
    """As sample_arrays.put_fixed."""
    values.settle(fixed, free)


def count_fixed(counts: DeviceCounts, x: Placed, free: FreeRanks, times: int) -> None:
    """As sample_arrays.count_fixed."""
    if not free.fixed:
        return
    out, channels = x.whole.new_empty((2, free.fixed)), x.shape[1]
    launch(
        sample_triton.fixed_pixels,
        grid_of(x.size),
        x.whole,
        out,
        free.mask,
        free.sums,
        x.size,
        *x.sizes,
        free.fixed,
        CHANNELS=channels,
        BLOCK=BLOCK,
    )
    for plane, (begin, end) in enumerate(free.fixed_of):
        table = "gray" if channels == 1 else (RED, GREEN, BLUE)[plane % 3]
        counts.count(table, out[0, begin:end], out[1, begin:end], times)
