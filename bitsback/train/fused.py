"""Clamps and weight rounding of quantised.py as single kernels in Triton, for training in bfloat16.

A step in plain torch operations reads and writes every activation half a dozen times.  The results
equal those of `RoundedClamp` and `QConv.effective_weight`, rounded to bfloat16, which holds all of
them (whole numbers up to 255, and up to 64 times a power of two) exactly.
"""

from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # kernels are then None: fused_works says so
    triton = None

BLOCK = 2048  # elements of a program
SMALLEST_PEAK = 2.0**-24  # as in quantised.scale_exponent

if triton is not None:
    # Adding and taking away 1.5 * 2^23 rounds a float32 half to even
    ROUNDER = tl.constexpr(12582912.0)

    @triton.jit
    def _clamp(x, bias, y, count, channels, image, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):
        i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = i < count
        value = tl.load(x + i, mask=inside, other=0).to(tl.float32)
        if HAS_BIAS:
            value += tl.load(bias + (i // image) * channels + i % channels, mask=inside, other=0)
        value = (value + ROUNDER) - ROUNDER
        value = tl.minimum(tl.maximum(value, 0.0), 255.0)
        tl.store(y + i, value.to(y.dtype.element_ty), mask=inside)

    @triton.jit
    def _clamp_gradient(gradient, y, out, count, BLOCK: tl.constexpr):
        i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = i < count
        value = tl.load(y + i, mask=inside, other=0).to(tl.float32)
        passed = tl.load(gradient + i, mask=inside, other=0).to(tl.float32)
        passed = tl.where((value > 0.0) & (value < 255.0), passed, 0.0)
        tl.store(out + i, passed.to(out.dtype.element_ty), mask=inside)

    @triton.jit
    def _round_weight(weight, out, count, gain, smallest, BLOCK: tl.constexpr):
        row = tl.program_id(0)
        i = tl.arange(0, BLOCK)
        inside = i < count
        value = tl.load(weight + row * count + i, mask=inside, other=0.0)
        peak = tl.maximum(tl.max(tl.abs(value), 0) / 64.0, smallest)
        scale = tl.exp2(tl.floor(-tl.log2(peak)))
        value = (value * scale + ROUNDER) - ROUNDER
        value = tl.minimum(tl.maximum(value, -64.0), 64.0) / scale * gain
        tl.store(out + row * count + i, value.to(out.dtype.element_ty), mask=inside)


def _empty(like: Tensor, dtype: torch.dtype) -> Tensor:
    """An array of the shape of `like` (B, C, H, W), channels last."""
    return torch.empty(
        like.shape, dtype=dtype, device=like.device, memory_format=torch.channels_last
    )


class FusedClamp(torch.autograd.Function):
    """`RoundedClamp` with rounding, its result in bfloat16; one kernel each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None) -> Tensor:
        """x: (B, C, H, W) steps, float32 or bfloat16; bias: (B, C, 1, 1), or None."""
        x = x.contiguous(memory_format=torch.channels_last)
        y, (batch, channels, height, width) = _empty(x, torch.bfloat16), x.shape
        rows = x if bias is None else bias.float().expand(batch, channels, 1, 1).contiguous()
        _clamp[(triton.cdiv(x.numel(), BLOCK),)](
            x, rows, y, x.numel(), channels, channels * height * width, bias is not None, BLOCK
        )
        ctx.save_for_backward(y)
        ctx.dtype, ctx.bias = x.dtype, None if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of x and bias."""
        (y,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        out = _empty(y, ctx.dtype)
        _clamp_gradient[(triton.cdiv(y.numel(), BLOCK),)](gradient, y, out, y.numel(), BLOCK)
        if ctx.bias is None:
            return out, None
        return out, out.sum((2, 3), keepdim=True, dtype=torch.float32).to(ctx.bias)


class FusedWeight(torch.autograd.Function):
    """`QConv.effective_weight` of an inner layer, rounded, times its gain, in bfloat16."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, gain: float) -> Tensor:
        """weight: (O, I, k, k) float32; gain: a power of two."""
        weight = weight.contiguous(memory_format=torch.channels_last)
        out, count = _empty(weight, torch.bfloat16), weight[0].numel()
        _round_weight[(len(weight),)](
            weight, out, count, float(gain), SMALLEST_PEAK, triton.next_power_of_2(count)
        )
        ctx.gain = gain
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """The gradient passes through the rounding."""
        return gradient.float() * ctx.gain, None
