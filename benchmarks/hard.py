"""Images that are not photographs: the .bbk file against Pillow's best PNG and lossless WebP.

    python -m benchmarks.hard DIR [--model NAME] [-o benchmarks/results/hard]

WebP counts where it has the mode (RGB, RGBA); where it would convert the image, its size is in
brackets.  Every file is decoded and compared.
"""

import argparse
import io
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.report import summary
from bitsback.codecs import encode_image, read_header
from bitsback.codecs.formats.image_files import read_image, to_image
from bitsback.coder.model import Model


def size_of(image: Image.Image, **options: Any) -> int:
    """Size in bytes of the file that Pillow writes."""
    out = io.BytesIO()
    image.save(out, **options)
    return len(out.getvalue())


def sizes(path: Path, model: Model) -> tuple[str, str, int, int, int, bool, str]:
    """(file, mode, bytes of ours, PNG, WebP, whether WebP has the mode, codec) of one image."""
    image = read_image(path, path.name).stripped()
    pillow = to_image(image)
    alpha = "A" in image.mode or "transparency" in image.look
    shown = pillow if image.mode in ("RGB", "RGBA") else pillow.convert("RGBA" if alpha else "RGB")
    png = size_of(pillow, format="PNG", optimize=True)
    webp = min(
        size_of(shown, format="WEBP", lossless=True, exact=True, **effort)
        for effort in ({"quality": 100, "method": 6}, {"quality": 75, "method": 4})
    )
    data = encode_image(image, model=model, verify=True)
    return (
        path.name,
        image.mode,
        len(data),
        png,
        webp,
        shown is pillow,
        "prior" if read_header(data).model else "fallback codec",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/hard"))
    args = parser.parse_args()
    model = Model.open(args.model)
    lines = [
        f"python -m benchmarks.hard {args.folder.name}   "
        f"(model {model.id[:16]}, Pillow {Image.__version__})",
        "",
        "| file | mode | bitsback | PNG | WebP | against the smaller | coded by |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(
        p for p in args.folder.iterdir() if p.suffix in (".png", ".webp", ".tif", ".bmp")
    ):
        name, mode, ours, png, webp, holds, codec = sizes(path, model)
        best = min(png, webp) if holds else png
        lines.append(
            f"| {name} | {mode} | {ours} | {png} | {webp if holds else f'({webp})'} "
            f"| {ours - best:+d} | {codec} |"
        )
        print(lines[-1], flush=True)
    args.output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
