"""The distributions of a step by Triton kernels: two for a pass, one more for each of R and B."""

from typing import Any

from torch import Tensor

from bitsback.ans.launch import launch
from bitsback.coder import distribution_triton
from bitsback.coder.distribution_triton import SCALE
from bitsback.coder.sample_tensors import FreeSamples
from bitsback.diffusion.passes import Places
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.network import StepTables

BLOCK = 256


class StepDistributions:
    """As distribution_arrays.StepDistributions, of tensors; `values` is contiguous."""

    def __init__(
        self, step: StepTables, trunk: Tensor, y: Tensor, values: Tensor, free: FreeSamples | None
    ):
        self._step, self._trunk, self._free = step, trunk, free
        self._y, self._values = y.contiguous(), values
        if not values.is_contiguous():
            raise ValueError("values must be contiguous")

    def begin(self, places: Places, head: Tensor | None) -> None:
        """As distribution_arrays'."""
        batch, channels, height, width = self._y.shape
        self._places, self._total = places, batch * places.n
        parts = [(*part, 0, 1) for part in places.grid.tolist()]
        for i, (row, column, stride, *_) in enumerate(parts):
            rows, columns = (height - row - 1) // stride + 1, (width - column - 1) // stride + 1
            parts[i] = row, column, stride, rows * columns, max(1, columns)
        (row_0, column_0, stride, part, columns_0), (row_1, column_1, _, _, columns_1) = (
            parts[0],
            parts[-1],
        )
        grid = places.n, part, columns_0, columns_1, row_0, column_0, row_1, column_1, stride
        self._grid = self._total, *grid, height, width
        self._prepared = self._y.new_empty((5, 3, self._total))
        self._mean32 = self._y.new_empty((3, self._total))
        step, first = self._step, 1 if channels == 1 else 0
        some = self._trunk if head is None else head
        self._launch(
            "prepare",
            self._y,
            self._trunk,
            some,
            step.scale,
            step.gain,
            step.shift,
            step.inverse,
            self._prepared,
            self._mean32,
            step.from_y,
            step.from_f,
            step.base,
            *self._grid,
            *self._trunk.stride(),
            *some.stride(),
            FIRST=first,
            END=first + channels,
            HEADED=head is not None,
        )

    def of(self, colour: int) -> tuple[Tensor, Tensor]:
        """As distribution_arrays'."""
        if colour != 1:
            arrays = self._values, self._prepared, self._mean32
            self._launch("write_means", *arrays, *self._grid, COLOUR=colour)
        mean32, scale = self._mean32[colour], self._prepared[SCALE.value, colour]
        if self._free is None:
            return mean32, scale
        index = self._free.of(self._places, colour if self._free.shape[1] == 3 else 0)
        return mean32.index_select(0, index), scale.index_select(0, index)

    def put_innovations(self, innovations: Tensor) -> None:
        """As distribution_arrays'."""
        arrays = self._values, self._prepared, innovations
        size, channels = innovations.shape[1:3], self._values.shape[1]
        constants = {"CHANNELS": channels, "REACH": INNOVATION_REACH}
        self._launch("write_innovations", *arrays, *size, *self._grid, **constants)

    def _launch(self, name: str, *arguments: Any, **constants: Any) -> None:
        kernel = getattr(distribution_triton, name)
        launch(kernel, (-(-self._total // BLOCK),), *arguments, **constants, BLOCK=BLOCK)
