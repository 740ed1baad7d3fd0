"""What a real file costs beyond the prior's net rate: start, borders, header; and what lowers it.

    python -m benchmarks.overhead KODAK LARGE CIFAR.npy [--limit N] [-o benchmarks/results/overhead]
    python -m benchmarks.overhead KODAK --choices CHECKPOINT [--limit N] [-o benchmarks/results/overhead_choices]

Net here is stricter than `info`'s: the whole picture as one segment on a stack with plenty of bits, that
is, without any border.  Files are written, read back, decoded and compared.
"""
import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from bitsback import context
from bitsback.chain import Top
from bitsback.codecs import archive, container, picture, places, stacked
from bitsback.codecs.borders import one_piece
from bitsback.codecs.plain import encode_plain
from bitsback.levels import spaced
from bitsback.model import Model
from bitsback.training import read_checkpoint
from bitsback.weights import save_model


def net_bits(model, images):
    """(growth, peak debt) in bits of images of one size, coded as one segment."""
    return one_piece(model.chain(), images, Top.fitted(images, model.levels))


def file_bits(model, images):
    """Bits of the file under the prior, after it was decoded and compared.  (bits, Header)"""
    entries = tuple(container.Entry(p.shape[1], p.shape[0]) for p in images)
    header = container.Header(entries, container.pixel_digest(images))
    if len(images) > 1:
        raise SystemExit("one picture a file here; archives go through codecs.archive")
    result = stacked.encode_stack(images, header, model)
    if not result:
        return None, None
    data = container.write(*result)
    if not np.array_equal(picture.decode(data, model=model), images[0]):
        raise SystemExit("other pixels came back")
    return 8 * len(data), result[0]


def picture_rows(model, folder, limit):
    """One row a folder: net, real, overhead, over all its pictures."""
    net = real = debt = dims = 0
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in (".png", ".webp"))[:limit]
    for path in files:
        pixels = np.array(Image.open(path).convert("RGB"))
        rows = max(8, places.LIMIT // pixels.shape[1] // 8 * 8)           # a net rate in pieces that fit memory
        for begin in range(0, len(pixels), rows):
            growth, owed = net_bits(model, [pixels[begin:begin + rows]])
            net, debt = net + growth, max(debt, owed / pixels[begin:begin + rows].size)
        bits, _ = file_bits(model, [pixels])
        real, dims = real + bits, dims + pixels.size
        print(path.name, f"net {net / dims:.4f} real {real / dims:.4f} so far", flush=True)
    return f"| {Path(folder).name} ({len(files)}) | {net / dims:.4f} | {real / dims:.4f} | {100 * (real / net - 1):+.2f} % | {debt:.2f} |"


def archive_rows(model, small, counts):
    """Archives of N small pictures: net, real, overhead; and the single picture against PNG and WebP."""
    rows = []
    for count in counts:
        images = list(small[:count])
        net = sum(net_bits(model, images[i:i + 256])[0] for i in range(0, count, 256))
        with tempfile.TemporaryDirectory() as folder:
            for i, pixels in enumerate(images):
                Image.fromarray(pixels).save(Path(folder) / f"{i:04d}.png")
            data, _ = archive.encode_archive([folder], model=model, tuning=0)
        header, back = picture.decode_stills(data, model=model)
        if not all(np.array_equal(back[i].samples, images[int(e.name[:4])]) for i, e in enumerate(header.entries)):
            raise SystemExit("other pixels came back")
        dims = small[0].size * count
        coded = "prior" if header.model else "plain"
        rows.append(f"| archive of {count} ({coded}) | {net / dims:.4f} | {8 * len(data) / dims:.4f} | {100 * (8 * len(data) / net - 1):+.2f} % | |")
        print(rows[-1], flush=True)
    worst = max(len(picture.encode(p, model=model)) - len(encode_plain(p)) for p in small[:100])
    rows.append(f"\nSingle 32x32 pictures, the first 100, each a file: at most {worst} bytes more than the smallest bare stream of conventional coding.")
    return rows


def choices(checkpoint, folder, limit):
    """Lattice coarseness, strip share, context rows: peak debt, net and real rate of each."""
    network, _ = read_checkpoint(checkpoint)
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in (".png", ".webp"))[:limit]
    pictures = [np.array(Image.open(path).convert("RGB")) for path in files]
    rows = []

    def row(name, model):
        dims = sum(p.size for p in pictures)
        nets = [net_bits(model, [p]) for p in pictures]
        real = sum(file_bits(model, [p])[0] for p in pictures)
        net, debt = sum(n for n, _ in nets), sum(d for _, d in nets)
        rows.append(f"| {name} | {debt / dims:.2f} | {net / dims:.4f} | {real / dims:.4f} | {100 * (real / net - 1):+.2f} % |")
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder_:
        path = Path(folder_) / "m.safetensors"
        for coarseness in (0.6, 0.85, 1.2, 1.7):
            save_model(path, network, spaced(coarseness=coarseness), {})
            row(f"spacing at most {coarseness} sigma", Model(path))
        save_model(path, network, spaced(), {})
        model = Model(path)
        for share in (8, 16, 64):
            with patch.object(picture, "STRIP_SHARE", share):
                row(f"strip 1/{share} of the rows (default 1/32)", model)
        for count in (0, 8, 64):
            with patch.object(context, "ROWS", count):
                row(f"{count} rows of context (default 32)", model)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--choices", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = "python -m benchmarks.overhead " + " ".join(f.name for f in args.folders) + (f" --limit {args.limit}" if args.limit else "")
    if args.choices:
        head = f"{command} --choices CHECKPOINT\n\n| choice | peak debt, bits/dim | net | real | overhead |\n|---|---|---|---|---|"
        rows = choices(args.choices, args.folders[0], args.limit)
    else:
        model = Model.open(args.model)
        head = f"{command}   (model {model.id[:16]})\n\n| pictures | net bits/dim | real file | overhead | peak debt |\n|---|---|---|---|---|"
        rows = [picture_rows(model, folder, args.limit) for folder in args.folders if folder.is_dir()]
        for path in (f for f in args.folders if f.suffix == ".npy"):
            rows += archive_rows(model, np.load(path), (10, 100, 846))
    text = "\n".join([head, *rows]) + "\n"
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
