"""What the groups of an archive cost, and how fast images are read from them.

    python -m benchmarks.groups CIFAR.npy [--limit N] [--model NAME]
                                [-o benchmarks/results/groups]

The same small images as one group and as those of codecs/groups.py; then read through
bitsback.Archive in random order, against decoding the file as a whole.  All are compared.
"""

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.report import summary
from bitsback import Archive
from bitsback.codecs import Encoder, decoder, groups
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model


def archive_of(pixels: np.ndarray, model: Model, one_group: bool) -> bytes:
    """(N, H, W, 3) uint8 -> the bytes of an archive, named by number."""
    images = [ImageData("RGB", one, source="PNG") for one in pixels]
    entries = tuple(Entry(s.width, s.height, f"{i:05d}.png") for i, s in enumerate(images))
    whole = patch.object(groups, "split_images", lambda sizes: [range(len(sizes))])
    if not one_group:
        return groups.encode_groups(images, entries, Encoder(model))
    with whole:
        return groups.encode_groups(images, entries, Encoder(model))


def read_times(data: bytes, model: Model, pixels: np.ndarray) -> tuple[float, float]:
    """(CPU seconds to decode the whole file, those to read every image in random order)."""
    begin = time.process_time()
    header, images = decoder.decode_images(data, model=model)
    whole = time.process_time() - begin
    for entry, image in zip(header.entries, images):
        if not np.array_equal(image.samples, pixels[int(entry.name[:5])]):
            raise SystemExit("other pixels came back")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.bbk"
        path.write_bytes(data)
        archive = Archive(path, model=model)
        begin = time.process_time()
        for i in np.random.default_rng(0).permutation(len(archive)).tolist():
            if not np.array_equal(archive[i], pixels[int(archive.names[i][:5])]):
                raise SystemExit("other pixels came back")
        return whole, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("images", type=Path, help="NumPy file of (N, H, W, 3) uint8")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model", default="default")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pixels, model = np.load(args.images)[: args.limit], Model.open(args.model)
    one, many = (archive_of(pixels, model, whole) for whole in (True, False))
    whole, random = read_times(many, model, pixels)
    limit = f" --limit {args.limit}" if args.limit else ""
    text = (
        f"python -m benchmarks.groups {args.images.name}{limit} --model {args.model}   "
        f"({len(pixels)} images, model {model.id[:16]}, one thread)\n\n"
        "| | bytes | bits/dim |\n|---|---|---|\n"
        f"| one group | {len(one)} | {8 * len(one) / pixels.size:.4f} |\n"
        f"| {len(container.read_groups(many))} groups | {len(many)} "
        f"| {8 * len(many) / pixels.size:.4f} |\n\n"
        f"Groups cost {100 * (len(many) / len(one) - 1):+.2f} %. Decoded as a whole in {whole:.1f} "
        f"s; each image read once in random order in {random:.1f} s, {100 * whole / random:.0f} % "
        "of that speed (CPU time).\n"
    )
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
