"""Exact convolutions by int8 Triton kernels: the fast backend on GPUs.

Every layer runs on int8 operands.  Activations a = 0..255 are taken as a - 128, with 128 x the sum
of the weights in the bias; weights and inputs of more bits are split into digits (digits.py).
The kernels run on CPU tensors too, under TRITON_INTERPRET=1.
"""

from collections.abc import Mapping

import torch

from bitsback.ans.launch import Launcher, launcher
from bitsback.integer.convolution import WIDE, Layer, Limits, Reference
from bitsback.integer.triton_inputs import ALIGNED, COUNT, channels_last, input_digits
from bitsback.integer.triton_kernels import convolve_kernel
from bitsback.integer.triton_layers import PackedLayer, Sizes, block_sizes, pack, padded

LARGEST_LEFT = 6  # sums below 2^24 times 2^6 fit int32


class TritonInt8(Reference):
    """All layers by one kernel each, with the sums and the rounding that follow it.

    Layers with shifts beyond int32, and arrays of 2^31 values or more, as in the reference.
    """

    name = "Triton int8"

    def __init__(
        self,
        layers: Mapping[str, Layer],
        device: str | torch.device = "cpu",
        sizes: Sizes = block_sizes,
    ):
        super().__init__(layers, device)
        self.sizes = sizes
        self._packed: dict[tuple[str, torch.dtype, bool], PackedLayer] = {}
        self._launchers: dict[tuple[str, torch.dtype, bool, bool], Launcher] = {}
        self._limits: dict[tuple[str, Limits, bool], torch.Tensor] = {}
        # what stands for outputs not wanted, so that one compiled kernel serves them all
        self._no_floats = torch.empty(ALIGNED, device=self.device)
        self._no_bytes = torch.empty(ALIGNED, dtype=torch.uint8, device=self.device)
        self._too_large = {
            name for name, layer in layers.items() if int(layer.shift.min()) < -LARGEST_LEFT
        }
        self._shapes = {  # outputs, inputs, kernel's size, stride, padding
            name: (*layer.weight.shape[:3], layer.stride, layer.padding)
            for name, layer in layers.items()
        }

    def like(self, layers: Mapping[str, Layer]) -> "TritonInt8":
        return TritonInt8(layers, self.device, self.sizes)

    def _pack(self, name: str, kind: torch.dtype, shuffle: bool) -> PackedLayer:
        key = name, kind, shuffle
        if key not in self._packed:
            self._packed[key] = pack(self.layers[name], kind, shuffle, self.sizes, self.device)
        return self._packed[key]

    def _usable(self, name: str, x: torch.Tensor) -> bool:
        """Whether shifts and offsets fit int32."""
        batch, channels, height, width = x.shape
        most = max(self._shapes[name][0], 2 * channels + ALIGNED)
        return name not in self._too_large and batch * height * width * most < COUNT

    def _empty(
        self, name: str, x: torch.Tensor, kind: torch.dtype, shuffle: bool = False
    ) -> torch.Tensor:
        """Memory for the outputs of a layer, (B, H, W, O)."""
        batch, _, height, width = x.shape
        outputs, _, size, stride, padding = self._shapes[name]
        height, width = (
            (height + 2 * padding - size) // stride,
            (width + 2 * padding - size) // stride,
        )
        shape = (batch, height + 1, width + 1, outputs)
        if shuffle:
            shape = (batch, 2 * height + 2, 2 * width + 2, outputs // 4)
        return x.new_empty(shape, dtype=kind)

    def network_input(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        """In digits, (B, DIGITS, H/2, W/2) int8, which convolutions take for float32 inputs."""
        found = input_digits(y, scale) if y.dtype == torch.int32 and y.numel() < COUNT else None
        return super().network_input(y, scale) if found is None else found.permute(0, 3, 1, 2)

    def _run(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        residual: torch.Tensor | None = None,
        wide: torch.Tensor | None = None,
        narrow: torch.Tensor | None = None,
        divisor: int = 1,
        limits: torch.Tensor | None = None,
        shuffle: bool = False,
    ) -> None:
        """Writes wide (float32, int32 with limits) and narrow (uint8), each (B, H, W, O)."""
        _, inputs, _, stride, padding = self._shapes[name]
        kind = torch.float32 if x.shape[1] > inputs else x.dtype  # of more channels: digits
        packed = self._pack(name, kind, shuffle)
        out = wide if wide is not None else narrow
        assert out is not None
        up = 2 if shuffle else 1
        batch, height, width, channels = out.shape
        height, width = height // up, width // up
        pixels = batch * height * width
        if not pixels:
            return
        if residual is not None and residual.data_ptr() % ALIGNED:
            residual = residual.clone()
        x, blocks = channels_last(x), packed.blocks
        self._launcher(name, kind, shuffle, limits is not None)(
            (-(-pixels // blocks.m), packed.columns // blocks.n),
            x,
            packed.weight,
            packed.bias,
            packed.rounding,
            packed.rounding if limits is None else limits,
            self._no_floats if residual is None else residual,
            self._no_floats if wide is None else wide,
            self._no_bytes if narrow is None else narrow,
            index if packed.rows > 1 else 0,
            pixels,
            height,
            width,
            x.shape[1],
            x.shape[2],
            x.shape[3] // ALIGNED,
            stride,
            padding,
            up,
            int(residual is not None),
            int(wide is not None),
            int(narrow is not None),
            divisor.bit_length() - 1,
            packed.outputs,
            packed.columns,
            channels,
        )

    def _launcher(self, name: str, kind: torch.dtype, shuffle: bool, limited: bool) -> Launcher:
        """Of a layer, for one kind of input."""
        key = name, kind, shuffle, limited
        if key not in self._launchers:
            packed = self._pack(name, kind, shuffle)
            blocks = packed.blocks
            self._launchers[key] = launcher(
                convolve_kernel,
                SIGNED=kind != torch.uint8,
                SIZE=self.layers[name].weight.shape[-1],
                CHUNKS=packed.chunks,
                PARTS=len(packed.weight),
                LIMITED=limited,
                BLOCK_M=blocks.m,
                BLOCK_N=blocks.n,
                BLOCK_K=blocks.k,
                num_warps=blocks.warps,
                num_stages=blocks.stages,
            )
        return self._launchers[key]

    def convolve(self, name: str, x: torch.Tensor, index: int, clamp: bool = False) -> torch.Tensor:
        if not self._usable(name, x):
            return super().convolve(name, x, index, clamp)
        out = self._empty(name, x, torch.uint8 if clamp else torch.float32)
        self._run(name, x, index, wide=None if clamp else out, narrow=out if clamp else None)
        return out.permute(0, 3, 1, 2)

    def convolve_sum(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        wide: torch.Tensor | None = None,
        shuffle: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._usable(name, x):
            return super().convolve_sum(name, x, index, wide, shuffle)
        narrow = self._empty(name, x, torch.uint8, shuffle)
        residual = None if wide is None else wide.permute(0, 2, 3, 1).contiguous()
        out = torch.empty_like(narrow, dtype=torch.float32) if residual is None else residual
        self._run(name, x, index, residual, out, narrow, WIDE, shuffle=shuffle)
        return out.permute(0, 3, 1, 2), narrow.permute(0, 3, 1, 2)

    def convolve_narrow(
        self, name: str, x: torch.Tensor, index: int, wide: torch.Tensor, divisor: int = WIDE
    ) -> torch.Tensor:
        if not self._usable(name, x):
            return super().convolve_narrow(name, x, index, wide, divisor)
        narrow = self._empty(name, x, torch.uint8)
        residual = wide.permute(0, 2, 3, 1).contiguous()
        self._run(name, x, index, residual, narrow=narrow, divisor=divisor)
        return narrow.permute(0, 3, 1, 2)

    def convolve_limited(
        self, name: str, x: torch.Tensor, index: int, limits: Limits, shuffle: bool = False
    ) -> torch.Tensor:
        if not self._usable(name, x):
            return super().convolve_limited(name, x, index, limits, shuffle)
        out = self._empty(name, x, torch.int32, shuffle)
        self._run(
            name, x, index, wide=out, limits=self._limits_of(name, limits, shuffle), shuffle=shuffle
        )
        return out.permute(0, 3, 1, 2)

    def _limits_of(self, name: str, limits: Limits, shuffle: bool) -> torch.Tensor:
        """(2, columns) int32: lowest and largest value of each column."""
        key = name, tuple(limits), shuffle
        if key not in self._limits:
            outputs = len(self.layers[name].weight) // (4 if shuffle else 1)
            each = torch.tensor(limits, dtype=torch.int32).T
            columns = self._pack(name, torch.uint8, shuffle).columns
            values = each.repeat_interleave(outputs // len(limits), 1).repeat(
                1, 4 if shuffle else 1
            )
            self._limits[key] = padded(values, columns).contiguous().to(self.device)
        return self._limits[key]
