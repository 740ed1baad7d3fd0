"""What each kind of image costs: bitsback beside JPEG XL, WebP and PNG.

    python -m benchmarks.kinds DATA [--model NAME] [--count 8] [-o benchmarks/results/kinds]

DATA holds the folders valid, train2 and hard.  Of each kind at most --count images, the middle
256x256 of each (of screenshots and drawings 320x320):

    photographs, reduced     valid, the first ones
    photographs, full size   every 56th of train2, by name: of every 14th, which no model was
                             trained on, every fourth
    JPEG-born                valid, as JPEG of quality 90 and back
    gray                     valid
    16 bits                  valid, reduced by two in linear light, RGB
    screenshots, drawings    hard
    alpha                    valid, with an alpha plane: half of them smooth, half with hard edges;
                             and the icon of hard

Every file is decoded and compared.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.report import summary
from bitsback.codecs import encode_image, read_header
from bitsback.codecs.formats.image_files import image_bytes
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model

SIDE, LARGER = 256, 320
EIGHT_BITS = "RGB", "RGBA", "L"


def middle(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The middle of an image, at most side x side."""
    top, left = (max(0, length - side) // 2 for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def opened(path: Path) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.array(Image.open(path).convert("RGB"))


def through_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Pixels after a JPEG of quality 90, colours at half resolution."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return np.array(Image.open(out))


def halved(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> half the size in linear light, uint16, sRGB's curve again."""
    value = pixels / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    size = pixels.shape[1] // 2, pixels.shape[0] // 2
    planes = [Image.fromarray(linear[..., c].astype(np.float32)) for c in range(3)]
    small = np.stack([np.array(p.resize(size, Image.Resampling.LANCZOS)) for p in planes], -1)
    small = small.clip(0, 1).astype(np.float64)
    curved = np.where(small <= 0.0031308, 12.92 * small, 1.055 * small ** (1 / 2.4) - 0.055)
    return np.rint(65535 * curved).astype("<u2")


def with_alpha(pixels: np.ndarray, hard: int) -> ImageData:
    """An alpha plane that falls off from the middle, or a disk with hard edges."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(y - pixels.shape[0] / 2, x - pixels.shape[1] / 2)
    plane = 255 * (distance < 100) if hard else np.clip(355 - 2 * distance, 0, 255)
    return ImageData("RGBA", np.dstack([pixels, plane.astype(np.uint8)]))


def hard_images(folder: Path, begin: str) -> list[ImageData]:
    """The middle of screenshots or drawings, in their modes."""
    found = []
    for path in sorted(folder.glob(begin + "*")):
        image = Image.open(path)
        if image.mode in EIGHT_BITS and "noise" not in path.name and "icon" not in path.name:
            found.append(ImageData(image.mode, middle(np.array(image), LARGER)))
    return found


def kinds(data: Path, count: int) -> dict[str, list[ImageData]]:
    """{kind: images}"""
    valid = sorted((data / "valid").glob("*.webp"))
    each: Callable = lambda begin: [opened(p) for p in valid[begin : begin + count]]  # noqa: E731
    rgb = lambda images: [ImageData("RGB", middle(p)) for p in images]  # noqa: E731
    full = [opened(p) for p in sorted((data / "train2").glob("*.webp"))[::56][:count]]
    icon = ImageData("RGBA", np.array(Image.open(data / "hard" / "made_icon_rgba.png")))
    return {
        "photographs, reduced": rgb(each(0)),
        "photographs, full size": rgb(full),
        "JPEG-born": rgb([through_jpeg(p) for p in each(8)]),
        "gray": [
            ImageData("L", middle(np.array(Image.fromarray(p).convert("L")))) for p in each(16)
        ],
        "16 bits": [ImageData("RGB;16", middle(halved(p))) for p in each(24)],
        "screenshots": hard_images(data / "hard", "screenshot")[:count],
        "drawings": hard_images(data / "hard", "made")[:count],
        "alpha": [icon, *(with_alpha(middle(p), i % 2) for i, p in enumerate(each(32)[:-1]))],
    }


def webp_bytes(image: ImageData) -> int | None:
    """Lossless WebP of most effort; None of 16 bits."""
    if image.mode not in EIGHT_BITS:
        return None
    out = io.BytesIO()
    options = {"lossless": True, "exact": True, "quality": 100, "method": 6}
    Image.fromarray(image.samples).save(out, "WEBP", **options)
    return len(out.getvalue())


def jxl_bytes(image: ImageData, effort: int) -> int:
    """Bare JPEG XL."""
    options = {"lossless": True, "effort": effort, "usecontainer": False, "numthreads": 1}
    return len(imagecodecs.jpegxl_encode(image.samples, **options))


def row(images: list[ImageData], model: Model) -> str:
    """Bits a dimension of each codec, ratio to JPEG XL e9, and how many the prior codes."""
    files = [encode_image(image, model=model, verify=True) for image in images]
    dims = sum(image.samples.size for image in images)
    webp = [webp_bytes(image) for image in images]
    sizes = [
        sum(map(len, files)),
        *(sum(jxl_bytes(image, effort) for image in images) for effort in (9, 7)),
        sum(n for n in webp if n) if all(webp) else None,
        sum(len(image_bytes(image, "PNG", "x.png")[0]) for image in images),
    ]
    prior = sum(bool(read_header(data).model) for data in files)
    rates = [f"{8 * size / dims:.3f}" if size else "" for size in sizes]
    return " | ".join(
        [str(len(images)), str(prior), *rates, f"{(sizes[0] or 0) / (sizes[1] or 1):.3f}"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/kinds"))
    args = parser.parse_args()
    model = Model.open(args.model)
    lines = [
        f"python -m benchmarks.kinds DATA --count {args.count}   (model {model.id[:16]}, "
        f"Pillow {Image.__version__}, {imagecodecs.jpegxl_version()}; bits/dim)",
        "",
        "| kind | images | by the prior | bitsback | JPEG XL e9 | JPEG XL e7 | WebP | PNG "
        "| bitsback / e9 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, images in kinds(args.data, args.count).items():
        lines.append(f"| {kind} | {row(images, model)} |")
        print(lines[-1], flush=True)
        args.output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
