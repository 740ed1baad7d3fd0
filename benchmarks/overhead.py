"""Cost of a real file beyond the prior's net rate: start, borders, header; and what lowers it.

    python -m benchmarks.overhead KODAK LARGE CIFAR.npy [--limit N] [-o benchmarks/results/overhead]
    python -m benchmarks.overhead KODAK --choices [--limit N]
                                  [-o benchmarks/results/overhead_choices]

The net rate here is stricter than `info`'s: the whole image as one segment on a stack with plenty
of bits, that is, without any border, and the side information (block means, flat map).  Files are
written, read back, decoded and compared.
"""

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.report import images_below, summary
from bitsback.codecs import archive, decoder, encoder, prior_codec, segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.borders import net_in_one_piece, one_piece
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.image import ImageData
from bitsback.coder import context
from bitsback.coder.model import Model
from bitsback.diffusion.levels import spaced
from bitsback.train.dequantise import dequantised_model
from bitsback.train.export import save_model

MAX_TOGETHER = 256  # small images in one segment


def image_bits(model: Model, pixels: np.ndarray) -> tuple[float, int, float]:
    """(net, real, peak debt) in bits of (H, W, 3) uint8.

    Net: without start, borders and header; peak debt: most bits borrowed at once.  The file is
    decoded and compared.
    """
    header = container.Header(
        (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels])
    )
    header, payload = prior_codec.encode_stack([pixels], header, model)
    data = container.write(header, payload)
    if not np.array_equal(decoder.decode(data, model=model), pixels):
        raise SystemExit("other pixels came back")
    images = [np.ascontiguousarray(segment_layout.turned(pixels, header.flips))]
    chain, _, top, masks, _ = prior_codec.open_stack(
        header, payload, model, [np.empty_like(images[0])]
    )
    net, debt = net_in_one_piece(chain, images[0], top, masks and masks[0], header.sharpness)
    return net + 8 * header.side_bytes, 8 * len(data), debt


def folder_row(model: Model, folder: Path, limit: int | None) -> str:
    """The row of a folder: net, real, overhead over all its images; the largest peak debt."""
    net = real = debt = dims = 0.0
    files = images_below(folder)[:limit]
    for path in files:
        pixels = np.array(Image.open(path).convert("RGB"))
        cost, bits, owed = image_bits(model, pixels)
        net, real, dims, debt = net + cost, real + bits, dims + pixels.size, max(debt, owed)
        print(path.name, f"net {net / dims:.4f} real {real / dims:.4f} so far", flush=True)
    return (
        f"| {folder.name} ({len(files)}) | {net / dims:.4f} | {real / dims:.4f} "
        f"| {100 * (real / net - 1):+.2f} % | {debt:.2f} |"
    )


def archive_net(model: Model, data: bytes, images: list[ImageData]) -> float:
    """Net bits of a group of an archive, or of one without groups; images: decoded from it.

    Images under the prior, at most MAX_TOGETHER of one size in a segment, their side information,
    and the fallback codec's streams of the others.
    """
    header, payload = container.read(data)
    views = [
        np.ascontiguousarray(segment_layout.turned(image.samples[..., : size[2]], header.flips))
        for image, size in zip(images[header.fallback_count :], header.sizes)
    ]
    chain, _, top, masks, _ = prior_codec.open_stack(
        header, payload, model, [np.empty_like(view) for view in views]
    )
    net = 8.0 * header.side_bytes
    net += sum(8 * len(encode_fallback(image.samples)) for image in images[: header.fallback_count])
    begin = 0
    while begin < len(views):
        height, width, channels = views[begin].shape
        end = begin + 1
        while (
            end < len(views)
            and end < begin + MAX_TOGETHER
            and views[end].shape == views[begin].shape
        ):
            end += 1
        at = top.at(segment_layout.Segment(begin, end - begin, 0, 0, height, width), channels)
        net += one_piece(chain, views[begin:end], at, masks and masks[begin:end], header.sharpness)[
            0
        ]
        begin = end
    return net


def archive_rows(model: Model, small: np.ndarray, counts: tuple[int, ...]) -> list[str]:
    """Rows of archives of N small images: net, real, overhead; and a line on files of one image.

    small: (N, 32, 32, 3) uint8.
    """
    rows = []
    for count in counts:
        images = list(small[:count])
        with tempfile.TemporaryDirectory() as folder:
            for i, pixels in enumerate(images):
                Image.fromarray(pixels).save(Path(folder) / f"{i:04d}.png")
            data, _ = archive.encode_archive([folder], model=model, tuning=0)
        header, back = decoder.decode_images(data, model=model)
        if not all(
            np.array_equal(back[i].samples, images[int(e.name[:4])])
            for i, e in enumerate(header.entries)
        ):
            raise SystemExit("other pixels came back")
        dims, net = small[0].size * count, 0.0
        for group in container.read_groups(data):
            end = group.first + (group.images or count)
            net += archive_net(model, group.of(data), back[group.first : end])
        coded = "prior" if header.model else "fallback codec"
        rows.append(
            f"| archive of {count} ({coded}) | {net / dims:.4f} | {8 * len(data) / dims:.4f} "
            f"| {100 * (8 * len(data) / net - 1):+.2f} % | |"
        )
        print(rows[-1], flush=True)
    worst = max(len(encoder.encode(p, model=model)) - len(encode_fallback(p)) for p in small[:100])
    rows.append(
        f"\nSingle 32x32 images, the first 100, each a file: at most {worst} bytes more than the "
        "fallback codec's smallest stream."
    )
    return rows


def choices(model: Model, folder: Path, limit: int | None) -> list[str]:
    """Rows by lattice spacing, side of the start, rows of context: peak debt, net and real rate."""
    network = dequantised_model(model)
    images = [np.array(Image.open(p).convert("RGB")) for p in images_below(folder)[:limit]]
    rows: list[str] = []

    def add(name: str, model: Model) -> None:
        dims = sum(p.size for p in images)
        nets, reals, debts = zip(*(image_bits(model, p) for p in images))
        net, real = sum(nets), sum(reals)
        rows.append(
            f"| {name} | {max(debts):.2f} | {net / dims:.4f} | {real / dims:.4f} "
            f"| {100 * (real / net - 1):+.2f} % |"
        )
        print(rows[-1], flush=True)

    add("as shipped", model)
    with tempfile.TemporaryDirectory() as folder_:
        path = Path(folder_) / "m.safetensors"
        for coarseness in (0.6, 0.85, 1.7):
            save_model(path, network, spaced(coarseness=coarseness), {})
            add(f"spacing at most {coarseness} sigma (shipped: 1.2)", Model(path))
    shipped_rows = context.CONTEXT_ROWS
    for side in (16, 24, 32, 64):
        with patch.object(prior_codec, "START_SIDES", ((8, side),)):
            add(f"start of {side}x{side}", model)
    for count in (0, 8, 32):
        with patch.object(context, "CONTEXT_ROWS", count):
            add(f"{count} rows of context (shipped: {shipped_rows})", model)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--choices", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Model.open(args.model)
    command = (
        "python -m benchmarks.overhead "
        + " ".join(f.name for f in args.folders)
        + (f" --limit {args.limit}" if args.limit else "")
    )
    if args.choices:
        head = (
            f"{command} --choices   (model {model.id[:16]}, not tuned)\n\n"
            "| choice | peak debt, bits/dim | net | real | overhead |\n|---|---|---|---|---|"
        )
        rows = choices(model, args.folders[0], args.limit)
    else:
        head = (
            f"{command}   (model {model.id[:16]}, not tuned)\n\n"
            "| images | net bits/dim | real file | overhead | peak debt |\n|---|---|---|---|---|"
        )
        rows = [folder_row(model, folder, args.limit) for folder in args.folders if folder.is_dir()]
        for path in (f for f in args.folders if f.suffix == ".npy"):
            rows += archive_rows(model, np.load(path), (10, 100, 846))
    text = "\n".join([head, *rows]) + "\n"
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
