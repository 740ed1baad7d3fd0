"""Bits per dimension of real files: this codec against the ones people would use instead.

    python -m benchmarks.rate DIR [--limit N] [--every N] [-e EFFORT] [--model NAME] [--gray] [-o benchmarks/results/NAME]

The other codecs' rows do not depend on the model: `--others FILE.json` takes them from an earlier
run (made with --no-ours), so that a new model costs its own time only.  Every file is written, read back, decoded and compared with the pixels that went in; a codec that
returns other pixels stops the run.  Seconds are of one process on this machine, other work
included: compare columns of one run, not runs.
"""

import argparse
import io
import json
import platform
import time
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from PIL import Image

from bitsback.codecs import ImageData, decode_image, encode_image
from bitsback.codecs.bitstream import container
from bitsback.coder.model import Model
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS, effort_name


def _pillow(**options):
    def write(pixels):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, **options)
        return out.getvalue()

    return write, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def _jxl(effort):
    return (
        lambda pixels: imagecodecs.jpegxl_encode(
            pixels, lossless=True, effort=effort, numthreads=1
        ),
        lambda data: imagecodecs.jpegxl_decode(data, numthreads=1),
    )


def ours(model, tuning, mode):
    """(write, read) of this codec, for arrays of one mode."""
    return (
        lambda pixels: encode_image(ImageData(mode, pixels), model=model, tuning=tuning),
        lambda data: decode_image(data, model=model).samples,
    )


OTHERS = {
    "PNG": _pillow(format="PNG", optimize=True),
    "WebP": _pillow(format="WEBP", lossless=True, quality=100, method=6, exact=True),
    "JPEG 2000": (
        lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, numthreads=1),
        imagecodecs.jpeg2k_decode,
    ),
    "JPEG XL e7": _jxl(7),
    "JPEG XL e9": _jxl(9),
}


def measure(codec, pixels, folder, name):
    """Writes, reads back and compares one image: {"bytes", "encode_s", "decode_s"} and the bytes."""
    write, read = codec
    begin = time.perf_counter()
    data = write(pixels)
    middle = time.perf_counter()
    path = folder / name
    path.write_bytes(data)
    data = path.read_bytes()
    path.unlink()
    begin_read = time.perf_counter()
    restored = read(data)
    end = time.perf_counter()
    if restored.ndim > pixels.ndim:  # WebP has no gray: three equal channels
        restored = restored[..., 0]
    if not np.array_equal(restored, pixels):
        raise SystemExit(f"{name}: other pixels came back")
    return {"bytes": len(data), "encode_s": middle - begin, "decode_s": end - begin_read}, data


def run(files, model, folder, known, tuning=0, mode="RGB"):
    """One row an image: name, dims, and per codec bytes and seconds.

    model: None leaves ours out; known: {file name: row} of an earlier run, whose other codecs are taken over;
    tuning: steps; mode: images are converted to it.
    """
    rows = []
    for path in files:
        pixels = np.array(Image.open(path).convert(mode))
        row = {"file": path.name, "dims": pixels.size, "pixels": pixels.shape[0] * pixels.shape[1]}
        codecs = {"bitsback": ours(model, tuning, mode)} if model else {}
        codecs |= {
            name: codec for name, codec in OTHERS.items() if name not in known.get(path.name, {})
        }
        for name, codec in codecs.items():
            row[name], data = measure(codec, pixels, folder, f"{path.stem}.{name.replace(' ', '')}")
            if name == "bitsback":
                header = container.read_header(data)
                row["method"] = "prior" if header.model else "plain"
                coded = (
                    header.dims - len(header.entries[0].mode) * header.start[1] * header.start[2]
                )
                row |= (
                    {
                        "net_bits_per_dim": header.net_bits / coded,
                        "tuned_bits_per_dim": header.tuned_bits / header.dims,
                        "flat_bits_per_dim": 8 * header.flat_bytes / header.dims,
                        "mean_bits_per_dim": 8 * header.mean_bytes / header.dims,
                        "sharpness": header.sharpness,
                    }
                    if header.model
                    else {}
                )
        row |= {name: known[path.name][name] for name in OTHERS if name in known.get(path.name, {})}
        rows.append(row)
        print(
            path.name,
            " ".join(
                f"{n} {8 * r['bytes'] / row['dims']:.3f}"
                for n, r in row.items()
                if isinstance(r, dict)
            ),
            flush=True,
        )
    return rows


def table(rows):
    """Markdown: bits a dimension over the whole set (bytes added up), seconds a megapixel."""
    names = [n for n in rows[0] if isinstance(rows[0][n], dict)]
    dims, pixels = sum(r["dims"] for r in rows), sum(r["pixels"] for r in rows)
    reference = sum(r["JPEG XL e9"]["bytes"] for r in rows) if "JPEG XL e9" in names else None
    lines = [
        "| codec | bits/dim | against JPEG XL e9 | encode s/MP | decode s/MP |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        size, enc, dec = (sum(r[name][k] for r in rows) for k in ("bytes", "encode_s", "decode_s"))
        ratio = f"{size / reference:.3f}" if reference else "-"
        lines.append(
            f"| {name} | {8 * size / dims:.4f} | {ratio} | {1e6 * enc / pixels:.2f} | {1e6 * dec / pixels:.2f} |"
        )
    nets = [r["net_bits_per_dim"] for r in rows if r.get("net_bits_per_dim")]
    if nets:
        tuned = [r["tuned_bits_per_dim"] for r in rows if r.get("tuned_bits_per_dim")]
        lines.append(
            f"\nbitsback's net rate on the {len(nets)} images that use the prior (mean): {np.mean(nets):.4f} bits/dim; "
            f"{len(tuned)} were tuned, for {np.mean(tuned or [0]):.4f} bits/dim of deltas; "
            f"in {sum(bool(r.get('flat_bits_per_dim')) for r in rows)} flat blocks were told, in {sum(bool(r.get('sharpness')) for r in rows)} colours counted"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="every N-th image by name, from the first: what is held out of training",
    )
    parser.add_argument(
        "-e", "--effort", type=effort_name, default=DEFAULT_EFFORT, help="model and tuning steps"
    )
    parser.add_argument("--model", help="another model than the effort's")
    parser.add_argument("--gray", action="store_true", help="images converted to mode L")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-ours", action="store_true", help="the other codecs only")
    parser.add_argument(
        "--others", type=Path, help="JSON of an earlier run to take the other codecs from"
    )
    parser.add_argument("-o", "--output", type=Path, help="writes OUTPUT.md and OUTPUT.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = None if args.no_ours else Model.open(args.model or EFFORTS[args.effort].model)
    known = (
        {row["file"]: row for row in json.loads(args.others.read_text())["rows"]}
        if args.others
        else {}
    )
    files = sorted(p for p in args.folder.iterdir() if p.suffix.lower() in (".png", ".webp"))[
        :: args.every
    ][: args.limit]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = run(
            files,
            model,
            Path(folder),
            known,
            EFFORTS[args.effort].tuning,
            "L" if args.gray else "RGB",
        )
    command = (
        f"python -m benchmarks.rate {args.folder.name}"
        + f" --limit {args.limit}" * bool(args.limit)
        + f" --every {args.every}" * (args.every > 1)
        + " --gray" * args.gray
        + (
            " --no-ours"
            if args.no_ours
            else f" -e {args.effort}" + f" --model {args.model}" * bool(args.model)
        )
        + (f" --others {args.others.name}" if args.others else "")
    )
    text = (
        f"{command}   ({len(rows)} images, model {model.id[:16] if model else 'none'}, {args.threads} thread(s), {platform.machine()}, "
        f"torch {torch.__version__}, imagecodecs {imagecodecs.__version__})\n\n{table(rows)}\n"
    )
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".md").write_text(text)
        args.output.with_suffix(".json").write_text(
            json.dumps(
                {"command": command, "model": model.id if model else None, "rows": rows}, indent=1
            )
        )


if __name__ == "__main__":
    main()
