"""Quality of all samplers by network evaluations: photographs restored, images drawn from clouds.

    python -m benchmarks.samplers DIR [--limit N] [--side N] [--model M] [--checkpoint CKPT ...]
                                  [-o benchmarks/results/samplers]

Restored: centres of the images in DIR get noise and are restored.  Error is the RMS distance from
the photograph: the mean of x given y has the least, a true draw of x given y sqrt(2) times that, so
a small error alone is no merit.  Patch distance compares the patches (8x8, without their mean) with
those of the photographs: whitened by the photographs' covariance, projected on 256 random
directions, mean distance of the sorted values (sliced Wasserstein-1; 1 = one standard deviation).
Drawn: from clouds (bitsback/sampling/starts.py), patch distance alone; the floor is the distance of
one half of the photographs from the other.  Writes OUTPUT.md, OUTPUT.json, OUTPUT.png and sheets
OUTPUT_*.webp.
"""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.report import summary, table
from benchmarks.samplers_figures import plot, sheets, tables
from benchmarks.samplers_measures import (
    PatchDistance,
    measure_free,
    measure_levels,
    measure_restored,
)
from bitsback.coder.model import Model
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.measure import centre_crops


def command(args: argparse.Namespace) -> str:
    """The command for the head of the results: folders without their paths."""
    words = [args.folder.name, f"--limit {args.limit}", f"--side {args.side}"]
    if args.model:
        words.append(f"--model {Path(args.model).name}")
    if args.checkpoint:
        words += ["--checkpoint", *(path.name for path in args.checkpoint)]
    return " ".join(["python -m benchmarks.samplers", *words])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="images to restore")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        nargs="+",
        help="float checkpoint, or all experts', to compare with between the model's levels",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/samplers"))
    return parser


def between_levels(pairs: list[tuple[float, float, float]]) -> str:
    """Markdown of measure_levels."""
    sigmas = table(
        ["sigma", *(f"{sigma:.3g}" for sigma, _, _ in pairs)],
        [["ratio", *(f"{ours / floats:.3f}" for _, ours, floats in pairs)]],
    )
    return (
        "\nBetween its levels the shipped model is evaluated at the lower one for a paler image: "
        "error of one evaluation half-way between two levels, integers against float network\n\n"
        f"{sigmas}"
    )


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    model, x = Model.open(args.model), centre_crops(args.folder, args.limit, args.side)
    everything = centre_crops(args.folder, None, args.side)

    def report(line: str) -> None:
        print(line, flush=True)

    sheets(model, centre_crops(args.folder, 3, args.side), args.output)
    rows = measure_restored(model, x, PatchDistance(x), report)
    floor = PatchDistance(everything[::2]).distance(everything[1::2])
    free = measure_free(model, args.side, args.limit, PatchDistance(everything), report)
    args.output.with_suffix(".json").write_text(
        json.dumps({"restored": rows, "free": free, "floor": floor}, indent=1)
    )
    plot(rows, free, args.output.with_suffix(".png"))
    text = (
        f"{command(args)}   ({len(x)} centres, model {model.id[:16]}, torch {torch.__version__})\n"
        f"{tables(rows, free, floor)}\n"
    )
    if args.checkpoint:
        text += between_levels(measure_levels(model, read_checkpoints(args.checkpoint)[0], x))
    name = args.output.name
    text += (
        f"\nSheets, lossy: `{name}_free_*.webp` from clouds, `{name}_restored.webp` a row a noise "
        "(8, 25, 75): photograph, noised, ddim in 1 and in 12 evaluations, seeds3 in 12,\n"
        f"ancestral (head) in 12, the coder's chain.  Plot: `{name}.png`; numbers: `{name}.json`.\n"
    )
    args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
