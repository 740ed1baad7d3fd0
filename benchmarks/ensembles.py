"""What ensembles of the shipped models would cost: bounds on held-out images, by level.

    python -m benchmarks.ensembles DATA [--side 256] [--limit 12] [-o benchmarks/results/ensembles]

DATA is the folder of TRAIN2 and TRAIN.  Centre crops of every 14th image by name, which recipes
keep out of training: for choosing members and weights.  A member is a model, what of its input is
mirrored, and its weight.  Rows of its own for pixels, which best has too, are not in a bound.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.held_out import EVERY
from benchmarks.report import summary, table
from bitsback.coder.model import Model
from bitsback.train.ensemble import bound_network, save_ensemble
from bitsback.train.held_out import bounds_of_images, held_out
from bitsback.train.mixture import Source

B, D, F = "best-1.0", "default", "fast"
PLAIN = [[B, "", 1]]
PAIR = [[B, "", 1], [B, "columns", 1]]
CASES: dict[str, list[list] | None] = {
    "best-1.0 by itself": None,
    "best-1.0, edges reflected": PLAIN,
    "with its columns mirrored": PAIR,
    "with its rows mirrored": [[B, "", 1], [B, "rows", 1]],
    "all four": [[B, flips, 1] for flips in ("", "columns", "rows", "both")],
    "best-1.0 and default": [[B, "", 5], [D, "", 3]],
    "best-1.0 and default, mirrored": [[B, "", 5], [D, "columns", 3]],
    "the pair and default": [*([B, f, 3] for f in ("", "columns")), [D, "", 2]],
    "the pair and default, mirrored": [*([B, f, 3] for f in ("", "columns")), [D, "rows", 2]],
    "the pair and fast, mirrored": [*([B, f, 3] for f in ("", "columns")), [F, "rows", 2]],
    "default, edges reflected": [[D, "", 1]],
    "default, with its columns mirrored": [[D, "", 1], [D, "columns", 1]],
    "fast, edges reflected": [[F, "", 1]],
    "fast, with its columns mirrored": [[F, "", 1], [F, "columns", 1]],
}
MIRRORED = range(7)  # levels of four coding passes in all models


def costs(name: str, folder: Path, images: torch.Tensor) -> torch.Tensor:
    """(levels,) bits a dimension of levels 0 to 6 of one case."""
    if CASES[name] is None:
        model = Model.open(B)
    else:
        steps = [
            {"levels": [0, MIRRORED[-1]], "member": CASES[name]},
            {"levels": [MIRRORED[-1] + 1, 8], "member": PLAIN},
        ]
        model = save_ensemble({"step": steps}, folder / "ensemble.safetensors", force=True)
    network = bound_network(model)
    parts = [
        bounds_of_images(network, model.levels, images, range(k, k + 1)).mean(0) for k in MIRRORED
    ]
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("data", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    ids = ", ".join(f"{name} {Model.open(name).id[:16]}" for name in (B, D, F))
    images = torch.cat(
        [
            held_out(Source(args.data / name, 1.0, EVERY), args.side, args.limit).x
            for name in ("train2", "train")
        ]
    )
    rows, first = [], None
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            found = costs(name, Path(folder), images)
            first = found.sum() if first is None else first
            members = "; ".join(
                f"{m} {flips} {w}".replace("  ", " ") for m, flips, w in CASES[name] or []
            )
            change = f"{float(found.sum() / first) - 1:+.2%}"
            rows.append([name, members, f"{found.sum():.4f}", change, *(f"{v:.4f}" for v in found)])
            print(rows[-1], flush=True)
    head = ["ensemble", "members and weights", "levels 0 to 6", "against the first"]
    text = (
        f"python -m benchmarks.ensembles DATA --side {args.side} --limit {args.limit}   ({ids}; "
        f"{len(images)} held-out crops; bounds in bits/dim)\n\n"
    ) + table([*head, *map(str, MIRRORED)], rows)
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
