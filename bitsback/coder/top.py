"""The distribution of the noisiest level, y_{K-1}: a Gaussian for each channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitsback.ans import gaussian_tables
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.coder.context import Array, Context, free_values
from bitsback.diffusion.levels import Levels, sigmas


@dataclass(frozen=True)
class Top:
    """y_{K-1} under one Gaussian a channel.

    mean32, in 1/32 spacings, and scale: three integers each, as the header stores them; mean32 of
    one segment may be (B, 3 or 1, H, W) int32.
    """

    mean32: tuple[int, ...] | np.ndarray
    scale: tuple[int, ...]

    @classmethod
    def fitted(cls, images: Sequence[np.ndarray], levels: Levels) -> "Top":
        """From mean and variance of x over images (H, W, 3 or 1) uint8."""
        count = sum(p.shape[0] * p.shape[1] for p in images)
        total, squares = np.zeros((2, 3), np.int64)
        numbers = np.arange(256)
        for pixels in images:
            planes = (pixels[..., c] for c in range(pixels.shape[2]))
            counts = [sum(np.bincount(row, minlength=256) for row in plane) for plane in planes]
            total += np.array(counts) @ numbers  # gray: all three colours
            squares += np.array(counts) @ numbers**2
        mean = total / count
        spacing, sigma = levels[-1].spacing, sigmas(levels)[-1]
        variance = np.maximum(squares / count - mean**2 + sigma**2 - spacing**2 / 12, 1e-3)
        mean32 = np.rint((mean - 128) / spacing * gaussian_tables.FRACTIONS).astype(int)
        return cls(
            tuple(mean32.tolist()),
            tuple(gaussian_tables.scale_index(np.sqrt(variance) / spacing).tolist()),
        )

    def at(self, segment: Any, channels: int) -> "Top":
        """The Top of one segment of images with `channels`: here the same for all.

        segment: segment_layout's.
        """
        return self

    def _parameters(self, shape: tuple[int, ...], context: Context) -> tuple[Array, Array]:
        free = context.free
        colours = slice(None) if shape[1] == 3 else slice(1, 2)  # gray images use G's
        if hasattr(context, "top_rows"):  # PlacedContext
            mean32 = self.mean32
            if not isinstance(mean32, np.ndarray):
                mean32 = mean32[colours]
            return context.top_rows(mean32, self.scale[colours], shape)  # type: ignore[attr-defined]
        device = context.right.device if isinstance(context.right, torch.Tensor) else None

        def each(values: tuple[int, ...]) -> np.ndarray:
            return np.array(values[colours], np.int32)[None, :, None, None]

        mean32 = self.mean32 if isinstance(self.mean32, np.ndarray) else each(self.mean32)
        arrays = np.broadcast_to(mean32, shape), np.broadcast_to(each(self.scale), shape)
        if device is None:
            return free_values(arrays[0], free), free_values(arrays[1], free)
        there = [torch.from_numpy(array.copy()).to(device) for array in arrays]
        return free_values(there[0], free), free_values(there[1], free)

    def push(
        self, gaussians: Gaussians, stack: Lanes | DeviceLanes, values: Array, context: Context
    ) -> None:
        """values: (B, 3 or 1, H, W) int32; context: Context of that level."""
        parameters = self._parameters(values.shape, context)
        gaussians.push(stack, free_values(values, context.free), *parameters)

    def pop(
        self,
        gaussians: Gaussians,
        stack: Lanes | DeviceLanes,
        shape: tuple[int, ...],
        context: Context,
    ) -> Array:
        """The mirror of push: int32 of `shape`.  Errors: StackEmpty."""
        return context.placed(gaussians.pop(stack, *self._parameters(shape, context)), shape)
