"""Where the bits go: parts of real files and their noise levels, worst images first.

    python -m benchmarks.where FOLDER benchmarks/results/rate_NAME.json [--limit N]
                               [-o benchmarks/results/where_NAME.md]

Each image is coded to a file, which is decoded with a ledger (codecs/bit_costs.py): what is printed
are coded bits, and the parts of a file add up to it.  Worst: against JPEG XL in the same rates.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.report import summary, table
from bitsback.codecs import encode
from bitsback.codecs.bit_costs import BitCosts, bit_costs
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas

GROUP_SIZE = 10  # images of the worst and the best


def costs_of(path: Path, model: Model) -> BitCosts:
    """The bits of the file of an image.  Raises SystemExit where the parts are not the file."""
    data = encode(np.array(Image.open(path).convert("RGB")), model=model)
    costs = bit_costs(data, model=model)
    if costs.total != 8 * len(data):
        raise SystemExit(f"{path}: its parts add up to {costs.total} bits, not {8 * len(data)}")
    return costs


def columns(costs: BitCosts, levels: int) -> list[int]:
    """Bits of header, side information, fallback parts, x, y_0, ..., y_{K-1}."""
    latents = costs.latents or (0,) * (levels + 1)
    head = costs.header + costs.closing
    return [head, sum(costs.sections.values()), costs.fallback, *latents]


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("rates", type=Path, help="JSON of benchmarks.rate on the same folder")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, measured = Model.open(), json.loads(args.rates.read_text())

    def ratio(row: dict[str, Any]) -> float:
        return row["bitsback"]["bytes"] / row["JPEG XL e9"]["bytes"]

    rows = sorted(measured["rows"][: args.limit], key=ratio, reverse=True)
    parts = ["header", "side information", "fallback", "x"]
    parts += [f"y_{k}" for k in range(len(model.levels))]
    bits = np.array(
        [
            np.array(columns(costs_of(args.folder / row["file"], model), len(model.levels)))
            / row["dims"]
            for row in rows
        ]
    )
    files = table(
        ["image", "bits/dim", "against JPEG XL e9", *parts],
        [
            [row["file"], f"{some.sum():.4f}", f"{ratio(row):.3f}", *(f"{n:.4f}" for n in some)]
            for row, some in zip(rows, bits)
        ],
    )
    groups = {"all": bits, f"worst {GROUP_SIZE}": bits[:GROUP_SIZE]}
    groups[f"best {GROUP_SIZE}"] = bits[-GROUP_SIZE:]
    noise = ["", "", "", "0", *(f"{sigma:.2f}" for sigma in sigmas(model.levels))]
    means = table(
        ["part", "sigma", *groups, "share of all"],
        [
            [
                name,
                noise[i],
                *(f"{some[:, i].mean():.4f}" for some in groups.values()),
                f"{100 * bits[:, i].mean() / bits.sum(1).mean():.1f} %",
            ]
            for i, name in enumerate(parts)
        ],
    )
    limit = f" --limit {args.limit}" if args.limit else ""
    text = (
        f"python -m benchmarks.where {args.folder.name} {args.rates.name}{limit}   "
        f"({len(rows)} images, model {model.id[:16]}, bits/dim of whole files)\n\n{means}\n{files}"
    )
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
