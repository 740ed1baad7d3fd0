"""Measures what codecs/mode_decision.py's thresholds are set by, on training images.

    python -m benchmarks.research.mode_thresholds TRAIN TRAIN2 [--every 14] [--side 256]

Takes every 14th file of each folder, sorted by name, and of each the middle crop of `side` pixels.
Prints, for each threshold, the range of its quantity over the crops.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from bitsback.codecs import mode_decision
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


def best_size(samples: np.ndarray) -> tuple[int, int, int, int]:
    """Bytes of (the best of all coders, the best GOOD WebP, PNG, differences) of uint8 samples."""
    good = min(map(len, webp.webp_streams(samples, webp.GOOD))) + 1
    every = min(map(len, webp.webp_streams(samples, webp.QUICK, webp.GOOD, webp.BEST))) + 1
    png, differences = len(encode_png(samples, 8)) + 1, len(encode_differences(samples)) + 1
    return min(every, png, differences), good, png, differences


def spread(name: str, values: list[float]) -> None:
    """Prints the smallest, 1 %, 5 %, median, 95 %, 99 % and largest of some values."""
    quantiles = np.quantile(values, [0, 0.01, 0.05, 0.5, 0.95, 0.99, 1])
    print(f"{name:48}", *(f"{value:9.4f}" for value in quantiles), f"  n={len(values)}", flush=True)


def measure_fallback(crops: list[np.ndarray]) -> None:
    """HOPELESS_QUICK, HOPELESS_GOOD, CODER_LOSES, PHOTO_BITS, PHOTO_COLOURS: on whole crops."""
    rows: dict[str, list[float]] = {}
    for crop in crops:
        quick = webp.webp_size(crop)
        best, good, png, differences = best_size(crop)
        bands = mode_decision._bands(crop)
        rows.setdefault("quick WebP, bits a dimension", []).append(8 * quick / crop.size)
        colours = len(np.unique(bands.reshape(-1, 3), axis=0)) / (bands.shape[0] * bands.shape[1])
        rows.setdefault("colours a pixel of the bands", []).append(colours)
        if not mode_decision.photographic(crop, quick):
            rows.setdefault("not photographic: best / quick", []).append(best / quick)
            continue
        rows.setdefault("photographic: best / quick", []).append(best / quick)
        rows.setdefault("photographic: best / GOOD", []).append(best / good)
        rows.setdefault("photographic: PNG / quick", []).append(png / quick)
        rows.setdefault("photographic: differences / quick", []).append(differences / quick)
        rows.setdefault("photographic: best / its default effort", []).append(
            best / min(quick, good)
        )
        height = -(-len(crop) // STRIPS)
        tops = range(0, len(crop), height)
        sizes = [
            min(map(len, webp.webp_streams(crop[top : top + height], webp.GOOD))) for top in tops
        ]
        rows.setdefault(f"photographic: {STRIPS} strips / whole, GOOD", []).append(
            sum(sizes) / good
        )
    for name, values in rows.items():
        spread(name, values)


def measure_small(crops: list[np.ndarray]) -> None:
    """HOPELESS_PIXELS: how far below a quick WebP the best coder may be, by the side of a crop."""
    for side in SMALL_SIDES:
        ratios = []
        for crop in crops:
            part = middle(crop, side)
            quick = webp.webp_size(part)
            if mode_decision.photographic(part, quick):
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
    parser.add_argument("--side", type=int, default=256)
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
    measure_colours(images)
    measure_prior(crops, Model.open(options.model))
    measure_small(crops)
    measure_fallback(crops)


if __name__ == "__main__":
    main()
