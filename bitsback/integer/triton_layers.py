"""Layers in the form that the Triton kernels take, and the sizes of the kernels' blocks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton

from bitsback.integer.convolution import Layer
from bitsback.integer.digits import int8_layer

FARTHEST = 25  # a sum below 2^24 shifted right by as much, or more, is 0


class Blocks(NamedTuple):
    """Output pixels (m), output channels (n) and input channels (k) of a block; how it is run."""

    m: int
    n: int
    k: int
    warps: int
    stages: int = 3


Sizes = Callable[[int, int], Blocks]  # of input channels, output channels


def block_sizes(channels: int, outputs: int) -> Blocks:
    """Blocks with the least padding.

    Four warps took 0.82 of the time of eight on an H200, 3x3 from 96 to 96 channels
    (benchmarks/results/device_h200.md).
    """
    n = min(max(triton.next_power_of_2(outputs), 16), 128)
    k = 32 if 0 < channels % 64 <= 32 else 64
    return Blocks(128, n, k, 4 if n <= 64 or k == 32 else 8)


class PackedLayer(NamedTuple):
    """A layer on a device, for one kind of input.

    weight: (digits, taps * chunks, columns, blocks.k) int8, the highest digit first; bias: (rows,
    columns) int32; rounding: (4, columns) int32, see convolve_kernel; chunks: of input channels;
    columns: output channels, rounded up to blocks; outputs: not rounded up.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    rounding: torch.Tensor
    chunks: int
    columns: int
    blocks: Blocks
    outputs: int
    rows: int


def padded(values: torch.Tensor, columns: int) -> torch.Tensor:
    """Zeros appended to the last dimension."""
    return F.pad(values, (0, columns - values.shape[-1]))


def pack(
    layer: Layer, kind: torch.dtype, shuffle: bool, sizes: Sizes, device: torch.device
) -> PackedLayer:
    """kind: of the input, as for int8_layer; shuffle: whether pixel_shuffle(2) follows.

    Its outputs are ordered by place in the 2x2 block first, then by channel.
    """
    parts, bias = int8_layer(layer, kind)
    shift = layer.shift.long()
    if shuffle:
        order = torch.arange(len(shift)).view(-1, 4).T.flatten()
        parts, bias, shift = [part[order] for part in parts], bias[:, order], shift[order]
    outputs, channels, size, _ = parts[0].shape
    blocks = sizes(channels, outputs)
    chunks, columns = -(-channels // blocks.k), -(-outputs // blocks.n) * blocks.n
    weight = torch.zeros(len(parts), size, size, chunks * blocks.k, columns, dtype=torch.int8)
    for place, part in zip(weight, parts):
        place[:, :, :channels, :outputs] = part.permute(2, 3, 1, 0)
    weight = weight.view(len(parts), size * size * chunks, blocks.k, columns).transpose(2, 3)
    right = shift.clamp(0, FARTHEST)
    below = (((1 << right) >> 1) - 1).clamp(min=0)
    rounding = torch.stack([right, below, right.clamp(max=1), (-shift).clamp(min=0)])
    return PackedLayer(
        weight.contiguous().to(device),
        padded(bias, columns).to(device, torch.int32),
        padded(rounding, columns).to(device, torch.int32),
        chunks,
        columns,
        blocks,
        outputs,
        len(bias),
    )
