"""Exact convolutions by torch's int8 matrix product over im2col: for GPUs without Triton."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from bitsback.integer.convolution import TOP, Layer, Reference
from bitsback.integer.digits import BITS, int8_layer, two_digits

FEWEST_ROWS = 17  # cuBLAS takes no fewer
ALIGNED = 8  # rows and columns of the weights are multiples


class IntMM(Reference):
    """All layers by torch._int_mm, int8 x int8 -> int32."""

    name = "torch int8"

    def __init__(self, layers: Mapping[str, Layer], device: str | torch.device = "cpu"):
        super().__init__(layers, device)
        self._packed: dict[tuple[str, torch.dtype], tuple[list[torch.Tensor], torch.Tensor]] = {}

    def like(self, layers: Mapping[str, Layer]) -> "IntMM":
        return IntMM(layers, self.device)

    def _pack(self, name: str, kind: torch.dtype) -> tuple[list[torch.Tensor], torch.Tensor]:
        """([(taps * channels, outputs) int8 for each digit, the highest first], bias (rows, O))."""
        if (name, kind) not in self._packed:
            parts, bias = int8_layer(self.layers[name], kind)
            rows = []
            for part in parts:
                outputs, channels = part.shape[:2]
                taps = F.pad(part.permute(0, 2, 3, 1), (0, -channels % ALIGNED)).flatten(1)
                rows.append(F.pad(taps, (0, 0, 0, -outputs % ALIGNED)).contiguous())
            self._packed[name, kind] = (
                [row.to(self.device).T for row in rows],
                bias.to(self.device, torch.int32),
            )
        return self._packed[name, kind]

    def _columns(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        """(B, I, H, W) -> (B, h, w, taps * channels) int8."""
        zero = -128 if x.dtype == torch.uint8 else 0
        x = x.permute(0, 2, 3, 1)
        if x.dtype == torch.uint8:
            x = x.bitwise_xor(128).view(torch.int8)
        elif x.dtype == torch.float32:
            x = two_digits(x)
        size, stride, pad = layer.weight.shape[-1], layer.stride, layer.padding
        x = F.pad(x, (0, -x.shape[3] % ALIGNED, pad, pad, pad, pad), value=zero)
        height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
        taps = [
            x[:, i : i + stride * height : stride, j : j + stride * width : stride]
            for i in range(size)
            for j in range(size)
        ]
        return torch.cat(taps, 3)

    def convolve(self, name: str, x: torch.Tensor, index: int, clamp: bool = False) -> torch.Tensor:
        layer, (parts, bias) = self.layers[name], self._pack(name, x.dtype)
        columns = self._columns(layer, x)
        shape, columns = columns.shape[:3], columns.flatten(0, 2)
        rows = len(columns)
        columns = F.pad(columns, (0, 0, 0, max(FEWEST_ROWS - rows, 0)))
        acc = torch._int_mm(columns, parts[0])
        for part in parts[1:]:
            acc = acc.mul_(1 << BITS).add_(torch._int_mm(columns, part))
        outputs = len(layer.weight)
        acc = acc[:rows, :outputs] + bias[index if len(bias) > 1 else 0]
        out = acc.to(torch.float32).view(*shape, outputs).permute(0, 3, 1, 2)
        out = out.mul_(self.prepared(name)[1]).round_()
        return out.clamp_(0, TOP).to(torch.uint8) if clamp else out
