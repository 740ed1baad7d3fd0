"""Bounds of models on the held-out images of TRAIN2 and TRAIN, by class of JPEG XL's size.

    python -m benchmarks.held_out DATA [--models default,fast] [--sets train2,train] [--side 256]
                                  [--limit 32] [-o benchmarks/results/held_out]

DATA is the folder of both sets; a model is a name or a file.  Centre crops of every 14th image by
name, which recipes keep out of training: for choosing among models.  No file is written by the
coder: the bound is what its levels cost, less than 0.5 % below a file's size.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.other_codecs import OTHER_CODECS
from benchmarks.report import summary, table
from bitsback.coder.model import Model
from bitsback.train.bound import top_nats
from bitsback.train.ensemble import bound_network
from bitsback.train.held_out import HeldOut, bounds_of_images, held_out
from bitsback.train.mixture import Source

EVERY = 14
CLASSES = (1.5, 2.5, 3.5)  # bits/dim of JPEG XL e9, ends of the first three


def reference(images: HeldOut) -> torch.Tensor:
    """(N,) bits a dimension of JPEG XL at effort 9."""
    write = OTHER_CODECS["JPEG XL e9"][0]
    pixels = (images.x + 128).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return torch.tensor([8 * len(write(one)) / one.size for one in pixels])


def costs(model: Model, images: HeldOut) -> torch.Tensor:
    """(N, levels + 1) bits a dimension: p(x | y_0), the other levels, the top."""
    from bitsback.diffusion.levels import sigmas

    network = bound_network(model)
    parts = [
        bounds_of_images(network, model.levels, images.x, range(k, k + 1))
        for k in range(len(model.levels))
    ]
    last = torch.tensor(sigmas(model.levels)[-1]).log()
    top = torch.stack([top_nats(one[None], last) for one in images.x]) / torch.tensor(2.0).log()
    return torch.cat([*parts, top], 1)


def rows(
    found: dict[str, torch.Tensor], other: torch.Tensor
) -> tuple[list[list[str]], list[list[str]]]:
    """Lines of a set: by class, with shares of JPEG XL's size; and means by level and class."""
    ends = (0.0, *CLASSES, float("inf"))
    groups = [(f"{a:g} to {b:g}", (a <= other) & (other < b)) for a, b in zip(ends, ends[1:])]
    groups = [(name, some) for name, some in groups if some.any()]
    groups.append(("all", torch.ones(len(other), dtype=torch.bool)))
    shares, parts = [], []
    for name, some in groups:
        line = [name, str(int(some.sum())), f"{other[some].mean():.3f}"]
        for model, cost in found.items():
            total = cost.sum(1)
            ratio = (total[some] / other[some]).mean()
            line += [f"{total[some].mean():.4f}", f"{ratio:.4f}"]
            parts.append([name, model, *(f"{v:.4f}" for v in cost[some].mean(0))])
        shares.append(line)
    return shares, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default="default,fast")
    parser.add_argument("--sets", default="train2,train")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    names = args.models.split(",")
    models = {
        f"{Path(name).stem} {model.id[:8]}": model
        for name, model in ((name, Model.open(name)) for name in names)
    }
    ids = ", ".join(model.id[:16] for model in models.values())
    text = (
        f"python -m benchmarks.held_out DATA --models {args.models} --sets {args.sets} "
        f"--side {args.side} --limit {args.limit}   ({ids}; bounds in bits/dim; the ratio to "
        "JPEG XL e9 is the mean of the images')\n"
    )
    for name in args.sets.split(","):
        images = held_out(Source(args.data / name, 1.0, EVERY), args.side, args.limit)
        found = {of: costs(model, images) for of, model in models.items()}
        shares, parts = rows(found, reference(images))
        head = ["JPEG XL e9", "images", "its bits/dim"]
        levels = [f"level {k}" for k in range(len(parts[0]) - 3)]
        part = f"\n## {name}\n\n" + table(
            [*head, *(one for of in models for one in (of, "ratio"))], shares
        )
        part += "\n" + table(["JPEG XL e9", "model", *levels, "top"], parts)
        print(part, flush=True)
        text += part
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
