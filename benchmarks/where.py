"""Where the bits go: each image's file by part and its bound by noise level, worst images first.

    python -m benchmarks.where VALID benchmarks/results/rate_valid.json
                               [-o benchmarks/results/where_valid.md]

Worst: against JPEG XL.  Parts are those of the measured files (net: the code under the prior,
borders included; start: the fallback-coded start beyond its share).  Levels are the bound of the
model without tuning, flat map and colour counts, on each image's centre.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.report import summary, table
from bitsback.codecs import block_means
from bitsback.coder.model import Model
from bitsback.diffusion.levels import Level, sigmas
from bitsback.train.bound import BoundNetwork
from bitsback.train.dequantise import dequantised_model
from bitsback.train.measure import bound_bits

BOUND_SIDE = 256  # of the centre that the bound is measured on
GROUP_SIZE = 10  # images of the worst and the best


def parts(row: dict[str, Any]) -> dict[str, float]:
    """{part: bits a dimension} of a file of benchmarks.rate."""
    known = {
        "net": row.get("net_bits_per_dim", 0.0),
        "bias updates": row.get("tuned_bits_per_dim", 0.0),
        "flat map": row.get("flat_bits_per_dim", 0.0),
        "block means": row.get("mean_bits_per_dim", 0.0),
    }
    return known | {
        "start and header": 8 * row["bitsback"]["bytes"] / row["dims"] - sum(known.values())
    }


def by_level(network: BoundNetwork, levels: tuple[Level, ...], path: Path) -> list[float]:
    """Bits a dimension of p(x | y_0), of each level and of the top, on an image's centre.

    The top is measured on all of the image, with block means.
    """
    samples = np.array(Image.open(path).convert("RGB"))
    _, _, left_over = block_means.fit_means(samples, samples.mean((0, 1)))
    top_bits = float(np.mean(np.log2(1 + left_over / sigmas(levels)[-1] ** 2)) / 2)
    pixels = torch.from_numpy(samples).permute(2, 0, 1)[None].float() - 128
    top, left = (max(0, side - BOUND_SIDE) // 16 * 8 for side in pixels.shape[2:])
    height, width = (min(BOUND_SIDE, side // 8 * 8) for side in pixels.shape[2:])
    return [
        *bound_bits(network, levels, pixels[:, :, top : top + height, left : left + width], True)[
            :-1
        ],
        top_bits,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("rates", type=Path, help="JSON of benchmarks.rate on the same folder")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, measured = Model.open(), json.loads(args.rates.read_text())
    if measured["model"] != model.id:
        raise SystemExit(
            f"{args.rates}: measured with model {measured['model'][:16]}, this is {model.id[:16]}"
        )
    network = dequantised_model(model)

    def ratio(row: dict[str, Any]) -> float:
        return row["bitsback"]["bytes"] / row["JPEG XL e9"]["bytes"]

    rows = sorted(measured["rows"], key=ratio, reverse=True)
    levels = np.array([by_level(network, model.levels, args.folder / row["file"]) for row in rows])
    names = list(parts(rows[0]))
    files = table(
        ["image", "bits/dim", "against JPEG XL e9", *names, "sharpness"],
        [
            [
                row["file"],
                f"{8 * row['bitsback']['bytes'] / row['dims']:.4f}",
                f"{ratio(row):.3f}",
                *(f"{parts(row)[name]:.4f}" for name in names),
                str(row.get("sharpness", 0)),
            ]
            for row in rows
        ],
    )
    groups = {
        "all": levels,
        f"worst {GROUP_SIZE}": levels[:GROUP_SIZE],
        f"best {GROUP_SIZE}": levels[-GROUP_SIZE:],
    }
    noise = table(
        ["sigma", *groups, "share of all"],
        [
            [
                name,
                *(f"{some[:, k].mean():.4f}" for some in groups.values()),
                f"{100 * levels[:, k].mean() / levels.sum(1).mean():.1f} %",
            ]
            for k, name in enumerate(
                ["pixels given 0.5", *(f"{sigma:.2f}" for sigma in sigmas(model.levels)[1:]), "top"]
            )
        ],
    )
    averages = ", ".join(
        f"{name} {np.mean([parts(row)[name] for row in rows]):.4f}" for name in names
    )
    text = (
        f"python -m benchmarks.where {args.folder.name} {args.rates.name}   "
        f"({len(rows)} images, model {model.id[:16]}, bits/dim)\n\n"
        f"Means over the images: {averages}\n\n{files}\nBound by level:\n\n{noise}"
    )
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
