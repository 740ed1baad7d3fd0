"""The network: a U-shaped trunk once a level, a light pass head once a pass.

      y (B,3,H,W) -> unshuffle 2 -> half (c1) --------------------- + -> half -> 9 numbers a pixel
                                      \\-> quarter (c2) ------ + ----/      \\-> features for the head
                                               \\-> eighth (c3)-/
      9 numbers: mean of x (3), log variance of x (3), colour coefficients (3)

It is made to be rounded.  Activations are counted in *steps* of 1/64 and clamped to 0..255, so
that an 8-bit integer holds them; inner weights fit -64..64 times a power of two a channel; the
residual sum stays wide.  `integer=True` rounds all of this in the forward pass and lets the
gradient through (straight-through estimator, arXiv 1308.3432), so training sees what the coder
will compute.  There is no normalisation and no attention: nothing that integers cannot do.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from bitsback.diffusion.passes import coding_passes
from bitsback.diffusion.schedule import preconditioning
from bitsback.integer.config import EXACT, INPUT_REACH, NetworkConfig
from bitsback.integer.convolution import TOP
from bitsback.integer.convolution import WEIGHT as INNER_WEIGHT

STEPS = 64  # steps in 1.0 of an activation
HIDDEN_GAIN = 2  # inside a block activations are smaller: twice as many steps in 1.0


class _Clamp(torch.autograd.Function):
    """clamp(x + bias, 0, 255), rounded or not; the gradient passes where nothing was clamped."""

    @staticmethod
    def forward(ctx, x, bias, rounded):
        y = x.clone() if bias is None else x + bias
        if rounded:
            y.round_()
        y.clamp_(0, TOP)
        ctx.save_for_backward(y)
        ctx.has_bias, ctx.dtype = bias is not None, x.dtype
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        grad = torch.ops.aten.hardtanh_backward(grad.to(y.dtype), y, 0, TOP).to(ctx.dtype)
        return grad, grad.sum((2, 3), keepdim=True) if ctx.has_bias else None, None


def scale_exponent(weight, reach):
    """n of each output channel, so that round(weight * 2^n) are the integer weights.

    reach: 0 for an inner layer, of 8-bit inputs (integers within +-64), else the largest input integer of an
    outer layer, whose integers are as large as exact float32 sums allow (half of 2^24; the
    other half is left for the bias).
    """
    flat = weight.detach().flatten(1).abs()
    if reach:
        largest = flat.sum(1) * reach / (EXACT / 2)
    else:
        largest = flat.amax(1) / INNER_WEIGHT
    return torch.floor(-torch.log2(largest.clamp_min(2.0**-24)))


class QConv(nn.Conv2d):
    """A convolution whose weights are rounded as the integer model rounds them, if asked to.

    gain: a power of two between the units of output and input (steps against 1.0);
    bias_steps: what 1.0 of the bias is in output units.
    """

    def __init__(self, inputs, outputs, size, *, reach=0, gain=1.0, bias_steps=STEPS, stride=1):
        super().__init__(
            inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0
        )
        self.reach, self.gain, self.bias_steps = reach, gain, bias_steps

    def effective_weight(self, integer):
        if not integer:
            return self.weight
        scale = torch.exp2(scale_exponent(self.weight, self.reach)).view(-1, 1, 1, 1)
        limit = INNER_WEIGHT if not self.reach else EXACT
        rounded = torch.round(self.weight.detach() * scale).clamp_(-limit, limit) / scale
        return self.weight + (rounded - self.weight).detach()

    def forward(self, x, integer=False, with_bias=True):
        weight = self.effective_weight(integer)
        if self.gain != 1.0:
            weight = weight * self.gain
        bias = self.bias * self.bias_steps if with_bias else None
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class Block(nn.Module):
    """r + conv_b(act(conv_a(act(r)) + bias(level))): the sum itself is never clamped to 8 bits."""

    def __init__(self, width, embedding):
        super().__init__()
        self.a = QConv(width, width, 3, gain=HIDDEN_GAIN)
        self.b = QConv(width, width, 3, gain=1 / HIDDEN_GAIN)
        self.level = nn.Linear(embedding, width)
        nn.init.zeros_(self.b.weight)
        nn.init.zeros_(self.b.bias)

    def forward(self, r, e, integer):
        bias = (self.level(e) + self.a.bias) * (STEPS * HIDDEN_GAIN)
        h = self.a(_Clamp.apply(r, None, integer), integer, with_bias=False)
        h = _Clamp.apply(h, bias[:, :, None, None], integer)
        return r + self.b(h, integer)


class LevelEmbedding(nn.Module):
    """Sines of the normalised log sigma, then two small layers: folded into biases at export."""

    LOW, HIGH, WAVES = math.log(0.3), math.log(900.0), 8

    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1 + 2 * self.WAVES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def position(self, log_sigma):
        return 2 * (log_sigma - self.LOW) / (self.HIGH - self.LOW) - 1

    def forward(self, log_sigma):
        u = self.position(log_sigma)[:, None]
        waves = math.pi * u * torch.arange(1, self.WAVES + 1, device=u.device)
        return self.net(torch.cat([u, torch.sin(waves), torch.cos(waves)], 1))


class Denoiser(nn.Module):
    """Trunk and pass head.  All public tensors are float; `integer` rounds inside."""

    def __init__(self, config=NetworkConfig()):
        super().__init__()
        self.config = c = config
        self.embed = LevelEmbedding(c.embedding)
        self.first = QConv(12, c.c1, 3, reach=INPUT_REACH, gain=STEPS)
        self.first_level = nn.Linear(c.embedding, c.c1)
        blocks = lambda width, count: nn.ModuleList(Block(width, c.embedding) for _ in range(count))  # noqa: E731
        self.down1, self.down2, self.middle = (
            blocks(c.c1, c.n1),
            blocks(c.c2, c.n2),
            blocks(c.c3, c.n3),
        )
        self.up2, self.up1 = blocks(c.c2, c.n2), blocks(c.c1, c.n1)
        self.to2, self.to3 = QConv(c.c1, c.c2, 2, stride=2), QConv(c.c2, c.c3, 2, stride=2)
        self.from3, self.from2 = QConv(c.c3, 4 * c.c2, 1), QConv(c.c2, 4 * c.c1, 1)
        self.last = QConv(c.c1, 36, 3, reach=TOP, gain=1 / STEPS, bias_steps=1.0)
        self.last_level = nn.Linear(c.embedding, 36)
        # Pass head: features once, innovations and one residual layer a pass.
        self.head_level = nn.Sequential(
            nn.Linear(c.embedding + 2, c.embedding),
            nn.ReLU(),
            nn.Linear(c.embedding, (c.passes - 1) * c.head),
        )
        self.head_features = QConv(c.c1, c.head, 1)
        self.head_known = QConv(12, c.head, 3, gain=STEPS)
        self.head_mix = QConv(c.head, c.head, 3)
        self.head_out = nn.ModuleList(
            QConv(c.head, 9, 1, reach=TOP, gain=1 / STEPS, bias_steps=1.0)
            for _ in range(c.passes - 1)
        )
        for layer in (self.last, self.last_level, *self.head_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head_known.weight, std=0.02)

    def trunk(self, y, log_sigma, integer=False):
        """y: (B, 3, H, W) gray levels, H and W multiples of 8; log_sigma: (B,).

        Returns out (B, 9, H, W) float32, features (B, c1, H/2, W/2) in steps 0..255, and the
        level's embedding (B, E) for the head.
        """
        e = self.embed(log_sigma)
        c_in = preconditioning(log_sigma.exp())[2][:, None, None, None]
        out, features = self.body(2 * y * c_in, e, integer)
        return out, features, e

    def body(self, x, e, integer=False):
        """Trunk on scaled input x (B, 3, H, W), 1.0 = D/2 gray levels, and embedding e (B, E)."""
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would drop half gray levels
            half = self.first(x, integer)
        half = half + self.first_level(e).float()[:, :, None, None] * STEPS
        for block in self.down1:
            half = block(half, e, integer)
        quarter = self.to2(_Clamp.apply(half, None, integer), integer).float()
        for block in self.down2:
            quarter = block(quarter, e, integer)
        eighth = self.to3(_Clamp.apply(quarter, None, integer), integer).float()
        for block in self.middle:
            eighth = block(eighth, e, integer)
        quarter = quarter + F.pixel_shuffle(
            self.from3(_Clamp.apply(eighth, None, integer), integer), 2
        )
        for block in self.up2:
            quarter = block(quarter, e, integer)
        half = half + F.pixel_shuffle(self.from2(_Clamp.apply(quarter, None, integer), integer), 2)
        for block in self.up1:
            half = block(half, e, integer)
        features = _Clamp.apply(half, None, integer)
        out = self.last(features, integer).float() + self.last_level(e)[:, :, None, None].float()
        return F.pixel_shuffle(out, 2), features

    def heads(self, features, e, log_ratio, pixels, innovations, integer=False):
        """Refinement of all passes but the first, each from the innovations of the passes before it.

        log_ratio: (B,) log(sigma_t / sigma_s), 0 where pixels is set; pixels: (B,) bool, True
        for p(x | y_0); innovations: (B, 3, H, W), all passes, in standard deviations.
        Returns (B, 9, H, W) float32, zero at pass 0.
        """
        batch, order = len(innovations), coding_passes(self.config.passes)
        bias = self.head_bias(e, log_ratio, pixels).transpose(0, 1).flatten(0, 1)
        told, stages = torch.zeros_like(innovations), []
        for parts in order[:-1]:
            told = told.clone()
            for row, column, stride in parts:
                told[:, :, row::stride, column::stride] = innovations[
                    :, :, row::stride, column::stride
                ]
            stages.append(told)
        projected = self.head_features(features, integer).repeat(len(stages), 1, 1, 1)
        h = self.head_body(projected, torch.cat(stages), bias, integer).chunk(len(stages))
        out = torch.zeros(batch, 9, *innovations.shape[2:], device=innovations.device)
        for parts, layer, stage in zip(order[1:], self.head_out, h):
            more = layer(stage, integer).float()
            for row, column, stride in parts:
                out[:, :, row::stride, column::stride] = more[
                    :, :, row // 2 :: stride // 2, column // 2 :: stride // 2
                ]
        return out

    def head_bias(self, e, log_ratio, pixels):
        """(B, passes - 1, head, 1, 1), steps: one bias for each pass but the first."""
        bias = self.head_level(torch.cat([e, log_ratio[:, None], pixels[:, None].to(e.dtype)], 1))
        return bias.view(len(e), self.config.passes - 1, -1, 1, 1) * STEPS

    def head_body(self, projected, innovations, bias, integer=False):
        """The head up to its last layer; projected: head_features(features); innovations: (B, 3, H, W)."""
        innovations = F.pixel_unshuffle(innovations, 2).contiguous(
            memory_format=torch.channels_last
        )
        h = _Clamp.apply(self.head_known(innovations, integer) + projected, bias, integer)
        return _Clamp.apply(self.head_mix(h, integer) + h, None, integer)

    def multiply_adds(self):
        """(trunk, head) multiply-adds a pixel of one evaluation of a level."""
        area = {
            "down1": 4,
            "up1": 4,
            "down2": 16,
            "up2": 16,
            "middle": 64,
            "first": 4,
            "last": 4,
            "to2": 16,
            "to3": 64,
            "from3": 64,
            "from2": 16,
        }
        trunk = head = 0.0
        for name, module in self.named_modules():
            if not isinstance(module, QConv):
                continue
            stage, size = name.split(".")[0], module.weight.numel()
            if stage in area:
                trunk += size / area[stage]
            else:
                head += (
                    size
                    / 4
                    * (1 if stage in ("head_features", "head_out") else self.config.passes - 1)
                )
        return trunk, head
