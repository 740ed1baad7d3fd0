"""Measures what codecs/mode_decision.py's thresholds are set by, on training images.

    python -m benchmarks.research.mode_thresholds TRAIN TRAIN2 [--every 14] [--side 128]

Takes every 14th file of each folder, sorted by name, and of each the middle crop of `side` pixels.
Prints, for each threshold, the range of its quantity over the crops.  Four minutes of one core.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from bitsback.codecs import photographs
from bitsback.codecs.fallback import webp
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.fallback.png import encode_png
from bitsback.codecs.prior_trial import prior_bits
from bitsback.coder.model import Model

SUFFIXES = {".png", ".webp"}
SMALL_SIDES = 8, 16, 24, 32, 48, 64, 96, 128
PRIOR_SIDE = 64
STRIPS = 3


def middle(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle of (H, W, C), at most `side` pixels a side."""
    top, left = (max(0, length - side) // 2 for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def spread(name: str, values: list[float]) -> None:
    """Prints the smallest, 1 %, 5 %, median, 95 %, 99 % and largest of some values."""
    quantiles = np.quantile(values, [0, 0.01, 0.05, 0.5, 0.95, 0.99, 1])
    print(f"{name:48}", *(f"{value:9.4f}" for value in quantiles), f"  n={len(values)}", flush=True)


def measure_photographs(crops: list[np.ndarray]) -> list[np.ndarray]:
    """PHOTO_BITS, PHOTO_COLOURS, CODER_LOSES.  Returns the crops that pass as photographs."""
    rows: dict[str, list[float]] = {}
    found = []
    for crop in crops:
        quick, bands = webp.webp_size(crop), photographs.bands(crop)
        colours = len(np.unique(bands.reshape(-1, 3), axis=0)) / (bands.shape[0] * bands.shape[1])
        rows.setdefault("quick WebP, bits a dimension", []).append(8 * quick / crop.size)
        rows.setdefault("colours a pixel of the bands", []).append(colours)
        if photographs.photographic(crop, quick):
            found.append(crop)
            png, differences = len(encode_png(crop, 8)), len(encode_differences(crop))
            rows.setdefault("photographs: PNG / quick", []).append(png / quick)
            rows.setdefault("photographs: differences / quick", []).append(differences / quick)
    for name, values in rows.items():
        spread(name, values)
    return found


def measure_efforts(crops: list[np.ndarray]) -> None:
    """What the best coder and the BEST effort of WebP save on photographs."""
    rows: dict[str, list[float]] = {}
    for crop in crops:
        quick, good = webp.webp_size(crop), webp.webp_size(crop, webp.GOOD)
        tried = min(quick, good)
        best = min(tried, webp.webp_size(crop, webp.BEST))
        rows.setdefault("photographs: best WebP / quick", []).append(best / quick)
        rows.setdefault("photographs: best WebP / GOOD", []).append(best / good)
        rows.setdefault("photographs: best WebP / smaller of both", []).append(best / tried)
        height = -(-len(crop) // STRIPS)
        strips = [crop[top : top + height] for top in range(0, len(crop), height)]
        apart = sum(webp.webp_size(strip, webp.GOOD) for strip in strips)
        rows.setdefault(f"photographs: {STRIPS} strips / whole, GOOD", []).append(apart / good)
    for name, values in rows.items():
        spread(name, values)


def measure_small(crops: list[np.ndarray]) -> None:
    """ESTIMATE_PIXELS: how far below a quick WebP the best coder may be, by the side of a crop."""
    for side in SMALL_SIDES:
        ratios = []
        for crop in crops:
            part = middle(crop, side)
            quick = webp.webp_size(part)
            if photographs.photographic(part, quick):
                ratios.append(len(encode_fallback(part)) / quick)
        spread(f"{side}x{side}: best / quick", ratios)


def measure_colours(images: list[np.ndarray]) -> None:
    """DRAWING_COLOURS, DRAWING_GRAYS: the fewest in 128x128 pixels, which is what a drawing's
    limit begins at."""
    parts = [middle(image, 128) for image in images]
    spread("colours in 128x128", [len(np.unique(p.reshape(-1, 3), axis=0)) for p in parts])
    spread("grays in 128x128 (green)", [len(np.unique(p[..., 1])) for p in parts])


def measure_prior(crops: list[np.ndarray], model: Model) -> None:
    """PRIOR_LIKELY_BITS: prior against fallback codec by the bits of a quick WebP."""
    parts = [part for part in (middle(crop, PRIOR_SIDE) for crop in crops) if part.size]
    rows = []
    for part in parts:
        quick = 8 * webp.webp_size(part) / part.size
        ratio = prior_bits(part[None], model)[0] / (8 * len(encode_fallback(part)))
        rows.append((quick, ratio))
    edges = (0, 0.5, 1, 1.4, 2, 3, 4, 5, 6, 8.5)
    for low, high in zip(edges, edges[1:]):
        ratios = [ratio for quick, ratio in rows if low <= quick < high]
        if ratios:
            spread(f"prior / fallback at quick WebP of {low} to {high}", ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=14)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--only", choices=("colours", "prior", "small", "fallback"))
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    paths = []
    for folder in options.folders:
        files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
        paths += files[:: options.every]
    images = [np.array(Image.open(path).convert("RGB")) for path in paths]
    crops = [middle(image, options.side) for image in images]
    print(f"{len(paths)} images, crops of at most {options.side} pixels a side")
    print(f"{'':48}", *(f"{q:>9}" for q in ("min", "1 %", "5 %", "median", "95 %", "99 %", "max")))
    measures = {
        "colours": lambda: measure_colours(images),
        "prior": lambda: measure_prior(crops, Model.open(options.model)),
        "small": lambda: measure_small(crops),
        "fallback": lambda: measure_efforts(measure_photographs(crops)),
    }
    for name, measure in measures.items():
        if options.only in (None, name):
            measure()


if __name__ == "__main__":
    main()
