"""The distributions of a step by array operations of torch, on any device: the reference.

distribution_loops.py computes the same integers on the CPU.  ARITHMETIC.md, section 7.
"""

from typing import Any

import numpy as np
import torch

from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.diffusion.passes import Places
from bitsback.diffusion.steps import (
    COLOUR_BITS,
    FINE_BITS,
    GAIN_BITS,
    INVERSE_BITS,
    SHIFT,
    V_INDICES,
)
from bitsback.integer.config import INNOVATION_REACH
from bitsback.integer.fixed_point import rounded_shift
from bitsback.integer.network import StepTables

COEFFICIENT_BITS = COLOUR_BITS + GAIN_BITS
# Differences to the mean are clipped to 64 spacings, 8 sd of the widest row: int32 holds.
FAR = 2**12
MEAN_SHIFT = SHIFT - FINE_BITS
INNOVATION_SHIFT = FINE_BITS + INVERSE_BITS - 4  # innovations are counted in 1/16 sd


def looked_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index] of int32 tensors, four times as fast."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)


class StepDistributions:
    """Means and scales of the values of a step, pass by pass and colour by colour.

    trunk: (B, 9, H', W') int32, H' >= H, W' >= W; y, values: (B, 3 or 1, H, W) int32, of level
    `index` and of the level below, numpy's or tensors on trunk's device; free: like them, bool, or
    FreeSamples for tensors, or None.  Colours of `values` are read once they are coded.  Nothing
    waits for the device but reading arrays of numpy.
    """

    def __init__(
        self,
        step: StepTables,
        trunk: torch.Tensor,
        y: np.ndarray | torch.Tensor,
        values: np.ndarray | torch.Tensor,
        free: Any,
    ):
        self._step, self._trunk, self._values, self._free = step, trunk, values, free
        self._y = torch.as_tensor(y, device=trunk.device)
        self._used = slice(1, 2) if y.shape[1] == 1 else slice(None)

    def begin(
        self, places: Places, head: torch.Tensor | None, innovations: torch.Tensor | None
    ) -> None:
        """Starts a pass.

        head: (B, 9, h, w) int32, what is added for each 2x2 block, or None.  innovations: (B, h, w,
        12) int8 (Places.put_unshuffled), where `end` writes those of the pass; None in the last.
        """
        step, self._places, self._innovations = self._step, places, innovations
        trunk = places.of(self._trunk)
        self._mean = rounded_shift(
            step.from_y * places.of(self._y) + step.from_f * trunk[:, 0:3], MEAN_SHIFT
        )
        self._v = (step.base + trunk[:, 3:6]).clamp_(0, V_INDICES - 1)
        m, v, self._rho = self._mean, self._v, trunk[:, 6:9]
        if head is not None:
            added = places.of_blocks(head)
            m = m + rounded_shift(looked_up(step.shift, v) * added[:, 0:3], MEAN_SHIFT)
            v = (v + added[:, 3:6]).clamp_(0, V_INDICES - 1)
            self._rho = self._rho + added[:, 6:9]
        self._m = m
        self._scale, self._gain = looked_up(step.scale, v), looked_up(step.gain, v[:, :2])
        self._means: dict[int, torch.Tensor] = {}  # of each colour, 1/64 spacings
        self._fines: dict[int, torch.Tensor] = {}

    def of(self, colour: int) -> tuple[torch.Tensor, torch.Tensor]:
        """mean32 and scale, (m,) int32, of the free values of one colour, in coding order.

        colour: of the network's outputs, 1 for gray.  Colours 1, 0, 2 in this order.
        """
        mean, rho, gain = self._m[:, colour], self._rho, self._gain
        if colour == 0:
            mean = mean + rounded_shift(rho[:, 0] * gain[:, 1] * self._d(1), COEFFICIENT_BITS)
        elif colour == 2:
            shift = rho[:, 1] * gain[:, 1] * self._d(1) + rho[:, 2] * gain[:, 0] * self._d(0)
            mean = mean + rounded_shift(shift, COEFFICIENT_BITS)
        self._means[colour] = mean
        mean32, scale = rounded_shift(mean, FINE_BITS - FRACTION_BITS), self._scale[:, colour]
        if self._free is None:
            return mean32.reshape(-1), scale.reshape(-1)
        channel = colour if self._free.shape[1] == 3 else 0
        if isinstance(self._free, np.ndarray):
            which = np.flatnonzero(self._places.of_colour(self._free, channel))
            index = torch.from_numpy(which).to(mean32.device)
        else:
            index = self._free.of(self._places, channel)
        return (
            mean32.reshape(-1).index_select(0, index),
            scale.reshape(-1).index_select(0, index),
        )

    def _fine(self, channel: int) -> torch.Tensor:
        """(B, n): values of a channel, which are known by now, 1/64 spacings."""
        if channel not in self._fines:
            here = self._places.of_colour(self._values, channel)
            self._fines[channel] = torch.as_tensor(here, device=self._trunk.device) << FINE_BITS
        return self._fines[channel]

    def _d(self, colour: int) -> torch.Tensor:
        return (self._fine(colour) - self._means[colour]).clamp_(-FAR, FAR)

    def end(self) -> None:
        """Ends a pass, whose values are known by now."""
        innovations = self._innovations
        if innovations is None:
            return
        fine = torch.stack([self._fine(i) for i in range(self._values.shape[1])], 1)
        far = (fine - self._mean[:, self._used]).clamp_(-8 * FAR, 8 * FAR)
        raw = rounded_shift(
            far * looked_up(self._step.inverse, self._v[:, self._used]), INNOVATION_SHIFT
        )
        raw = raw.clamp_(-INNOVATION_REACH, INNOVATION_REACH).to(torch.int8)
        self._places.put_unshuffled(innovations, raw.expand(-1, 3, -1))
