"""Convolutions of integers that give the same integers everywhere: the reference backend.

Float32 convolutions of integer values.  Every partial sum stays below 2^24 (overflow.py proves it
from the weights), so the order of summation does not matter.  Fast backends: onednn.py on CPUs,
triton_convolution.py and int_mm.py on GPUs; selftest.py tests each at start-up.

All end in the same requantisation: round_half_even((acc + bias) * 2^-shift), a power of two
per output channel, exact in float32 because acc + bias is below 2^24.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from bitsback.integer.config import INPUT_REACH
from bitsback.integer.fixed_point import rounded_shift
from bitsback.shared_block import SharedBlock

TOP = 255  # largest activation, in its steps
WEIGHT = 64  # largest integer weight between two 8-bit activations
WIDE = 16  # wide sums are in units of 1/16 of an activation's step
Prepared = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Limits = Sequence[tuple[int, int]]  # lowest and largest value of each third of the channels


@contextmanager
def _plain_algorithms() -> Iterator[None]:
    """torch's settings while convolutions of any thread run."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


_plain = SharedBlock(_plain_algorithms)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A block without autocast, whose 16-bit floats would round the integers of a backend."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def plain_algorithms(device: torch.device) -> AbstractContextManager[None]:
    """Direct or im2col convolution in full float32: no Winograd, no reduced precision.

    NNPACK (CPU builds without oneDNN) and cuDNN choose Winograd or TF32 by the size of a batch.
    """
    mkldnn = torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()
    return nullcontext() if device.type != "cuda" and mkldnn else _plain


@dataclass(frozen=True)
class Layer:
    """Integers of one convolution.  weight (O, I, k, k); bias (rows, O); shift (O,).

    rows: 1, one for each step of an expert, or (passes - 1) for each step (`head_known`).
    """

    weight: torch.Tensor  # int8 between two 8-bit activations, else int32
    bias: torch.Tensor  # int32, in units of the accumulator
    shift: torch.Tensor  # int8
    stride: int = 1

    @property
    def inner(self) -> bool:
        """Whether inputs and weights are of 8 bits."""
        return self.weight.dtype == torch.int8

    @property
    def padding(self) -> int:
        """Zeros at each edge."""
        return self.weight.shape[-1] // 2 if self.stride == 1 else 0

    def bias_of(self, index: int) -> torch.Tensor:
        """(O,) int32: the row of a step, or the only one."""
        return self.bias[index if len(self.bias) > 1 else 0]


class Reference:
    """The reference backend: float32 convolutions on any torch device; channels last."""

    name = "float32 reference"

    def __init__(self, layers: Mapping[str, Layer], device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.layers = layers
        self._prepared: dict[str, Prepared] = {}
        if self.device.type != "cpu":  # before streams of several threads use them
            for name in layers:
                self.prepared(name)

    def prepared(self, name: str) -> Prepared:
        """A layer's weight, scale and bias in float32.

        On a CPU they are made at the first use: a faster backend needs few of them, and they are
        four times as large as the model.
        """
        if name not in self._prepared:
            self._prepared[name] = self._prepare(self.layers[name])
        return self._prepared[name]

    def _prepare(self, layer: Layer) -> Prepared:
        weight = layer.weight.to(self.device, torch.float32).contiguous(
            memory_format=torch.channels_last
        )
        scale = torch.exp2(-layer.shift.to(self.device, torch.float32)).view(1, -1, 1, 1)
        return weight, scale, layer.bias.to(self.device, torch.float32)

    def like(self, layers: Mapping[str, Layer]) -> "Reference":
        """This backend with other layers; the self-test's result holds for them too."""
        return Reference(layers, self.device)

    def convolve(self, name: str, x: torch.Tensor, index: int, clamp: bool = False) -> torch.Tensor:
        """(B, I, H, W) integers in uint8, int8 or float32 -> float32 integers, requantised.

        index: row of the bias; clamp: to 0..255, uint8.
        """
        acc = self.scaled_sums(name, x, index).round_()
        return acc.clamp_(0, TOP).to(torch.uint8) if clamp else acc

    def scaled_sums(
        self, name: str, x: torch.Tensor, index: int, rows: int | None = None
    ) -> torch.Tensor:
        """(acc + bias) * 2^-shift of `convolve`, float32, not rounded yet.

        rows: of zeros above and below x, the layer's padding if None.
        """
        weight, scale, bias = self.prepared(name)
        layer = self.layers[name]
        bias = bias[index if len(bias) > 1 else 0]
        padding = layer.padding if rows is None else rows, layer.padding
        with plain_algorithms(self.device), full_precision(self.device):
            acc = F.conv2d(x.to(torch.float32), weight, bias, layer.stride, padding)
        return acc.mul_(scale)

    def network_input(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        """(B, 3 or 1, H, W) int32 lattice indices -> input of the first layer (ARITHMETIC.md, 6).

        (B, 12, H/2, W/2) float32, or what this backend's convolutions take for it.  One channel is
        used three times; zeros fill up to multiples of 8.
        """
        height, width = y.shape[2:]
        y = rounded_shift(y * scale, 8).clamp(-INPUT_REACH, INPUT_REACH)
        tensor = y.to(torch.float32).expand(-1, 3, -1, -1)
        tensor = F.pad(tensor, (0, -width % 8, 0, -height % 8))
        return F.pixel_unshuffle(tensor, 2).contiguous(memory_format=torch.channels_last)

    def convolve_sum(
        self,
        name: str,
        x: torch.Tensor,
        index: int,
        wide: torch.Tensor | None = None,
        shuffle: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """convolve's result, plus `wide` if given: (float32 sums, narrowed by WIDE to uint8).

        shuffle: by pixel_shuffle(2) before the addition.  The sums may take wide's memory.
        """
        out = self.convolve(name, x, index)
        if shuffle:
            out = F.pixel_shuffle(out, 2)
            out = out if wide is None else wide.add_(out)  # keeps the layout of wide
        elif wide is not None:
            out = out.add_(wide)
        return out, self.narrow(out)

    def convolve_narrow(
        self, name: str, x: torch.Tensor, index: int, wide: torch.Tensor, divisor: int = WIDE
    ) -> torch.Tensor:
        """convolve's result plus `wide` (float32 or uint8, not changed), narrowed to uint8."""
        return self.narrow(self.convolve(name, x, index).add_(wide), divisor)

    def convolve_limited(
        self, name: str, x: torch.Tensor, index: int, limits: Limits, shuffle: bool = False
    ) -> torch.Tensor:
        """convolve's result, by pixel_shuffle(2) if `shuffle`, each kind clamped: int32.

        limits: of each third of the (shuffled) channels.
        """
        out = self.convolve(name, x, index)
        out = F.pixel_shuffle(out, 2) if shuffle else out
        return clamp_kinds(out, limits).to(torch.int32)

    def narrow(self, wide: torch.Tensor, divisor: int = WIDE) -> torch.Tensor:
        """clamp(round_half_even(wide / divisor), 0, 255) uint8 of wide sums, float32 integers.

        divisor: a power of two.
        """
        return in_four_passes(wide, divisor)


def clamp_kinds(out: torch.Tensor, limits: Limits) -> torch.Tensor:
    """`out` (B, C, H, W), in place, within the limits of each third of the channels."""
    for part, (low, high) in zip(out.split(out.shape[1] // len(limits), 1), limits):
        part.clamp_(low, high)
    return out


def in_four_passes(wide: torch.Tensor, divisor: int) -> torch.Tensor:
    """clamp(round_half_even(wide / divisor), 0, 255) uint8 of float32 integers."""
    return (wide * (1 / divisor)).round_().clamp_(0, TOP).to(torch.uint8)
