"""Layers made to be rounded: 8-bit activations, integer weights, straight-through gradients.

Activations are counted in *steps* of 1/64 and clamped to 0..255, so that an 8-bit integer holds
them; inner weights fit -64..64 times a power of two a channel.  With `integer` all of this is
rounded in the forward pass and the gradient passes through (straight-through estimator, arXiv
1308.3432), so that training computes what the coder will compute.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitsback.integer.config import EXACT
from bitsback.integer.convolution import TOP
from bitsback.integer.convolution import WEIGHT as INNER_WEIGHT
from bitsback.train.fused import FusedWeight

ACTIVATION_STEPS = 64  # steps in 1.0 of an activation


class RoundedClamp(torch.autograd.Function):
    """clamp(x + bias, 0, 255), rounded or not; the gradient passes where nothing was clamped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, rounded: bool) -> Tensor:
        """x: (B, C, H, W) steps; bias: broadcast to x, or None."""
        y = x.clone() if bias is None else x + bias
        if rounded:
            y.round_()
        y.clamp_(0, TOP)
        ctx.save_for_backward(y)
        ctx.has_bias, ctx.dtype = bias is not None, x.dtype
        return y

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        """The gradients of x and bias."""
        (y,) = ctx.saved_tensors
        grad = torch.ops.aten.hardtanh_backward(grad.to(y.dtype), y, 0, TOP).to(ctx.dtype)
        return grad, grad.sum((2, 3), keepdim=True) if ctx.has_bias else None, None


def scale_exponent(weight: Tensor, reach: int) -> Tensor:
    """n of each output channel, so that round(weight * 2^n) are the integer weights.

    reach: 0 for an inner layer, whose inputs have 8 bits and whose integers are within +-64; else
    the largest input integer of an outer layer, whose integers are as large as exact float32 sums
    allow (half of 2^24; the other half is left for the bias).
    """
    flat = weight.detach().flatten(1).abs()
    if reach:
        largest = flat.sum(1) * reach / (EXACT / 2)
    else:
        largest = flat.amax(1) / INNER_WEIGHT
    return torch.floor(-torch.log2(largest.clamp_min(2.0**-24)))


def rounded_weight(weight: Tensor, reach: int) -> Tensor:
    """(O, I, k, k) rounded to integers times a power of two a channel; the gradient passes.

    reach: as in scale_exponent.
    """
    scale = torch.exp2(scale_exponent(weight, reach)).view(-1, 1, 1, 1)
    limit = INNER_WEIGHT if not reach else EXACT
    rounded = torch.round(weight.detach() * scale).clamp_(-limit, limit) / scale
    return weight + (rounded - weight).detach()


class QConv(nn.Conv2d):
    """A convolution whose weights are rounded, if asked, as the integer model rounds them.

    reach: as in scale_exponent; gain: a power of two between the units of output and input (steps
    against 1.0); bias_steps: what 1.0 of the bias is in output units.
    """

    bias: nn.Parameter
    fused = False  # round inner weights in one Triton kernel, to bfloat16 (denoiser.set_fused)
    fixed: Tensor | None = None  # weights that do not change, rounded, times the gain

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        reach: int = 0,
        gain: float = 1.0,
        bias_steps: float = ACTIVATION_STEPS,
        stride: int = 1,
    ) -> None:
        super().__init__(
            inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0
        )
        self.reach, self.gain, self.bias_steps = reach, gain, bias_steps

    def effective_weight(self, integer: bool) -> Tensor:
        """(O, I, k, k) float: the weights, rounded to integers times a power of two if asked."""
        return rounded_weight(self.weight, self.reach) if integer else self.weight

    @torch.no_grad()
    def fix_weights(self) -> None:
        """Rounds the weights once for all evaluations that round."""
        self.fixed = self.effective_weight(True) * self.gain

    def forward(self, x: Tensor, integer: bool = False, with_bias: bool = True) -> Tensor:
        """The convolution in output units."""
        if integer and self.fixed is not None:
            weight = self.fixed
        elif self.fused and integer and not self.reach and torch.is_autocast_enabled(x.device.type):
            weight = FusedWeight.apply(self.weight, self.gain)
        else:
            weight = self.effective_weight(integer)
            if self.gain != 1.0:
                weight = weight * self.gain
        bias = self.bias * self.bias_steps if with_bias else None
        return F.conv2d(x, weight, bias, self.stride, self.padding)
