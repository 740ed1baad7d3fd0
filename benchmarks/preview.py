"""Cost and quality of a preview against full decoding, for several noise levels to stop at.

    python -m benchmarks.preview DIR [--limit N] [-o benchmarks/results/preview]

Whole images under the prior; others are skipped.  Seconds are of one process on this machine, other
work included: compare them within an image, as the table does.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.report import images_below, summary
from bitsback.codecs import decode, encode
from bitsback.codecs.bitstream import container
from bitsback.coder.model import Model
from bitsback.sampling.preview import preview

STOP_SIGMAS = (3.0, 6.0, 15.0, 40.0)


def measure_preview(model: Model, pixels: np.ndarray, data: bytes) -> list[tuple[float, ...]]:
    """[(noise, share of the pixels, of the network evaluations, of the time, PSNR)] of one file."""
    begin = time.perf_counter()
    decode(data, model=model)
    full = time.perf_counter() - begin
    rows: list[tuple[float, ...]] = []
    for sigma in STOP_SIGMAS:
        begin = time.perf_counter()
        seen = preview(data, model=model, sigma=sigma)
        seconds = time.perf_counter() - begin
        error = np.sqrt(np.mean((seen.pixels[seen.known].astype(float) - pixels[seen.known]) ** 2))
        rows.append(
            (
                seen.sigma,
                seen.known.mean(),
                seen.share,
                seconds / full,
                20 * math.log10(255 / error),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=4, help="images to preview")
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/preview"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Model.open(args.model)
    results: list[list[tuple[float, ...]]] = []
    for path in images_below(args.folder):
        if len(results) == args.limit:
            break
        pixels = np.array(Image.open(path).convert("RGB"))
        data = encode(pixels, model=model)
        if container.read_header(data).model:
            results.append(measure_preview(model, pixels, data))
            print(
                path.name,
                *["  ".join(f"{number:.2f}" for number in row) for row in results[-1]],
                sep="\n",
                flush=True,
            )
    lines = [
        f"| {s:.1f} | {r:.2f} | {p:.2f} | {t:.2f} | {q:.1f} |"
        for s, r, p, t, q in np.mean(results, 0)
    ]
    args.output.with_suffix(".md").write_text(
        f"python -m benchmarks.preview {args.folder.name} --limit {args.limit}   "
        f"({len(results)} whole images, model {model.id[:16]}, 2 steps of DDIM, one thread)\n\n"
        "Means: noise where decoding stops; share of the image shown, of a full decode's network "
        "evaluations, of its time; PSNR of what is shown.\n\n"
        "| noise | shown | evaluations | time | PSNR, dB |\n|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
