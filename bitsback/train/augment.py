"""Augmentation by what most images went through: gray images, colours at half resolution.

An image that was once a JPEG, a video frame or a Photo CD scan has its two colour differences
stored at half the resolution.  A model trained without such images codes them badly.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

GRAY_SHARE = 1 / 8  # of the patches are coded as one channel
HALVED_SHARE = 1 / 4  # of the patches have their colour differences at half resolution
# ITU-R BT.601, full range, as JPEG uses it: rows Y, Cb, Cr; and the inverse
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
# (columns halved too, bilinear interpolation) of the kinds 0 to 3 of chroma_halved
SUBSAMPLINGS = ((True, True), (True, False), (False, True), (False, False))


@functools.cache
def constant(values: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of nested tuples of numbers, copied to `device` once.

    A CUDA graph may not copy from the host: a step must have run before it is captured.  Nobody may
    write to the tensor.
    """
    return torch.tensor(values, device=device, dtype=dtype)


def like(x: Tensor, values: tuple) -> Tensor:
    """`constant` on the device and in the dtype of x."""
    return constant(values, x.device, x.dtype)


def colour_transform(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """(B, 3, H, W) -> (B, rows of the matrix, H, W): a matrix product at each pixel."""
    return torch.einsum("oc,bchw->bohw", like(x, matrix), x)


def gray(x: Tensor) -> Tensor:
    """(B, 3, H, W) gray levels 0..255 -> their luminance, three times."""
    return colour_transform(x, TO_YCC[:1]).round().expand_as(x)


def _halved(chroma: Tensor, columns: bool, smooth: bool) -> Tensor:
    """Averages over 2 rows, and 2 columns if asked, then interpolated or repeated back."""
    low = F.avg_pool2d(chroma, (2, 2) if columns else (1, 2))
    return F.interpolate(low, chroma.shape[2:], mode="bilinear" if smooth else "nearest")


def chroma_halved(x: Tensor, kind: Tensor) -> Tensor:
    """Images whose colour differences were stored at half resolution.

    x: (B, 3, H, W) gray levels 0..255, H and W even; kind: (B,) int, 4:2:0 (0, 1) or 4:2:2 (2, 3),
    where odd kinds repeat samples and even kinds interpolate.  Returns whole numbers, as a decoder.
    """
    ycc = colour_transform(x, TO_YCC)
    chroma = ycc[:, 1:]
    for k, subsampling in enumerate(SUBSAMPLINGS):
        low = _halved(ycc[:, 1:], *subsampling).round()
        chroma = torch.where((kind == k).view(-1, 1, 1, 1), low, chroma)
    rgb = colour_transform(torch.cat([ycc[:, :1].round(), chroma], 1), TO_RGB)
    return rgb.round().clamp(0, 255)


def some_halved(x: Tensor, uniform: Tensor, share: float = HALVED_SHARE) -> Tensor:
    """chroma_halved of a random `share` of the images.

    x: (B, 3, H, W) gray levels; uniform: (2, B), random in 0..1, chooses images and their kind.
    """
    x, halve = x.clone(), uniform[0] < share
    kind = (4 * uniform[1, halve] ** 2).long()  # interpolated 4:2:0 is the most frequent
    x[halve] = chroma_halved(x[halve], kind)
    return x


def some_gray(
    x: Tensor, generator: torch.Generator | None, share: float = GRAY_SHARE
) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) pixels - 128 -> (the same, a random `share` of them gray; (B,) bool, which)."""
    chosen = torch.rand(len(x), device=x.device, generator=generator) < share
    return torch.where(chosen.view(-1, 1, 1, 1), gray(x + 128) - 128, x), chosen
