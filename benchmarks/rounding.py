"""Cost of each way of rounding the network: the bound, bits/dim, of one checkpoint.

    python -m benchmarks.rounding CHECKPOINT DIR TRAINING_DIR [--limit N]
                                  [-o benchmarks/results/rounding]

The checkpoint was trained with (or without) the shipped rounding in place, so the other rows show
the cost of rounding after training.  They rank the choices; a model trained for one loses less.
"""

import argparse
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.report import summary
from bitsback.diffusion.levels import default_levels
from bitsback.integer.config import INPUT_REACH
from bitsback.train import denoiser, quantised
from bitsback.train.checkpoints import read_checkpoint
from bitsback.train.equalise import equalise
from bitsback.train.measure import bound_bits, centre_crops


def narrow_block(self: denoiser.ResidualBlock, r: Tensor, e: Tensor, integer: bool) -> Tensor:
    """ResidualBlock.forward with the sum rounded to 8 bits too (signed, two steps each)."""
    bias = (self.level(e) + self.a.bias) * (quantised.ACTIVATION_STEPS * denoiser.HIDDEN_GAIN)
    h = self.a(denoiser.RoundedClamp.apply(r, None, integer), integer, with_bias=False)
    h = denoiser.RoundedClamp.apply(h, bias[:, :, None, None], integer)
    return torch.round((r + self.b(h, integer)) / 2).clamp(-128, 127) * 2


class SevenBits(torch.autograd.Function):
    """Activations on even steps only: 7 bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, rounded: bool) -> Tensor:
        """As RoundedClamp.forward, without a gradient."""
        y = x if bias is None else x + bias
        return torch.round(y / 2).clamp_(0, 127) * 2


QCONV_FORWARD = quantised.QConv.forward


def coarse_first(
    self: quantised.QConv, x: Tensor, integer: bool = False, with_bias: bool = True
) -> Tensor:
    """QConv.forward with a first layer like the inner ones: 8-bit inputs, weights within +-64."""
    if self.reach == INPUT_REACH:
        self.reach = 0
        try:
            coarse = torch.round(x * 16).clamp(-128, 127) / 16
            return QCONV_FORWARD(self, coarse, integer, with_bias)
        finally:
            self.reach = INPUT_REACH
    return QCONV_FORWARD(self, x, integer, with_bias)


# name: (rounded, what is patched)
ROUNDINGS: dict[str, tuple[bool, list[Any]]] = {
    "float": (False, []),
    "shipped: 8-bit activations, weights +-64, wide sum, 11-bit first layer": (True, []),
    "narrow residual sum (8 bits)": (
        True,
        [patch.object(denoiser.ResidualBlock, "forward", narrow_block)],
    ),
    "7-bit activations, weights +-128": (
        True,
        [
            patch.object(denoiser, "RoundedClamp", SevenBits),
            patch.object(quantised, "INNER_WEIGHT", 128),
        ],
    ),
    "first layer 8 bits, weights +-64": (
        True,
        [patch.object(quantised.QConv, "forward", coarse_first)],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("training", type=Path, help="training images, for equalisation")
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, facts = read_checkpoint(args.checkpoint)
    images, reference = centre_crops(args.folder, args.limit), 0.0
    rows: list[str] = []

    def add(name: str, parts: list[float]) -> None:
        each = " ".join(f"{p:.3f}" for p in parts)
        rows.append(f"| {name} | {sum(parts):.4f} | {sum(parts) - reference:+.4f} | {each} |")
        print(rows[-1], flush=True)

    for name, (integer, patches) in ROUNDINGS.items():
        for p in patches:
            p.start()
        try:
            parts = bound_bits(network, default_levels(), images, integer)
        finally:
            for p in patches:
                p.stop()
        reference = reference or sum(parts)
        add(name, parts)
    equalise(network, default_levels(), centre_crops(args.training, 6, side=192))
    add(
        "shipped, hidden channels equalised first",
        bound_bits(network, default_levels(), images, True),
    )
    text = (
        f"python -m benchmarks.rounding {args.checkpoint.name} {args.folder.name} "
        f"{args.training.name} --limit {args.limit}   "
        f"({facts['steps']} steps, {facts['minutes']} minutes)\n\n"
        "| rounding | bits/dim | against float | pixels, levels 1.., top |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
