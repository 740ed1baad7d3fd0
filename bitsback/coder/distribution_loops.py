"""The distributions of a step on the CPU: compiled loops over the lines of a pass, where they lie.

The same integers as distribution_arrays.py, whose operations each read and write all pixels.  The
arithmetic is that of int32, wrapped where a damaged file holds values that no encoder codes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bitsback.ans.compiled import compiled, inlined
from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.coder.distribution_arrays import COEFFICIENT_BITS, FAR, INNOVATION_SHIFT, MEAN_SHIFT
from bitsback.coder.sample_loops import for_each_line, free_values, of_colour
from bitsback.diffusion.passes import Places
from bitsback.diffusion.steps import FINE_BITS, V_INDICES
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.network import StepTables

TABLE_BITS = FINE_BITS - FRACTION_BITS
NO_HEAD = np.empty((0, 0, 0, 9), np.int32)
MEAN_0, INVERSE, MEAN, COEFFICIENT = range(4)  # rows of what `_prepare` writes


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) on the CPU -> (B, H, W, C), contiguous, without a copy where it lies so."""
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()


@inlined
def _rounded(value, bits):
    """half_up(value, bits) of ARITHMETIC.md, of a value wrapped to int32."""
    return np.int32(value + (1 << (bits - 1))) >> bits


@inlined
def _within(value, low, high):
    return min(max(value, low), high)


@compiled
def _prepare(lines, numbers, tables, trunk, head, y, prepared, scale):
    """What does not depend on values of the pass, of the pixels of some lines.

    lines: of Places.lines; numbers: from_y, from_f, base; tables: (4, 256), scale, gain, shift,
    inverse; trunk: (B, H', W', 9); head: (B, h, w, 9), or of no image.  prepared: (4, 3, n) int32,
    scale: (3, n) int32.
    """
    from_y, from_f, base = numbers[0], numbers[1], numbers[2]
    scales, gains, shifts, inverses = tables
    channels, width = y.shape[1], y.shape[3]
    headed, last = head.size > 0, V_INDICES - 1
    for image, row, first, stride, begin in lines:
        columns = (width - first + stride - 1) // stride
        out = trunk[image, row, first::stride]
        if headed:
            added = head[image, row >> 1, first >> 1 :: stride >> 1]
        else:
            added = out[:0]
        for channel in range(channels):
            colour = channel if channels == 3 else 1
            ys = y[image, channel, row, first::stride]
            means_0 = prepared[MEAN_0, colour, begin:]
            inverse = prepared[INVERSE, colour, begin:]
            means = prepared[MEAN, colour, begin:]
            gain = prepared[COEFFICIENT, colour, begin:]
            scale_row = scale[colour, begin:]
            for i in range(columns):
                mean = _rounded(from_y * ys[i] + from_f * out[i, colour], MEAN_SHIFT)
                v = _within(base + out[i, 3 + colour], 0, last)
                means_0[i], inverse[i] = mean, inverses[np.uint64(v)]
                if headed:
                    shift = np.int64(shifts[np.uint64(v)])
                    mean += _rounded(shift * added[i, colour], MEAN_SHIFT)
                    v = _within(v + added[i, 3 + colour], 0, last)
                means[i] = mean
                scale_row[i], gain[i] = scales[np.uint64(v)], gains[np.uint64(v)]
        if channels == 3:
            gain_r = prepared[COEFFICIENT, 0, begin:]
            gain_g = prepared[COEFFICIENT, 1, begin:]
            gain_b = prepared[COEFFICIENT, 2, begin:]
            for i in range(columns):
                r, s, t = out[i, 6], out[i, 7], out[i, 8]
                if headed:
                    r, s, t = r + added[i, 6], s + added[i, 7], t + added[i, 8]
                red, green = gain_r[i], gain_g[i]
                gain_r[i], gain_g[i], gain_b[i] = r * green, s * green, t * red


@compiled
def _write_means(lines, colour, values, prepared, mean32):
    """mean32 of one colour of the pixels of some lines, given the values of the colours before."""
    width = values.shape[3]
    for image, row, first, stride, begin in lines:
        columns = (width - first + stride - 1) // stride
        means, found = prepared[MEAN, colour, begin:], mean32[begin:]
        if colour == 1:
            for i in range(columns):
                found[i] = _rounded(np.int64(means[i]), TABLE_BITS)
        else:
            green, mean_g = values[image, 1, row, first::stride], prepared[MEAN, 1, begin:]
            red, mean_r = values[image, 0, row, first::stride], prepared[MEAN, 0, begin:]
            from_g = prepared[COEFFICIENT, colour >> 1, begin:]
            from_r = prepared[COEFFICIENT, 2, begin:]
            for i in range(columns):
                fine = np.int32(green[i] << FINE_BITS)
                d = _within(np.int32(fine - mean_g[i]), -FAR, FAR)
                moved = np.int64(from_g[i]) * d
                if colour == 2:
                    fine = np.int32(red[i] << FINE_BITS)
                    d = _within(np.int32(fine - mean_r[i]), -FAR, FAR)
                    moved += np.int64(from_r[i]) * d
                mean = np.int32(means[i] + _rounded(moved, COEFFICIENT_BITS))
                means[i] = mean
                found[i] = _rounded(np.int64(mean), TABLE_BITS)


@compiled
def _write_innovations(lines, values, prepared, innovations):
    """Innovations of the pixels of some lines; innovations: (B, h, w, 12) int8."""
    channels, width = values.shape[1], values.shape[3]
    for image, row, first, stride, begin in lines:
        columns = (width - first + stride - 1) // stride
        here = innovations[image, row >> 1, first >> 1 :: stride >> 1]
        place = 2 * (row & 1) + (first & 1)
        for k in range(3):
            channel, colour = (k, k) if channels == 3 else (0, 1)
            line = values[image, channel, row, first::stride]
            means, inverse = prepared[MEAN_0, colour, begin:], prepared[INVERSE, colour, begin:]
            for i in range(columns):
                fine = np.int32(line[i] << FINE_BITS)
                far = _within(np.int32(fine - means[i]), -8 * FAR, 8 * FAR)
                found = _rounded(np.int64(far) * inverse[i], INNOVATION_SHIFT)
                here[i, 4 * k + place] = _within(found, -INNOVATION_REACH, INNOVATION_REACH)


class StepDistributions:
    """As distribution_arrays.StepDistributions; `of` returns arrays of numpy."""

    def __init__(
        self,
        step: StepTables,
        trunk: torch.Tensor,
        y: np.ndarray,
        values: np.ndarray,
        free: np.ndarray | None,
    ):
        self._numbers = np.array([step.from_y, step.from_f, step.base])
        self._tables = torch.stack([step.scale, step.gain, step.shift, step.inverse]).numpy()
        self._trunk, self._y = _channels_last(trunk), np.ascontiguousarray(y)
        self._values, self._free = values, free
        self._prepared = np.empty((4, 3, 0), np.int32)

    def begin(
        self, places: Places, head: torch.Tensor | None, innovations: torch.Tensor | None
    ) -> None:
        self._places, self._innovations, n = places, innovations, len(self._y) * places.n
        self._lines = places.lines(len(self._y))
        self._scale = np.empty((3, n), np.int32)
        if self._prepared.shape[2] < n:
            self._prepared = np.empty((4, 3, n), np.int32)
        self._for_lines(
            _prepare,
            self._numbers,
            self._tables,
            self._trunk,
            NO_HEAD if head is None else _channels_last(head),
            self._y,
            self._prepared,
            self._scale,
        )

    def _for_lines(self, loop: Callable[..., None], *arguments: Any) -> None:
        """loop(lines, *arguments), shared out to threads."""
        for_each_line(loop, self._lines, self._scale.shape[1], *arguments)

    def of(self, colour: int) -> tuple[np.ndarray, np.ndarray]:
        mean32, scale = np.empty_like(self._scale[colour]), self._scale[colour]
        values = np.ascontiguousarray(self._values)  # at each use: a decoder writes them meanwhile
        self._for_lines(_write_means, colour, values, self._prepared, mean32)
        if self._free is None:
            return mean32, scale
        channel = colour if self._free.shape[1] == 3 else 0
        free = of_colour(self._places, self._free, channel, None)
        return free_values(mean32, free), free_values(scale, free)

    def end(self) -> None:
        if self._innovations is not None:
            values, there = np.ascontiguousarray(self._values), self._innovations.numpy()
            self._for_lines(_write_innovations, values, self._prepared, there)
