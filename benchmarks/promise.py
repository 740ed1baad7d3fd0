"""The promise: no file is more than 32 bytes larger than PNG's, WebP's or JPEG XL's.

    python -m benchmarks.promise DIR... [--crops 208] [--seed 0] [--fallback] [-o RESULT]

Codes every image below the folders FORMATS and HARD, if they are among DIR, as it is but for
metadata; and random crops of random images of all folders, made into random modes.  Beside each:
PNG by Pillow (optimize), lossless WebP by Pillow (method 6, or the default if smaller) and JPEG XL
of effort 7 by imagecodecs, bare, wherever they hold the image: WebP and JPEG XL have no palettes.
Every file is decoded and compared.  Prints violations, and a table by mode.  --fallback: no prior
is tried, which takes a fraction of the time: the prior is taken where it is smaller, or far below
an estimate of JPEG XL's size.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.report import summary
from bitsback.codecs import encode_image, mode_decision, read_header
from bitsback.codecs.formats.image_files import IMAGE_SUFFIXES, read_image, to_image
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model
from bitsback.errors import UnsupportedImage

PROMISED = 32  # bytes
SIDES = 3, 160  # least and most of a crop
WHOLE = "formats", "hard"  # folders whose images are coded whole
LARGEST = 2**20  # pixels of these


def saved(image: Image.Image, **options: Any) -> int | None:
    """Bytes of the file that Pillow writes; None where it cannot."""
    out = io.BytesIO()
    try:
        image.save(out, **options)
    except (OSError, ValueError):
        return None
    return len(out.getvalue())


def jxl(samples: np.ndarray) -> int:
    """Bytes of a bare JPEG XL of effort 7."""
    return len(
        imagecodecs.jpegxl_encode(
            np.ascontiguousarray(samples), effort=7, lossless=True, usecontainer=False
        )
    )


def other_sizes(image: ImageData) -> dict[str, int]:
    """{codec: bytes} of the codecs that hold the image without metadata."""
    found, samples = {}, image.samples
    try:
        pillow: Image.Image | None = to_image(image)
    except UnsupportedImage:
        pillow = None  # 16-bit colours
    fits = image.mode != "I" or samples.min() >= 0 and samples.max() < 2**16
    if pillow is not None and fits:
        found["PNG"] = saved(pillow, format="PNG", optimize=True)
    if pillow is not None and image.mode in ("1", "L", "LA", "RGB", "RGBA"):
        alpha = "A" in image.mode or "transparency" in image.look
        shown = pillow.convert("RGBA" if alpha else "RGB")
        options = {"format": "WEBP", "lossless": True, "exact": True}
        efforts = saved(shown, **options, quality=100, method=6), saved(shown, **options)
        found["WebP"] = min((size for size in efforts if size), default=None)
    if samples.dtype.kind != "i" and image.mode not in ("P", "PA"):
        found["JPEG XL"] = jxl(255 * samples if image.mode == "1" else samples)
    return {name: size for name, size in found.items() if size is not None}


def _alpha(pixels, rng):
    """A smooth or a hard-edged alpha plane for (H, W, 3) uint8."""
    plane = pixels.mean(2)
    return (plane if rng.integers(2) else 255 * (plane > 128)).astype(np.uint8)


def _deep(pixels):
    """(H, W, ...) uint8 -> uint16, smoothed: a mean of neighbours, in steps of 1/257 level."""
    wide = pixels.astype(np.float64)
    return (257 * (wide + np.roll(wide, 1, 0) + np.roll(wide, 1, 1)) / 3).astype("<u2")


MAKERS: dict[str, Callable] = {  # (H, W, 3) uint8, generator -> ImageData
    "RGB": lambda p, rng: ImageData("RGB", p),
    "RGBA": lambda p, rng: ImageData("RGBA", np.dstack([p, _alpha(p, rng)])),
    "L": lambda p, rng: ImageData("L", p[..., 1].copy()),
    "LA": lambda p, rng: ImageData("LA", np.dstack([p[..., 1], _alpha(p, rng)])),
    "1": lambda p, rng: ImageData("1", np.array(Image.fromarray(p).convert("1"), np.uint8)),
    "P": lambda p, rng: _palette(p, int(rng.integers(2, 257))),
    "CMYK": lambda p, rng: ImageData("CMYK", np.array(Image.fromarray(p).convert("CMYK"))),
    "YCbCr": lambda p, rng: ImageData("YCbCr", np.array(Image.fromarray(p).convert("YCbCr"))),
    "I;16": lambda p, rng: ImageData("I;16", _deep(p[..., 1])),
    "I": lambda p, rng: ImageData("I", _deep(p[..., 1]).astype("<i4")),
    "RGB;16": lambda p, rng: ImageData("RGB;16", _deep(p)),
    "RGBA;16": lambda p, rng: ImageData("RGBA;16", _deep(np.dstack([p, _alpha(p, rng)]))),
    "F": lambda p, rng: ImageData("F", (_deep(p[..., 1]) / np.float32(65535)).astype("<f4")),
}


def _palette(pixels, colours):
    image = Image.fromarray(pixels).quantize(colours)
    return ImageData("P", np.array(image), {"palette": bytes(image.getpalette() or [])})


def whole_images(folder: Path) -> Iterator[tuple[str, ImageData]]:
    """(name, image) of all files below a folder that are read."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
        try:
            image = read_image(path, path.name, allow_lossy=True).stripped()
        except UnsupportedImage:
            continue
        if image.height * image.width <= LARGEST:
            yield path.name, image


def random_crops(
    folders: list[Path], count: int, rng: np.random.Generator
) -> Iterator[tuple[str, ImageData]]:
    """(name, image): crops of random images, each mode in turn."""
    paths = sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    modes = list(MAKERS)
    for i in range(count):
        while True:
            path = paths[rng.integers(len(paths))]
            try:
                pixels = np.array(
                    to_image(read_image(path, path.name, allow_lossy=True)).convert("RGB")
                )
                break
            except (UnsupportedImage, OSError, ValueError):
                continue
        sides = [min(side, int(rng.integers(*SIDES))) for side in pixels.shape[:2]]
        top, left = (int(rng.integers(n - s + 1)) for n, s in zip(pixels.shape, sides))
        crop = np.ascontiguousarray(pixels[top : top + sides[0], left : left + sides[1]])
        yield f"{path.name} +{left}+{top}", MAKERS[modes[i % len(modes)]](crop, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--crops", type=int, default=208)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model")
    parser.add_argument("--fallback", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/promise"))
    args = parser.parse_args()
    table, broken = {}, []
    model = None if args.fallback else Model.open(args.model)
    if args.fallback:
        mode_decision.prior_possible = lambda image: False
    images = [pair for f in args.folders if f.name in WHOLE for pair in whole_images(f)]
    images += random_crops(args.folders, args.crops, np.random.default_rng(args.seed))
    for name, image in images:
        data, others = encode_image(image, model=model, verify=True), other_sizes(image)
        best = min(others, key=others.__getitem__, default="")
        row = table.setdefault(image.mode, [0, 0, 0, 0, 0, -(2**31)])
        row[0] += 1
        row[1] += bool(read_header(data).model)
        if best:
            row[2] += len(data)
            row[3] += others[best]
            row[4] += len(data) > others[best]
            row[5] = max(row[5], len(data) - others[best])
        if best and len(data) > others[best] + PROMISED:
            size = f"{image.width}x{image.height}"
            broken.append(f"{name}, {image.mode} {size}: {len(data)}, {best} {others[best]}")
            print("VIOLATION", broken[-1], flush=True)
    folders = " ".join(folder.name for folder in args.folders)
    lines = [
        f"python -m benchmarks.promise {folders} --crops {args.crops} --seed {args.seed}"
        f"{' --fallback' * args.fallback}   "
        f"({f'model {model.id[:16]}' if model else 'no model'}, Pillow {Image.__version__}, "
        f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()})",
        "",
        f"{len(images)} images, {len(broken)} of them more than {PROMISED} bytes larger than the "
        "smallest of PNG, WebP and JPEG XL e7.",
        "",
        "| mode | images | by the prior | bytes | smallest other | larger than it | most |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, (count, prior, ours, other, larger, most) in table.items():
        shown = f"{ours} | {other} | {larger} | {most:+d}" if other else " | | | "
        lines.append(f"| {mode} | {count} | {prior} | {shown} |")
    lines += ["", *(f"- {line}" for line in broken)] * bool(broken)
    text = "\n".join(lines) + "\n"
    print(text)
    args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
