"""Size and time by effort: what each of `-e` costs and buys, on real files.

    python -m benchmarks.efforts IMAGE... [--efforts fast,max] [-o benchmarks/results/efforts]

Each file is written, read back, decoded and compared.  Seconds are of encoding without the comparison with fallback codec, and of decoding,
one thread, a megapixel; other work on the machine included.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitsback.codecs import decode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.coder.model import Model
from bitsback.efforts import EFFORTS, effort_name


def coded(pixels, model, tuning, path):
    """(bytes, seconds to encode, seconds to decode, bits of deltas) of one image under the prior."""
    header, begin = (
        Header((Entry(pixels.shape[1], pixels.shape[0]),), pixel_digest([pixels])),
        time.perf_counter(),
    )
    header, payload = prior_codec.encode_stack([pixels], header, model, tuning=tuning)
    encoded = time.perf_counter()
    path.write_bytes(container.write(header, payload))
    data, read = path.read_bytes(), time.perf_counter()
    if not np.array_equal(decode(data, model=model), pixels):
        raise SystemExit(f"{path}: other pixels came back")
    return len(data), encoded - begin, time.perf_counter() - read, header.tuned_bits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
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
        "| effort | model | steps | bits/dim | of it deltas | encode s/MP | decode s/MP |",
        "|---|---|---|---|---|---|---|",
    ]
    for effort in efforts:
        name, tuning = EFFORTS[effort]
        with tempfile.TemporaryDirectory() as folder:
            size, encode, decoding, deltas = map(
                sum,
                zip(
                    *(coded(image, models[name], tuning, Path(folder, "x.bbk")) for image in images)
                ),
            )
        lines.append(
            f"| {effort} | {name} | {tuning} | {8 * size / dims:.4f} | {deltas / dims:.4f} | {3e6 * encode / dims:.1f} | {3e6 * decoding / dims:.1f} |"
        )
        print(lines[-1], flush=True)
    text = (
        f"python -m benchmarks.efforts {' '.join(path.name for path in args.images)} --efforts {args.efforts}   ("
        + ", ".join(f"{name} {model.id[:16]}" for name, model in models.items())
        + ", one thread of a busy machine)\n\n"
        + "\n".join(lines)
        + "\n"
    )
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
