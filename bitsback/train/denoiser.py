"""The network: a U-shaped trunk once a level, a light head once a pass.

    y (B,3,H,W) -> unshuffle 2 -> half (c1) --------------------- + -> half -> 9 numbers a pixel
                                    \\-> quarter (c2) ------ + ----/      \\-> features for the head
                                             \\-> eighth (c3)-/
      9 numbers: mean of x (3), log variance of x (3), colour coefficients (3)

Its layers are those of quantised.py; the residual sums are not clamped to 8 bits.  There is no
normalisation and no attention, which integers would not compute exactly.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitsback.diffusion.passes import coding_passes
from bitsback.diffusion.schedule import preconditioning
from bitsback.integer.config import INPUT_REACH, NetworkConfig
from bitsback.integer.convolution import TOP
from bitsback.integer.network import layer_multiply_adds
from bitsback.train.fused import FusedClamp
from bitsback.train.quantised import ACTIVATION_STEPS, QConv, RoundedClamp

HIDDEN_GAIN = 2  # inside a residual block activations are smaller: twice as many steps in 1.0


class _Clamping(nn.Module):
    fused = False  # clamp and round in one Triton kernel (set_fused)

    def clamp(self, x: Tensor, bias: Tensor | None, integer: bool) -> Tensor:
        if self.fused and integer:
            return FusedClamp.apply(x, bias)
        return RoundedClamp.apply(x, bias, integer)


class ResidualBlock(_Clamping):
    """r + conv_b(act(conv_a(act(r)) + bias(level))): the sum itself is not clamped to 8 bits."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.a = QConv(width, width, 3, gain=HIDDEN_GAIN)
        self.b = QConv(width, width, 3, gain=1 / HIDDEN_GAIN)
        self.level = nn.Linear(embedding, width)
        nn.init.zeros_(self.b.weight)
        nn.init.zeros_(self.b.bias)

    def forward(self, r: Tensor, e: Tensor, integer: bool) -> Tensor:
        """r: (B, width, H, W) steps; e: (B, E), the level's embedding."""
        bias = (self.level(e) + self.a.bias) * (ACTIVATION_STEPS * HIDDEN_GAIN)
        h = self.a(self.clamp(r, None, integer), integer, with_bias=False)
        h = self.clamp(h, bias[:, :, None, None], integer)
        return r + self.b(h, integer)


class LevelEmbedding(nn.Module):
    """Sines of the normalised log sigma, then two small layers; export folds it into biases."""

    LOW, HIGH, WAVES = math.log(0.3), math.log(900.0), 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1 + 2 * self.WAVES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def position(self, log_sigma: Tensor) -> Tensor:
        """log sigma from LOW..HIGH to -1..1."""
        return 2 * (log_sigma - self.LOW) / (self.HIGH - self.LOW) - 1

    def forward(self, log_sigma: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        u = self.position(log_sigma)[:, None]
        waves = math.pi * u * torch.arange(1, self.WAVES + 1, device=u.device)
        return self.net(torch.cat([u, torch.sin(waves), torch.cos(waves)], 1))


class Denoiser(_Clamping):
    """Trunk and head.  All arguments and results are float; `integer` rounds inside."""

    def __init__(self, config: NetworkConfig = NetworkConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.embed = LevelEmbedding(c.embedding)
        self.first = QConv(12, c.c1, 3, reach=INPUT_REACH, gain=ACTIVATION_STEPS)
        self.first_level = nn.Linear(c.embedding, c.c1)

        def blocks(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(width, c.embedding) for _ in range(count))

        self.down1, self.down2, self.middle = (
            blocks(c.c1, c.n1),
            blocks(c.c2, c.n2),
            blocks(c.c3, c.n3),
        )
        self.up2, self.up1 = blocks(c.c2, c.n2), blocks(c.c1, c.n1)
        self.to2, self.to3 = QConv(c.c1, c.c2, 2, stride=2), QConv(c.c2, c.c3, 2, stride=2)
        self.from3, self.from2 = QConv(c.c3, 4 * c.c2, 1), QConv(c.c2, 4 * c.c1, 1)
        self.last = QConv(c.c1, 36, 3, reach=TOP, gain=1 / ACTIVATION_STEPS, bias_steps=1.0)
        self.last_level = nn.Linear(c.embedding, 36)
        # Head: features once a level, innovations and one residual layer a pass.
        self.head_level = nn.Sequential(
            nn.Linear(c.embedding + 2, c.embedding),
            nn.ReLU(),
            nn.Linear(c.embedding, (c.passes - 1) * c.head),
        )
        self.head_features = QConv(c.c1, c.head, 1)
        self.head_known = QConv(12, c.head, 3, gain=ACTIVATION_STEPS)
        self.head_mix = QConv(c.head, c.head, 3)
        self.head_out = nn.ModuleList(
            QConv(c.head, 9, 1, reach=TOP, gain=1 / ACTIVATION_STEPS, bias_steps=1.0)
            for _ in range(c.passes - 1)
        )
        for layer in (self.last, self.last_level, *self.head_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head_known.weight, std=0.02)

    def trunk(
        self, y: Tensor, log_sigma: Tensor, integer: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y: (B, 3, H, W) gray levels, H and W multiples of 8; log_sigma: (B,), log of gray levels.

        Returns out (B, 9, H, W) float32, features (B, c1, H/2, W/2) in steps 0..255, and the
        level's embedding (B, E), both for `heads`.
        """
        e = self.embed(log_sigma)
        c_in = preconditioning(log_sigma.exp())[2][:, None, None, None]
        out, features = self.body(2 * y * c_in, e, integer)
        return out, features, e

    def body(self, x: Tensor, e: Tensor, integer: bool = False) -> tuple[Tensor, Tensor]:
        """The trunk on scaled input x (B, 3, H, W), 1.0 = DATA_SD / 2, and embedding e (B, E)."""
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would drop half gray levels
            half = self.first(x, integer)
        half = half + self.first_level(e).float()[:, :, None, None] * ACTIVATION_STEPS
        for block in self.down1:
            half = block(half, e, integer)
        quarter = self.to2(self.clamp(half, None, integer), integer).float()
        for block in self.down2:
            quarter = block(quarter, e, integer)
        eighth = self.to3(self.clamp(quarter, None, integer), integer).float()
        for block in self.middle:
            eighth = block(eighth, e, integer)
        quarter = quarter + F.pixel_shuffle(
            self.from3(self.clamp(eighth, None, integer), integer), 2
        )
        for block in self.up2:
            quarter = block(quarter, e, integer)
        half = half + F.pixel_shuffle(self.from2(self.clamp(quarter, None, integer), integer), 2)
        for block in self.up1:
            half = block(half, e, integer)
        features = self.clamp(half, None, integer)
        out = self.last(features, integer).float() + self.last_level(e)[:, :, None, None].float()
        return F.pixel_shuffle(out, 2), features

    def heads(
        self,
        features: Tensor,
        e: Tensor,
        log_ratio: Tensor,
        pixels: Tensor,
        innovations: Tensor,
        integer: bool = False,
    ) -> Tensor:
        """Corrections of the trunk's outputs in all passes but the first, each from earlier passes.

        log_ratio: (B,) log(sigma_t / sigma_s), 0 where pixels is True; pixels: (B,) bool, True for
        p(x | y_0); innovations: (B, 3, H, W), all passes, in standard deviations.
        Returns (B, 9, H, W) float32, zero in pass 0.
        """
        batch, order = len(innovations), coding_passes(self.config.passes)
        bias = self.head_bias(e, log_ratio, pixels).transpose(0, 1).flatten(0, 1)
        known, stages = torch.zeros_like(innovations), []
        for parts in order[:-1]:
            known = known.clone()
            for row, column, stride in parts:
                known[:, :, row::stride, column::stride] = innovations[
                    :, :, row::stride, column::stride
                ]
            stages.append(known)
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

    def head_bias(self, e: Tensor, log_ratio: Tensor, pixels: Tensor) -> Tensor:
        """(B, passes - 1, head, 1, 1), steps: one bias for each pass but the first."""
        bias = self.head_level(torch.cat([e, log_ratio[:, None], pixels[:, None].to(e.dtype)], 1))
        return bias.view(len(e), self.config.passes - 1, -1, 1, 1) * ACTIVATION_STEPS

    def head_body(
        self, projected: Tensor, innovations: Tensor, bias: Tensor, integer: bool = False
    ) -> Tensor:
        """The head up to its last layer: (B, head, H/2, W/2) steps.

        projected: head_features(features); innovations: (B, 3, H, W).
        """
        innovations = F.pixel_unshuffle(innovations, 2).contiguous(
            memory_format=torch.channels_last
        )
        h = self.clamp(self.head_known(innovations, integer) + projected, bias, integer)
        return self.clamp(self.head_mix(h, integer) + h, None, integer)

    def multiply_adds(self) -> tuple[float, float]:
        """(trunk, head) multiply-adds a pixel of one evaluation of a level."""
        trunk = head = 0.0
        for name, module in self.named_modules():
            if not isinstance(module, QConv):
                continue
            found = layer_multiply_adds(name, module.weight.numel(), self.config.passes)
            if name.startswith("head"):
                head += found
            else:
                trunk += found
        return trunk, head


def set_fused(network: nn.Module, fused: bool) -> None:
    """Whether rounded training of a network's layers on a GPU uses the kernels of fused.py."""
    for module in network.modules():
        if isinstance(module, (_Clamping, QConv)):
            module.fused = fused
