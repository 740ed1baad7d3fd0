"""Random patches of the images that a model is tuned to."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PATCH_SIDES = (64, 32, 16)  # pixels; the largest that most pixels lie in images of is used
BATCH_PATCHES = 8  # patches of the largest side in a step, shared among the families
# Patches start at multiples of this, the network's coarsest pixel: a bias may depend on the
# position in it, as colours at half resolution do
ALIGNMENT = 8

# (x, gray, weight): (B, 3, side, side) float32, pixels - 128; (B,) bool, images of one channel;
# like x, 1 for samples that cost bits and 0 for others
Batch = tuple[Tensor, Tensor, Tensor]


class ImagePatches:
    """Random patches of images, each image drawn by its share of the pixels.

    images: (H, W, 3) or (H, W, 1) uint8; masks: None, or for each image None or (H, W, C) bool, the
    samples that cost bits; count: patches of the largest side in a batch.  Images smaller than a
    patch are left out; `images` may be empty.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        device: str,
        seed: int,
        masks: Sequence[np.ndarray | None] | None = None,
        count: int = BATCH_PATCHES,
    ) -> None:
        total = sum(pixels.size for pixels in images)
        large_enough = {
            side: [i for i, pixels in enumerate(images) if min(pixels.shape[:2]) >= side]
            for side in PATCH_SIDES
        }
        self.side = next(
            (
                side
                for side in PATCH_SIDES
                if 2 * sum(images[i].size for i in large_enough[side]) > total
            ),
            PATCH_SIDES[-1],
        )
        self.images, self.device = [images[i] for i in large_enough[self.side]], device
        self.masks = [masks[i] if masks else None for i in large_enough[self.side]]
        self.shares = torch.tensor([pixels.size for pixels in self.images], dtype=torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.count = count * (PATCH_SIDES[0] // self.side) ** 2

    def _start(self, size: int) -> int:
        positions = (size - self.side) // ALIGNMENT + 1
        return ALIGNMENT * int(torch.randint(positions, (), generator=self.generator))

    def batch(self) -> Batch:
        """A batch on the device; of smaller patches it has more, for as many pixels."""
        patches, weights, gray = [], [], []
        for i in torch.multinomial(
            self.shares, self.count, replacement=True, generator=self.generator
        ).tolist():
            pixels, mask = self.images[i], self.masks[i]
            top, left = map(self._start, pixels.shape[:2])
            part = np.s_[top : top + self.side, left : left + self.side]
            free = np.ones(pixels[part].shape, bool) if mask is None else mask[part]
            patches.append(pixels[part])
            weights.append(free)
            gray.append(pixels.shape[2] == 1)
        x, weight = (self._stacked(parts) for parts in (patches, weights))
        return x - 128, torch.tensor(gray, device=self.device), weight

    def _stacked(self, parts: list[np.ndarray]) -> Tensor:
        """[(side, side, 3 or 1)] -> (B, 3, side, side) float32 on the device."""
        tensors = [torch.from_numpy(np.ascontiguousarray(p)).expand(-1, -1, 3) for p in parts]
        return torch.stack(tensors).permute(0, 3, 1, 2).to(self.device, torch.float32)
