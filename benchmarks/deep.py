"""16-bit photographs, made from 8-bit ones: this codec against JPEG XL and PNG.

    python -m benchmarks.deep DIR [--every N] [--limit N] [--model NAME] [-o RESULT]

Each image of DIR is reduced by 2 in linear light (LANCZOS) and rounded to 16 bits; then it is cut
to 12 bits on top of 16, and 10 bits below, and its green is taken alone.  "Told" is JPEG XL given
the numbers that the 16 bits are made of and how many bits they have, which nobody tells it about a
file; "smaller" is the smaller of bitsback and JPEG XL e9, image by image.  Every file is decoded
and compared.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.report import images_below, summary, table
from bitsback.codecs import ImageData, decode_image, encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import same
from bitsback.coder.model import Model

EFFORT = 9
CLASSES = ((9.0, "under 9"), (10.5, "9 to 10.5"), (17.0, "over 10.5"))  # bits/dim by JPEG XL
CODECS = ("bitsback", "JPEG XL e9", "told", "PNG")


def linear_light(pixels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in 0..1, by the transfer function of sRGB (IEC 61966-2-1)."""
    value = pixels / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype("f4")


def encoded(light: np.ndarray) -> np.ndarray:
    """The inverse of linear_light, float64 in 0..1."""
    light = np.clip(light, 0, 1).astype(float)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def halved(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 -> (H // 2, W // 2, C) uint16."""
    height, width = (side // 2 for side in pixels.shape[:2])
    light = linear_light(pixels[: 2 * height, : 2 * width])
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
        for plane in np.ascontiguousarray(light.transpose(2, 0, 1))
    ]
    return np.rint(encoded(np.stack(planes, -1)) * 65535).astype(np.uint16)


def kinds(pixels: np.ndarray) -> Iterator[tuple[str, ImageData]]:
    """(name, image) of the 16-bit images made of one of 8 bits."""
    deep = halved(pixels)
    yield "16 bits", ImageData("RGB;16", deep)
    yield "12 bits on top", ImageData("RGB;16", deep >> 4 << 4)
    yield "10 bits below", ImageData("RGB;16", deep >> 6)
    yield "gray, 16 bits", ImageData("I;16", np.ascontiguousarray(deep[..., 1]))


def measure(image: ImageData, model: Model) -> dict[str, Any]:
    """Bytes by each codec, and whether the prior was used.  Errors: SystemExit where one loses."""
    data = encode_image(image, model=model)
    jxl = imagecodecs.jpegxl_encode(image.samples, lossless=True, effort=EFFORT, numthreads=1)
    told, png = jxl, imagecodecs.png_encode(image.samples, level=9)
    depth, numbers = image.depth, image.numbers
    if depth and numbers is not None and 8 < depth.bits < 16:
        shown = numbers.reshape(image.samples.shape)
        told = imagecodecs.jpegxl_encode(
            shown, lossless=True, effort=EFFORT, bitspersample=depth.bits, numthreads=1
        )
        if not np.array_equal(imagecodecs.jpegxl_decode(told), shown):
            raise SystemExit("JPEG XL returned other samples")
    decoded = imagecodecs.jpegxl_decode(jxl), imagecodecs.png_decode(png)
    lossless = all(np.array_equal(one, image.samples) for one in decoded)
    if not same(decode_image(data, model=model), image) or not lossless:
        raise SystemExit("other samples came back")
    sizes = dict(zip(CODECS, map(len, (data, jxl, told, png))))
    return {
        **sizes,
        "samples": image.samples.size,
        "prior": bool(container.read_header(data).model),
    }


def summed(results: list[dict[str, Any]]) -> list[str]:
    """Bits per dimension of some images by each codec, and ratios."""
    samples, ours, jxl, told = (
        sum(one[key] for one in results) for key in ("samples", "bitsback", "JPEG XL e9", "told")
    )
    smaller = sum(min(one["bitsback"], one["JPEG XL e9"]) for one in results)
    rates = [f"{8 * sum(one[key] for one in results) / samples:.3f}" for key in CODECS]
    ratios = [f"{size / other:.3f}" for size, other in ((ours, jxl), (ours, told), (smaller, jxl))]
    wins = sum(one["bitsback"] < one["JPEG XL e9"] for one in results)
    return [str(len(results)), *rates, *ratios, str(wins)]


def report(results: list[dict[str, Any]]) -> str:
    """The table: by kind, and by the rate of JPEG XL on the image in 16 bits."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in results):
        chosen, low = [one for one in results if one["kind"] == kind], 0.0
        for high, name in CLASSES:
            part = [one for one in chosen if low <= one["class"] < high]
            rows += [[kind, name, *summed(part)]] if part else []
            low = high
        rows.append([kind, "all", *summed(chosen)])
    head = ["kind", "JXL e9, bits/dim in 16 bits", "images", *CODECS]
    ratios = ["ours / e9", "ours / told", "smaller / e9", "ours smaller than e9"]
    return table([*head, *ratios], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every n-th image by name")
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--model", help="name of a shipped model, or a path")
    parser.add_argument("-o", "--output", type=Path, help="write RESULT.md and RESULT.json")
    arguments = parser.parse_args()
    model, results = Model.open(arguments.model), []
    for file in images_below(arguments.folder)[:: arguments.every][: arguments.limit]:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        level = 0.0
        for kind, image in kinds(pixels):
            one = {"name": file.name, "kind": kind, **measure(image, model)}
            level = level or 8 * one["JPEG XL e9"] / one["samples"]
            results.append({**one, "class": level})
            print(json.dumps(results[-1]), flush=True)
    text = report(results)
    print(text)
    if arguments.output:
        options = {
            "--every": arguments.every if arguments.every > 1 else None,
            "--limit": arguments.limit,
            "--model": arguments.model,
        }
        told = "".join(f" {key} {value}" for key, value in options.items() if value)
        folder = arguments.folder.name.upper()
        command = f"python -m benchmarks.deep {folder}{told} -o {arguments.output}"
        about = (__doc__ or "").split("\n\n")[2].strip()
        intro = (
            f"{command}   (model {model.id[:16]}, imagecodecs {imagecodecs.__version__}; bits per "
            f"dimension)\n\n{about}\n\n"
        )
        kept = {"command": command, "model": model.id, "rows": results}
        arguments.output.with_suffix(".md").write_text(intro + text)
        arguments.output.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
