"""What each way of rounding the network costs: bound in bits/dim of one checkpoint, rounded differently.

    python -m benchmarks.rounding CHECKPOINT DIR TRAINING_DIR [--limit N] [-o benchmarks/results/rounding]

The checkpoint was trained with (or without) the shipped rounding in place, so the other rows show
the cost of rounding after training; they rank the choices, a model trained for them would lose less.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.research.equalise import equalise
from bitsback.diffusion.levels import default_levels
from bitsback.integer.config import INPUT_REACH
from bitsback.train import denoiser
from bitsback.train.loop import read_checkpoint
from bitsback.train.measure import bound_bits, centre_crops


def narrow_block(self, r, e, integer):
    """The residual sum itself rounded to 8 bits (signed, two steps each) after every block."""
    bias = (self.level(e) + self.a.bias) * (denoiser.STEPS * denoiser.HIDDEN_GAIN)
    h = self.a(denoiser._Clamp.apply(r, None, integer), integer, with_bias=False)
    h = denoiser._Clamp.apply(h, bias[:, :, None, None], integer)
    return torch.round((r + self.b(h, integer)) / 2).clamp(-128, 127) * 2


class SevenBits(torch.autograd.Function):
    """Activations on even steps only: 7 bits."""

    @staticmethod
    def forward(ctx, x, bias, rounded):
        y = x if bias is None else x + bias
        return torch.round(y / 2).clamp_(0, 127) * 2


def coarse_first(self, x, integer=False, with_bias=True):
    """A first layer like the inner ones: 8-bit inputs, weights within +-64."""
    if self.reach == INPUT_REACH:
        self.reach = 0
        try:
            return denoiser.QConv.plain_forward(
                self, torch.round(x * 16).clamp(-128, 127) / 16, integer, with_bias
            )
        finally:
            self.reach = INPUT_REACH
    return denoiser.QConv.plain_forward(self, x, integer, with_bias)


denoiser.QConv.plain_forward = denoiser.QConv.forward
VARIANTS = {
    "float": (False, []),
    "shipped: 8-bit activations, weights +-64, wide sum, 11-bit first layer": (True, []),
    "narrow residual sum (8 bits)": (True, [patch.object(denoiser.Block, "forward", narrow_block)]),
    "7-bit activations, weights +-128": (
        True,
        [patch.object(denoiser, "_Clamp", SevenBits), patch.object(denoiser, "INNER_WEIGHT", 128)],
    ),
    "first layer 8 bits, weights +-64": (
        True,
        [patch.object(denoiser.QConv, "forward", coarse_first)],
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("training", type=Path, help="training images, for equalisation")
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, told = read_checkpoint(args.checkpoint)
    images, rows, reference = centre_crops(args.folder, args.limit), [], None

    def tell(name, parts):
        rows.append(
            f"| {name} | {sum(parts):.4f} | {sum(parts) - reference:+.4f} | {' '.join(f'{p:.3f}' for p in parts)} |"
        )
        print(rows[-1], flush=True)

    for name, (integer, patches) in VARIANTS.items():
        for p in patches:
            p.start()
        try:
            parts = bound_bits(network, default_levels(), images, integer)
        finally:
            for p in patches:
                p.stop()
        reference = reference or sum(parts)
        tell(name, parts)
    equalise(network, default_levels(), centre_crops(args.training, 6, side=192))
    tell(
        "shipped, hidden channels equalised first",
        bound_bits(network, default_levels(), images, True),
    )
    text = (
        f"python -m benchmarks.rounding {args.checkpoint.name} {args.folder.name} {args.training.name} --limit {args.limit}   ({told['steps']} steps, {told['minutes']} minutes)\n\n"
        "| rounding | bits/dim | against float | pixels, levels 1.., top |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
