"""Whether models know the images that they were trained on better than others: over-fitting.

    python -m benchmarks.memorised DATA [--models fast-1.0,fast-1.1,default,best] [--limit 32]
                                   [-o benchmarks/results/memorised]

DATA is the folder of TRAIN and TRAIN2.  Of each, centre crops of 128x128 of held-out images (every
14th by name) and of as many that recipes train on.  Each model's bound is compared with that of the
model before it, image by image: what it gained on images it was not trained on is what counts, and
what it gained on the others beyond that is memory.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.held_out import EVERY, costs
from benchmarks.report import summary, table
from bitsback.coder.model import Model
from bitsback.train.held_out import HeldOut, centre_crops
from bitsback.train.mixture import image_files

SETS = ("train", "train2")
SIDE = 128
KINDS = {"held out": 0, "trained on": EVERY // 2}  # places among every EVERY files


def crops(folder: Path, place: int, limit: int) -> HeldOut:
    """Centre crops of the images at a place among every EVERY files by name; bits are not used."""
    found = centre_crops(image_files(folder)[place::EVERY], SIDE)[:limit]
    x = torch.stack(found).float() - 128
    return HeldOut(folder.name, x, torch.ones(len(x)))


def change(before: torch.Tensor, after: torch.Tensor) -> str:
    """Mean of the images' relative changes in per cent, and its standard error."""
    ratio = (after / before).log()
    return f"{100 * ratio.mean():+.2f} ± {100 * ratio.std() / len(ratio) ** 0.5:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default="fast-1.0,fast-1.1,default,best")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    models = [Model.open(name) for name in args.models.split(",")]
    named = [f"{model.path.stem} {model.id[:8]}" for model in models]
    rows = []
    for name in SETS:
        for kind, place in KINDS.items():
            images = crops(args.data / name, place, args.limit)
            found = [costs(model, images).sum(1) for model in models]
            changes = [change(*pair) for pair in zip(found, found[1:])]
            rows.append([name, kind, str(len(images.x)), f"{found[0].mean():.3f}", *changes])
            print(" | ".join(rows[-1]), flush=True)
    heads = [f"{one} against {other}" for other, one in zip(named, named[1:])]
    ids = ", ".join(model.id[:16] for model in models)
    text = (
        f"python -m benchmarks.memorised DATA --models {args.models} --limit {args.limit}   "
        f"({ids}; mean of the images' changes of the bound, and its standard error)\n\n"
    )
    text += table(["set", "images", "number", f"{named[0]}, bits/dim", *heads], rows)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
