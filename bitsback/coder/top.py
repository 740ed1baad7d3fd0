"""The distribution of the noisiest level, y_{K-1}: a Gaussian for each channel."""

from dataclasses import dataclass

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.coder.context import free_values
from bitsback.diffusion.levels import sigmas


@dataclass(frozen=True)
class Top:
    """y_{K-1} under a Gaussian a channel; mean32 and scale: three integers each, in the header.  Of one group mean32 may be (B, 3 or 1, H, W) int32."""

    mean32: tuple | np.ndarray
    scale: tuple

    @classmethod
    def fitted(cls, images, levels):
        """From the mean and variance of x over a list of (H, W, 3) or (H, W, 1) uint8."""
        count = sum(p.shape[0] * p.shape[1] for p in images)
        total = np.zeros(3, np.int64) + sum(p.sum((0, 1), dtype=np.int64) for p in images)
        squares = np.zeros(3, np.int64) + sum(
            np.square(row, dtype=np.int64).sum(0) for p in images for row in p
        )  # row by row: 8 bytes a sample
        mean = total / count
        spacing, sigma = levels[-1].spacing, sigmas(levels)[-1]
        variance = np.maximum(squares / count - mean**2 + sigma**2 - spacing**2 / 12, 1e-3)
        mean32 = np.rint((mean - 128) / spacing * gaussian_tables.FRACTIONS).astype(int)
        return cls(
            tuple(mean32.tolist()),
            tuple(gaussian_tables.scale_index(np.sqrt(variance) / spacing).tolist()),
        )

    def at(self, place, channels):
        """The Top of the group at a Place of images with `channels`: the same everywhere."""
        return self

    def _parameters(self, shape, free):
        colours = slice(None) if shape[1] == 3 else slice(1, 2)  # a gray image's is G's
        each = lambda values: np.array(values[colours], np.int32)[None, :, None, None]  # noqa: E731
        mean32 = self.mean32 if isinstance(self.mean32, np.ndarray) else each(self.mean32)
        return tuple(
            free_values(np.broadcast_to(values, shape), free)
            for values in (mean32, each(self.scale))
        )

    def push(self, gaussians, stack, values, context):
        """values: (B, 3 or 1, H, W) int32; context: Context of that level."""
        gaussians.push(
            stack, free_values(values, context.free), *self._parameters(values.shape, context.free)
        )

    def pop(self, gaussians, stack, shape, context):
        """The mirror of push."""
        return context.placed(gaussians.pop(stack, *self._parameters(shape, context.free)), shape)
