"""Gain of coding passes, of the head's width and of the order of colours, on one frozen trunk.

    python -m benchmarks.heads CHECKPOINT TRAINING VALIDATION [--steps 500]
                               [-o benchmarks/results/heads]

Each variant has a fresh head, and fresh colour coefficients in the trunk's last layer; these two
are trained, the rest of the trunk is frozen; steps, patches and noise are the same for all.  Then
the bound of the coder's levels on centre crops.  The trunk was trained with G first, so other
orders are at a slight disadvantage.
"""

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import summary, table
from bitsback.diffusion.levels import default_levels
from bitsback.train.checkpoints import read_checkpoint
from bitsback.train.denoiser import Denoiser
from bitsback.train.estimates import estimate_at_levels
from bitsback.train.measure import bound_bits, centre_crops
from bitsback.train.patches import Patches

HEAD_BATCH, HEAD_PATCH_SIDE, HEAD_RATE = 16, 64, 2e-3
HEAD_VARIANTS: dict[str, dict[str, Any]] = {
    "2 passes": {"passes": 2},
    "4 passes": {},
    "8 passes": {"passes": 8},
    "head of 24": {"head": 24},
    "head of 96": {"head": 96},
    "R, then G, then B": {"order": "RGB"},
    "G, then B, then R": {"order": "GBR"},
    "B, then G, then R": {"order": "BGR"},
}
COLOUR_LETTERS = "RGB"


class Reordered:
    """A Denoiser for images with permuted channels, so that the bound codes colours in `order`.

    The bound (bound.py) codes channel 1 first, then 0, then 2.  Channel i of a permuted image is
    channel channels[i] of the original.
    """

    def __init__(self, network: Denoiser, order: str) -> None:
        first, second, third = (COLOUR_LETTERS.index(colour) for colour in order)
        self.network, self.channels = network, [second, first, third]
        self.back = [self.channels.index(i) for i in range(3)]

    def _permuted(self, out: Tensor) -> Tensor:
        means, scales = out[:, :3][:, self.channels], out[:, 3:6][:, self.channels]
        return torch.cat([means, scales, out[:, 6:]], 1)

    def trunk(
        self, y: Tensor, log_sigma: Tensor, integer: bool = False
    ) -> tuple[Tensor, Tensor, Any]:
        """Denoiser.trunk for permuted y."""
        out, features, e = self.network.trunk(y[:, self.back], log_sigma, integer)
        return self._permuted(out), features, e

    def heads(
        self,
        features: Tensor,
        e: Any,
        log_ratio: Tensor,
        pixels: Tensor,
        innovations: Tensor,
        integer: bool = False,
    ) -> Tensor:
        """Denoiser.heads for permuted innovations."""
        return self._permuted(
            self.network.heads(features, e, log_ratio, pixels, innovations[:, self.back], integer)
        )


def with_fresh_head(network: Denoiser, passes: int = 4, head: int = 48) -> Denoiser:
    """A Denoiser with the trunk of `network`, zeros for its colour coefficients, and a new head."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh = Denoiser(dataclasses.replace(network.config, passes=passes, head=head))
    fresh.load_state_dict(
        {
            name: value
            for name, value in network.state_dict().items()
            if not name.startswith("head")
        },
        strict=False,
    )
    with torch.no_grad():
        for part in (*fresh.last.parameters(), *fresh.last_level.parameters()):
            part[24:] = 0  # 4 of each 2x2 block: mean, scale, colours
    for name, parameter in fresh.named_parameters():
        parameter.requires_grad_(name.startswith(("head", "last")))
    return fresh


def trained(network: Denoiser, order: str, patches: Patches, steps: int) -> Reordered:
    """The Reordered network after `steps` of Adam with cosine decay on the bound's estimate."""
    changed, generator = Reordered(network, order), torch.Generator().manual_seed(1)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = (
                HEAD_RATE
                * min(1, (step + 1) / 30)
                * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            )
        x = patches.batch(HEAD_BATCH, generator)[:, changed.channels]
        optimiser.zero_grad(set_to_none=True)
        level, pixel, top, _ = estimate_at_levels(
            changed, None, x, generator, False, False, levels=default_levels()
        )
        (level.mean() + pixel.mean() + top.mean()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("training", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument(
        "--limit", type=int, default=8, help="centre crops of 256x256 to measure on"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/heads"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, facts = read_checkpoint(args.checkpoint)
    patches = Patches(args.training, HEAD_PATCH_SIDE, torch.device("cpu"))
    valid, rows = centre_crops(args.validation, args.limit), []
    for name, options in HEAD_VARIANTS.items():
        begin, options = time.time(), dict(options)
        order = options.pop("order", "GRB")
        fresh = with_fresh_head(network, **options)
        changed = trained(fresh, order, patches, args.steps)
        bits = bound_bits(changed, default_levels(), valid[:, changed.channels], False)
        rows.append(
            (name, fresh.multiply_adds()[1], sum(bits), bits[0], sum(bits[1:7]), sum(bits[7:]))
        )
        print(*rows[-1], f"{time.time() - begin:.0f} s", flush=True)
    base = next(row for row in rows if row[0] == "4 passes")
    text = [
        f"python -m benchmarks.heads {args.checkpoint.name} {args.training.name} "
        f"{args.validation.name} --steps {args.steps} --limit {args.limit}   "
        f"({facts['minutes']} minutes of training before; {args.limit} centre crops of 256x256; "
        "float, bits/dim)\n",
        "As the first three: a head of 48, G coded first, then R, then B. "
        "Multiply-adds of the head, a pixel and level.\n",
        table(
            [
                "variant",
                "multiply-adds",
                "bound",
                "against 4 passes",
                "p(x | y_0)",
                "levels 1 to 6",
                "above",
            ],
            [
                [
                    name,
                    f"{cost:.0f}",
                    f"{total:.4f}",
                    f"{total - base[2]:+.4f}",
                    *(f"{v:.4f}" for v in parts),
                ]
                for name, cost, total, *parts in rows
            ],
        ),
    ]
    args.output.with_suffix(".md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
