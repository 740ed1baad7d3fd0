"""The distributions of a step by Triton kernels: one a pass for an encoder, four for a decoder."""

from typing import Any

import torch
from torch import Tensor

from bitsback.ans.colour_counts import BLUE, GREEN, RED, Table
from bitsback.ans.launch import launch
from bitsback.coder import distribution_triton, distribution_triton_pop
from bitsback.coder.free_ranks import FreeRanks, pass_grid
from bitsback.coder.placed import Placed
from bitsback.diffusion.passes import Places
from bitsback.diffusion.whole_pixels import WholeRows
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.network import StepTables

BLOCK = 256
MEAN32, ROW, VALUE, KEY = range(4)


class StepDistributions:
    """As distribution_arrays.StepDistributions, of Placed values.

    known: whether all values are in `values` already, as an encoder's are; `coded` returns them
    then.  A decoder gives `put` those of each colour.  keyed: whether `keys` is asked for.  whole:
    rows that replace the step's, or None.  All are set before the first pass.
    """

    known, keyed = False, False
    whole: WholeRows | None = None

    def __init__(
        self,
        step: StepTables,
        trunk: Tensor,
        y: Placed,
        values: Placed,
        free: FreeRanks | None,
    ):
        self._step, self._trunk, self._free = step, trunk, free
        self._y, self._values = y, values
        self._channels = y.shape[1]
        whole = values.whole
        self._masked = int(free is not None)
        self._mask = (whole.view(torch.uint8), whole) if free is None else (free.mask, whole)

    def begin(self, places: Places, head: Tensor | None, innovations: Tensor | None) -> None:
        """As distribution_arrays'; innovations have 16 channels in memory."""
        batch, _, height, width = self._y.shape
        channels, free, whole = self._channels, self._free, self._values.whole
        grid = pass_grid(places, batch, height, width)
        self._grid, self._total, self._places = grid, grid[0], places
        self._before, counts = [0] * channels, [grid[0]] * channels
        if free is not None:
            sums, before, of = free.of(places)
            self._mask, self._before, counts = (free.mask, sums), list(before), list(of)
        starts = [sum(counts[:channel]) for channel in range(channels + 1)]
        self._parts = [slice(begin, end) for begin, end in zip(starts, starts[1:])]
        length = starts[channels]
        self._out = whole.new_empty((4 if self.keyed else 3 if self.known else 2, length))
        self._innovations = innovations
        self._first = [start - before for start, before in zip(starts, self._before)]
        first = (self._first + [0, 0])[:3]
        step, some = self._step, self._trunk if head is None else head
        network = step.from_y, step.from_f, step.base, *self._trunk.stride(), *some.stride()
        inputs = self._y.whole, self._trunk, some, step.scale, step.gain, step.shift, step.inverse
        flags = int(head is not None), int(self.keyed), self._masked
        y, v = self._y.whole.stride()[:3], whole.stride()[:3]
        if self.known:
            later = innovations is not None
            there = self._out.view(torch.int8) if innovations is None else innovations
            self._launch(
                distribution_triton.known_values,
                *inputs,
                whole,
                *self._mask,
                self._out,
                there,
                *network,
                *there.shape[1:3] if later else (0, 0),
                length,
                *first,
                height,
                width,
                *y,
                *v,
                flags=(*flags, int(later), *self._rows()),
                CHANNELS=channels,
                REACH=INNOVATION_REACH,
            )
            return
        self._prepared = whole.new_empty((4, 3, self._total))
        self._launch(
            distribution_triton_pop.prepare,
            *inputs,
            *self._mask,
            self._prepared,
            self._out,
            *network,
            length,
            *first,
            height,
            width,
            *y,
            flags=(*flags, *self._rows()),
            CHANNELS=channels,
        )

    def of(self, colour: int) -> tuple[Tensor, Tensor]:
        """As distribution_arrays'."""
        channel = colour if self._channels == 3 else 0
        part = self._parts[channel]
        if not self.known and colour != 1:
            latest = 1 if colour == 0 else 0
            self._launch(
                distribution_triton_pop.next_means,
                self._given,
                self._y.whole,
                self._values.whole,
                *self._mask,
                self._prepared,
                self._out,
                self._out.shape[1],
                self._before[latest],
                self._first[channel],
                *self._y.shape[2:],
                *self._y.whole.stride()[:3],
                *self._values.whole.stride()[:3],
                flags=(int(self.keyed), self._masked, *self._rows()),
                COLOUR=colour,
            )
        return self._out[MEAN32, part], self._out[ROW, part]

    def coded(self, colour: int) -> Tensor:
        """(m,) int32: the values whose distributions `of` returned; an encoder's."""
        return self._out[VALUE, self._parts[colour if self._channels == 3 else 0]]

    def keys(self, colour: int) -> tuple[Table, Tensor]:
        """Table of colour counts, and (m,) int32 keys, of what `of` returned."""
        if self._channels == 1:
            return "gray", self._out[KEY, self._parts[0]]
        return (RED, GREEN, BLUE)[colour], self._out[KEY, self._parts[colour]]

    def put(self, coded: Tensor) -> None:
        """(m,) int32, contiguous: the values whose distributions `of` returned last."""
        self._given = coded

    def end(self) -> None:
        """Ends a pass: the last values are written, and the innovations."""
        if self.known:
            return
        later, there = self._innovations is not None, self._innovations
        if there is None:
            there = self._prepared.view(torch.int8)
        self._launch(
            distribution_triton_pop.finish,
            self._given,
            self._values.whole,
            *self._mask,
            self._prepared,
            there,
            *there.shape[1:3],
            self._before[-1],
            *self._y.shape[2:],
            *self._values.whole.stride()[:3],
            flags=(self._masked, int(later)),
            CHANNELS=self._channels,
            REACH=INNOVATION_REACH,
        )

    def _rows(self) -> tuple[int, int, int]:
        """distribution_triton.WHOLE."""
        rows = self.whole
        return (0, 0, 0) if rows is None else (rows.begin, rows.first, rows.shift)

    def _launch(
        self, kernel: Any, *arguments: Any, flags: tuple[int, ...], **constants: int
    ) -> None:
        """A kernel over the places of the pass; flags follow the places among its parameters."""
        grid = (-(-self._total // BLOCK),)
        launch(kernel, grid, *arguments, *self._grid, *flags, **constants, BLOCK=BLOCK)
