"""Rates on changed images: smaller, with colours at half resolution, gray.

    python -m benchmarks.domain VALID KODAK [--models default,fast] [--limit 6]
                                [-o benchmarks/results/domain]

The bound of the rounded network on centre crops, against JPEG XL effort 7 of the same crops.  It
shows kinds of images that training lacks, which the averages of rate.py hide.  No file is written.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from PIL import Image

from benchmarks.report import summary
from bitsback.coder.model import Model
from bitsback.train.augment import chroma_halved
from bitsback.train.ensemble import bound_network
from bitsback.train.measure import bound_bits

CROP_SIDE = 192


def crop(image: Image.Image) -> np.ndarray:
    """(CROP_SIDE, CROP_SIDE, 3) uint8, the centre."""
    pixels = np.array(image)
    top, left = (pixels.shape[0] - CROP_SIDE) // 2, (pixels.shape[1] - CROP_SIDE) // 2
    return np.ascontiguousarray(pixels[top : top + CROP_SIDE, left : left + CROP_SIDE])


def scaled(image: Image.Image, by: float) -> Image.Image:
    """The image at `by` times its size."""
    return image.resize(
        (round(image.width * by), round(image.height * by)), Image.Resampling.LANCZOS
    )


def halved(image: Image.Image) -> Image.Image:
    """The image with colours at half resolution, interpolated 4:2:0."""
    x = (
        torch.from_numpy(np.array(image))
        .permute(2, 0, 1)[None, :, : image.height // 2 * 2, : image.width // 2 * 2]
        .float()
    )
    return Image.fromarray(
        chroma_halved(x, torch.zeros(1, dtype=torch.int64))[0].permute(1, 2, 0).byte().numpy()
    )


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as they are": lambda image: image,
    "half the size": lambda image: scaled(image, 0.5),
    "0.7 of the size": lambda image: scaled(image, 0.7),
    "colours at half resolution": halved,
    "gray": lambda image: image.convert("L").convert("RGB"),
}


def rates(model: Model, images: list[Image.Image], gray: bool) -> tuple[float, float]:
    """(bound, JPEG XL) of crops, bits a dimension; a gray image has one a pixel."""
    network, crops = bound_network(model), [crop(image) for image in images]
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() - 128
    bound = sum(bound_bits(network, model.levels, x, True, gray=torch.full((len(x),), gray)))
    others = [
        imagecodecs.jpegxl_encode(c[..., 0] if gray else c, lossless=True, effort=7) for c in crops
    ]
    return bound, 8 * sum(map(len, others)) / (sum(c.size for c in crops) // (3 if gray else 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("valid", type=Path)
    parser.add_argument("kodak", type=Path)
    parser.add_argument("--models", default="default,fast")
    parser.add_argument("--limit", type=int, default=6)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: Model.open(name) for name in args.models.split(",")}
    sets = {}
    for folder in (args.valid, args.kodak):
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".webp"))
        sets[folder.name] = [
            Image.open(p).convert("RGB")
            for p in paths[:: max(1, len(paths) // args.limit)][: args.limit]
        ]
    cases = {
        name: ([change(image) for image in sets[args.valid.name]], name == "gray")
        for name, change in CHANGES.items()
    } | {"Kodak": (sets[args.kodak.name], False)}
    lines = [
        "| images | JPEG XL e7 | "
        + " | ".join(f"{name} | against JPEG XL" for name in models)
        + " |",
        "|---|---|" + "---|---|" * len(models),
    ]
    for name, (images, gray) in cases.items():
        found = [rates(model, images, gray) for model in models.values()]
        lines.append(
            f"| {name} | {found[0][1]:.3f} | "
            + " | ".join(f"{bound:.3f} | {bound / other:.3f}" for bound, other in found)
            + " |"
        )
        print(lines[-1], flush=True)
    text = (
        f"python -m benchmarks.domain {args.valid.name} {args.kodak.name} --models {args.models} "
        f"--limit {args.limit}   ("
        + ", ".join(f"{name} {model.id[:16]}" for name, model in models.items())
        + f"; {args.limit} centre crops of {CROP_SIDE}x{CROP_SIDE}, bound in bits/dim)\n\n"
        + "\n".join(lines)
        + "\n"
    )
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
