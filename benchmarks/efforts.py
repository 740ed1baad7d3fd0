"""Size and time by effort: what each of `-e` costs and buys, on real files.

    python -m benchmarks.efforts IMAGE... [--efforts fast,max] [-o benchmarks/results/efforts]

Each file is written, read back, decoded and compared.  Seconds a megapixel are of encoding without
the fallback codec, and of decoding, one thread; other work on the machine included.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.report import summary
from bitsback.codecs import decode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.sections import Tag
from bitsback.coder.model import Model
from bitsback.efforts import EFFORTS, effort_name


def coded(
    pixels: np.ndarray, model: Model, tuning: int, path: Path
) -> tuple[int, float, float, float]:
    """(bytes, seconds to encode and to decode, bits of bias updates) of an image under the prior.

    tuning: steps; path: of the file to write.
    """
    header = Header((Entry(pixels.shape[1], pixels.shape[0]),), pixel_digest([pixels]))
    begin = time.perf_counter()
    header, payload = prior_codec.encode_stack([pixels], header, model, tuning=tuning)
    encoded = time.perf_counter()
    path.write_bytes(container.write(header, payload))
    data, read = path.read_bytes(), time.perf_counter()
    if not np.array_equal(decode(data, model=model), pixels):
        raise SystemExit(f"{path}: other pixels came back")
    return (
        len(data),
        encoded - begin,
        time.perf_counter() - read,
        8 * len(header.section(Tag.BIAS_UPDATES)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--efforts", default=",".join(EFFORTS))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = [np.array(Image.open(path).convert("RGB")) for path in args.images]
    dims = sum(image.size for image in images)
    efforts = [effort_name(text) for text in args.efforts.split(",")]
    names = dict.fromkeys(EFFORTS[effort].model for effort in efforts)
    models = {name: Model.open(name) for name in names}
    lines = [
        "| effort | model | steps | bits/dim | of it bias updates | encode s/MP | decode s/MP |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:  # loops are compiled and convolutions tested once
        for model in models.values():
            coded(images[0][:64, :64], model, 0, Path(folder, "x.bbk"))
    for effort in efforts:
        name, tuning = EFFORTS[effort].model, EFFORTS[effort].tuning
        with tempfile.TemporaryDirectory() as folder:
            size, encoding, decoding, updates = map(
                sum,
                zip(
                    *(coded(image, models[name], tuning, Path(folder, "x.bbk")) for image in images)
                ),
            )
        lines.append(
            f"| {effort} | {name} | {tuning} | {8 * size / dims:.4f} | {updates / dims:.4f} "
            f"| {3e6 * encoding / dims:.1f} | {3e6 * decoding / dims:.1f} |"
        )
        print(lines[-1], flush=True)
    text = (
        f"python -m benchmarks.efforts {' '.join(path.name for path in args.images)} "
        f"--efforts {args.efforts}   ("
        + ", ".join(f"{name} {model.id[:16]}" for name, model in models.items())
        + ", one thread of a busy machine)\n\n"
        + "\n".join(lines)
        + "\n"
    )
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
