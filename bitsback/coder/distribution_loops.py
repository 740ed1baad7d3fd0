"""The distributions of a step on the CPU: one compiled loop for each colour of a pass.

The same integers as distribution_arrays.py, whose operations each read and write all pixels.  A
loop reads the grid of a pass where it lies.  The arithmetic is that of int32, wrapped where a
damaged file holds values that no encoder codes.
"""

import numpy as np
import torch

from bitsback.ans.compiled import compiled, inlined
from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.coder.distribution_arrays import COEFFICIENT_BITS, FAR, INNOVATION_SHIFT, MEAN_SHIFT
from bitsback.coder.sample_loops import EVERYWHERE
from bitsback.diffusion.passes import Places
from bitsback.diffusion.steps import FINE_BITS, V_INDICES
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.network import StepTables

TABLE_BITS = FINE_BITS - FRACTION_BITS
NO_HEAD = np.empty((0, 0, 0, 9), np.int32)


def channels_last(tensor: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) on the CPU -> (B, H, W, C), contiguous, without a copy where it lies so."""
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()


@inlined
def rounded(value, bits):
    """half_up(value, bits) of ARITHMETIC.md, of a value wrapped to int32."""
    return np.int32(value + (1 << (bits - 1))) >> bits


@inlined
def within(value, low, high):
    return min(max(value, low), high)


@compiled
def write_parameters(
    colour,
    parts,
    numbers,
    scales,
    gains,
    shifts,
    trunk,
    head,
    y,
    values,
    free,
    means,
    mean32,
    scale,
):
    """Distributions of one colour of a pass, for all images, part by part; returns how many.

    trunk: (B, H', W', 9), head: (B, h, w, 9) or without images; numbers: from_y, from_f, base.
    Writes means[colour] of all pixels, 1/64 spacings, and mean32 and scale of the free ones.
    """
    from_y, from_f, base = numbers[0], numbers[1], numbers[2]
    images, channels, height, width = y.shape
    headed, masked, last = head.size > 0, free.size > 0, V_INDICES - 1
    channel = colour if channels == 3 else 0
    pixel, count = 0, 0
    for image in range(images):
        for part in range(parts.shape[0]):
            stride = parts[part, 2]
            for row in range(parts[part, 0], height, stride):
                for column in range(parts[part, 1], width, stride):
                    numbers_here = trunk[image, row, column]
                    n = np.int64(y[image, channel, row, column])
                    mean = rounded(from_y * n + from_f * numbers_here[colour], MEAN_SHIFT)
                    v = within(base + numbers_here[3 + colour], 0, last)
                    if headed:
                        added = head[image, row >> 1, column >> 1]
                        mean += rounded(np.int64(shifts[v]) * added[colour], MEAN_SHIFT)
                        v = within(v + added[3 + colour], 0, last)
                    if colour != 1:  # given G
                        v_g = within(base + numbers_here[4], 0, last)
                        rho = np.int64(numbers_here[6 if colour == 0 else 7])
                        if headed:
                            v_g = within(v_g + added[4], 0, last)
                            rho += added[6 if colour == 0 else 7]
                        fine = values[image, 1, row, column] << FINE_BITS
                        d = within(np.int32(fine - means[1, pixel]), -FAR, FAR)
                        moved = rho * gains[v_g] * d
                        if colour == 2:  # given R too
                            v_r = within(base + numbers_here[3], 0, last)
                            rho = np.int64(numbers_here[8])
                            if headed:
                                v_r = within(v_r + added[3], 0, last)
                                rho += added[8]
                            fine = values[image, 0, row, column] << FINE_BITS
                            d = within(np.int32(fine - means[0, pixel]), -FAR, FAR)
                            moved += rho * gains[v_r] * d
                        mean += rounded(moved, COEFFICIENT_BITS)
                    mean = np.int64(np.int32(mean))
                    means[colour, pixel] = mean
                    pixel += 1
                    if not masked or free[image, channel, row, column]:
                        mean32[count] = rounded(mean, TABLE_BITS)
                        scale[count] = scales[v]
                        count += 1
    return count


@compiled
def write_innovations(parts, numbers, inverses, trunk, y, values, innovations):
    """Innovations of a pass; innovations: (B, h, w, 12) int8."""
    from_y, from_f, base = numbers[0], numbers[1], numbers[2]
    images, channels, height, width = y.shape
    for image in range(images):
        for part in range(parts.shape[0]):
            stride = parts[part, 2]
            for row in range(parts[part, 0], height, stride):
                for column in range(parts[part, 1], width, stride):
                    numbers_here = trunk[image, row, column]
                    here = innovations[image, row >> 1, column >> 1]
                    place = 2 * (row & 1) + (column & 1)
                    for channel in range(channels):
                        colour = channel if channels == 3 else 1
                        n = np.int64(y[image, channel, row, column])
                        mean = rounded(from_y * n + from_f * numbers_here[colour], MEAN_SHIFT)
                        v = within(base + numbers_here[3 + colour], 0, V_INDICES - 1)
                        fine = values[image, channel, row, column] << FINE_BITS
                        far = within(np.int32(fine - mean), -8 * FAR, 8 * FAR)
                        found = rounded(np.int64(far) * inverses[v], INNOVATION_SHIFT)
                        found = within(found, -INNOVATION_REACH, INNOVATION_REACH)
                        if channels == 3:
                            here[4 * channel + place] = found
                        else:
                            here[place], here[4 + place], here[8 + place] = found, found, found


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
        self._rows = step.scale.numpy(), step.gain.numpy(), step.shift.numpy()
        self._inverse, self._trunk = step.inverse.numpy(), channels_last(trunk)
        self._y, self._values = np.ascontiguousarray(y), values
        self._free = EVERYWHERE if free is None else np.ascontiguousarray(free)
        self._means = np.empty((3, 0), np.int32)

    def begin(self, places: Places, head: torch.Tensor | None) -> None:
        self._parts, self._n = places.grid, len(self._y) * places.n
        self._head = NO_HEAD if head is None else channels_last(head)
        if self._means.shape[1] < self._n:
            self._means = np.empty((3, self._n), np.int32)

    def of(self, colour: int) -> tuple[np.ndarray, np.ndarray]:
        mean32, scale = np.empty(self._n, np.int32), np.empty(self._n, np.int32)
        count = write_parameters(
            colour,
            self._parts,
            self._numbers,
            *self._rows,
            self._trunk,
            self._head,
            self._y,
            self._values,
            self._free,
            self._means,
            mean32,
            scale,
        )
        return mean32[:count], scale[:count]

    def put_innovations(self, innovations: torch.Tensor) -> None:
        write_innovations(
            self._parts,
            self._numbers,
            self._inverse,
            self._trunk,
            self._y,
            self._values,
            innovations.numpy(),
        )
