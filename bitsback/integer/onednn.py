"""Exact convolutions by oneDNN's int8 kernels: the fast backend on CPUs.

8-bit activations times weights within +-64 keep sums of two products below 2^15, so that even
instruction sets that add pairs in a saturating 16-bit register (SSE4.1, AVX2, AVX-512 without
VNNI) are exact.

The float32 output of a convolution is four times its input.  Written whole, then rounded, added and
narrowed by an operation each, it goes through memory five times; here a strip of its rows is
finished (sum_arrays.py, sum_loops.py) while it is in the cache.
"""

import math
from collections.abc import Iterator, Mapping
from types import ModuleType

import torch
import torch.nn.functional as F

from bitsback.integer import sum_arrays
from bitsback.integer.convolution import WIDE, Layer, Limits
from bitsback.integer.onednn_weights import PackedWeights

STRIP = 2**22  # bytes of output: within the caches that cores share
LEAST_ROWS = 16  # of a strip: the convolution is slower where there are few


class Fast(PackedWeights):
    """Layers with 8-bit inputs by oneDNN's int8 kernels; the others as in the reference.  CPU only.

    Signed inputs are shifted by 128.  strip: bytes of output that are convolved at a time, in at
    least `rows` rows.
    """

    name = "oneDNN int8"

    def __init__(self, layers: Mapping[str, Layer], strip: int = STRIP, rows: int = LEAST_ROWS):
        super().__init__(layers)
        self._strip, self._rows = strip, rows

    def like(self, layers: Mapping[str, Layer]) -> "Fast":
        return Fast(layers, self._strip, self._rows)

    def convolve(self, name: str, x: torch.Tensor, index: int, clamp: bool = False) -> torch.Tensor:
        biases = self._biases(name, x)
        if clamp and biases is not None and self.layers[name].inner:
            return self._convolved(name, x, index, biases, to_bytes=True)
        return super().convolve(name, x, index, clamp)

    def _biases(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, ...] | None:
        """A layer's biases for inputs like x; None where the reference must convolve them."""
        int8 = self._int8[name]
        if int8 is None or x.dtype == torch.float32:
            return None
        return int8.signed if x.dtype == torch.int8 else int8.biases

    def scaled_sums(
        self, name: str, x: torch.Tensor, index: int, rows: int | None = None
    ) -> torch.Tensor:
        biases = self._biases(name, x)
        if biases is None:
            return super().scaled_sums(name, x, index, rows)
        out = self._convolved(name, x, index, biases, rows)
        return out if self.layers[name].inner else torch.add(*out.tensor_split(2, 1))

    def _convolved(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        biases: tuple[torch.Tensor, ...],
        rows: int | None = None,
        to_bytes: bool = False,
    ) -> torch.Tensor:
        """oneDNN's output, split weights side by side; to_bytes: rounded and clamped to uint8."""
        layer, int8 = self.layers[name], self._int8[name]
        assert int8 is not None
        columns = layer.padding
        rows = columns if rows is None else rows
        packed = self._pack(name, int8, x.shape, columns)
        if x.dtype == torch.int8:
            x = F.pad(x.view(torch.uint8).bitwise_xor(128), [columns] * 2 + [rows] * 2, value=128)
            rows = columns = 0
        return torch.ops.onednn.qconv2d_pointwise(
            x,
            1.0,
            0,
            packed,
            int8.scale,
            int8.zero,
            biases[index if len(biases) > 1 else 0],
            [layer.stride] * 2,
            [rows, columns],
            [1, 1],
            1,
            1.0,
            0,
            None if to_bytes else torch.float32,
            "relu" if to_bytes else "none",
            [],
            "",
        )

    def convolve_sum(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        wide: torch.Tensor | None = None,
        shuffle: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape, functions = self._shape(name, x, shuffle), sum_functions()
        function = functions.round_and_narrow if wide is None else functions.add_and_narrow
        narrow = _empty(shape, torch.uint8)
        wide = _empty(shape, torch.float32) if wide is None else _channels_last(wide)
        for out, *place in self._strips(name, x, index, shape, shuffle):
            function(out, WIDE, _at(wide, *place), _at(narrow, *place))
        return wide, narrow

    def convolve_narrow(
        self, name: str, x: torch.Tensor, index: int, wide: torch.Tensor, divisor: int = WIDE
    ) -> torch.Tensor:
        shape, function = self._shape(name, x), sum_functions().narrow_sum
        narrow, wide = _empty(shape, torch.uint8), _channels_last(wide)
        for out, *place in self._strips(name, x, index, shape):
            function(out, divisor, _at(wide, *place), _at(narrow, *place))
        return narrow

    def convolve_limited(
        self, name: str, x: torch.Tensor, index: int, limits: Limits, shuffle: bool = False
    ) -> torch.Tensor:
        shape, function = self._shape(name, x, shuffle), sum_functions().limit
        limited = _empty(shape, torch.int32)
        for out, *place in self._strips(name, x, index, shape, shuffle):
            function(out, limits, _at(limited, *place))
        return limited

    def _shape(self, name: str, x: torch.Tensor, shuffle: bool = False) -> tuple[int, ...]:
        """Of a layer's output, after pixel_shuffle(2) if `shuffle`."""
        layer = self.layers[name]
        channels, _, size, _ = layer.weight.shape
        height, width = (
            (side + 2 * layer.padding - size) // layer.stride + 1 for side in x.shape[2:]
        )
        if shuffle:
            return len(x), channels // 4, 2 * height, 2 * width
        return len(x), channels, height, width

    def _strips(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        shape: tuple[int, ...],
        shuffle: bool = False,
    ) -> Iterator[tuple[torch.Tensor, slice, slice]]:
        """(scaled_sums of a part, by pixel_shuffle(2) if `shuffle`; its images; its rows).

        shape: of the whole.  A part is whole images, or rows of one unless weights are packed for
        its shape.
        """
        batch, up = shape[0], 2 if shuffle else 1
        height, size = shape[2] // up, 4 * math.prod(shape[1:])
        at_once, int8 = max(1, self._strip // size), self._int8[name]
        by_rows = at_once == 1 and (int8 is None or int8.one_order)
        strips = max(1, min(-(-size // self._strip), height // self._rows)) if by_rows else 1
        rows = -(-height // strips)
        for first in range(0, batch, at_once):
            images = slice(first, min(first + at_once, batch))
            part = x if at_once >= batch else x[images]
            for top in range(0, height, rows):
                bottom = min(top + rows, height)
                out = self._some_rows(name, part, index, top, bottom)
                out = F.pixel_shuffle(out, 2) if shuffle else out
                yield out, images, slice(up * top, up * bottom)

    def _some_rows(
        self, name: str, x: torch.Tensor, index: int, top: int, bottom: int
    ) -> torch.Tensor:
        """scaled_sums of rows top..bottom - 1 of the output."""
        layer = self.layers[name]
        size, stride, padding = layer.weight.shape[-1], layer.stride, layer.padding
        begin, end = top * stride - padding, (bottom - 1) * stride + size - padding
        if begin < 0 and end > x.shape[2]:
            return self.scaled_sums(name, x, index)
        if begin >= 0 and end <= x.shape[2]:
            out = self.scaled_sums(name, x[:, :, begin:end], index, 0)
        else:  # padded on both sides: rows beyond an inner edge are wrong, and left out
            begin = max(begin, 0)
            out = self.scaled_sums(name, x[:, :, begin:end], index)
        skipped = 0 if out.shape[2] == bottom - top else top - begin
        return out[:, :, skipped : skipped + bottom - top]


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="cpu", memory_format=torch.channels_last)


def _at(tensor: torch.Tensor, images: slice, rows: slice) -> torch.Tensor:
    """Some images, or some rows of one."""
    whole = images.stop - images.start == len(tensor) and rows.stop - rows.start == tensor.shape[2]
    return tensor if whole else tensor[images, :, rows]


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def sum_functions() -> ModuleType:
    """Compiled loops where torch uses one or two threads, else its operations, or without numba.

    Here a loop, which has one thread, took half the time of operations in one and 0.9 in two.
    """
    if torch.get_num_threads() > 2:
        return sum_arrays
    from bitsback.ans.compiled import compiled_or

    return compiled_or(sum_arrays, "bitsback.integer.sum_loops")
