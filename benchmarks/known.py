"""What flat map and colour counts gain: images coded with neither, either and both, and decoded.

python -m benchmarks.known IMAGE... [-o benchmarks/results/known.md]
"""

import argparse
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.report import summary
from bitsback.codecs import decode, flat_map, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.sections import Tag
from bitsback.coder.model import Model

# (without flat map, without colour counts)
LEFT_OUT = {
    "neither": (True, True),
    "flat map": (False, True),
    "colour counts": (True, False),
    "both": (False, False),
}


def coded(
    pixels: np.ndarray, model: Model, no_flats: bool, no_colours: bool
) -> tuple[float, float, Header]:
    """(bits a dimension, seconds to encode, Header) of an image under the prior, not tuned."""
    header = Header((Entry(pixels.shape[1], pixels.shape[0]),), pixel_digest([pixels]))
    begin = time.perf_counter()
    with (
        patch.object(flat_map, "begin", (lambda *_: (bytes, None)) if no_flats else flat_map.begin),
        patch.object(
            prior_codec, "sharpness_of", (lambda *_: 0) if no_colours else prior_codec.sharpness_of
        ),
    ):
        data = container.write(*prior_codec.encode_stack([pixels], header, model))
    seconds = time.perf_counter() - begin
    if not np.array_equal(decode(data, model=model), pixels):
        raise SystemExit("other pixels came back")
    return 8 * len(data) / pixels.size, seconds, container.read_header(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Model.open()
    lines = [
        "| image | "
        + " | ".join(LEFT_OUT)
        + " | both save | flat map, bits/dim | sharpness | seconds, neither and both |",
        "|---" * (len(LEFT_OUT) + 5) + "|",
    ]
    for path in args.images:
        pixels = np.array(Image.open(path).convert("RGB"))
        results = [coded(pixels, model, *left_out) for left_out in LEFT_OUT.values()]
        (first, begun, _), (last, ended, header) = results[0], results[-1]
        lines.append(
            f"| {path.name} | "
            + " | ".join(f"{rate:.4f}" for rate, _, _ in results)
            + f" | {100 * (1 - last / first):.1f} % "
            f"| {8 * len(header.section(Tag.FLAT_MAP)) / pixels.size:.4f} "
            f"| {header.sharpness} | {begun:.0f}, {ended:.0f} |"
        )
        print(lines[-1], flush=True)
    text = (
        f"python -m benchmarks.known {' '.join(path.name for path in args.images)}   "
        f"(model {model.id[:16]}, not tuned, bits/dim of whole files)\n\n" + "\n".join(lines) + "\n"
    )
    if args.output:
        args.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
