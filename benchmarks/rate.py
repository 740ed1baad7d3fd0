"""Bits per dimension of real files: this codec against the ones people would use instead.

    python -m benchmarks.rate DIR [--limit N] [--every N] [-e EFFORT] [--model NAME] [--gray]
                              [-o benchmarks/results/NAME]

The other codecs' rows do not depend on the model: `--others FILE.json` takes them from an earlier
run (made with --no-ours), so that a new model costs its own time only.  Every file is written, read
back, decoded and compared with the original pixels; a codec that returns other pixels stops the
run.  Seconds are of one process on this machine, other work included: compare columns of one run,
not runs.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from PIL import Image

from benchmarks.other_codecs import OTHER_CODECS, Codec
from benchmarks.report import images_below, summary
from bitsback.codecs import ImageData, decode_image, encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.coder.model import Model
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS, effort_name


def ours(model: Model, mode: str, effort: str = DEFAULT_EFFORT) -> Codec:
    """This codec for arrays of one mode."""
    return (
        lambda pixels: encode_image(ImageData(mode, pixels), model=model, effort=effort),
        lambda data: decode_image(data, model=model).samples,
    )


def measure_codec(
    codec: Codec, pixels: np.ndarray, folder: Path, name: str
) -> tuple[dict[str, float], bytes]:
    """({"bytes", "encode_s", "decode_s"}, the bytes) of one image, read back and compared."""
    write, read = codec
    begin = time.perf_counter()
    written = write(pixels)
    middle = time.perf_counter()
    path = folder / name
    path.write_bytes(written)
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


def prior_facts(header: container.Header) -> dict[str, float]:
    """Bits a dimension by part of a file under the prior, and the sharpness."""
    start = len(header.entries[0].mode) * header.start[1] * header.start[2]
    return {
        "net_bits_per_dim": header.net_bits / (header.dims - start),
        "tuned_bits_per_dim": 8 * len(header.section(Tag.BIAS_UPDATES)) / header.dims,
        "flat_bits_per_dim": 8 * len(header.section(Tag.FLAT_MAP)) / header.dims,
        "mean_bits_per_dim": 8 * len(header.section(Tag.BLOCK_MEANS)) / header.dims,
        "sharpness": header.sharpness,
    }


def measure_images(
    files: list[Path],
    model: Model | None,
    folder: Path,
    known: dict[str, dict[str, Any]],
    effort: str = DEFAULT_EFFORT,
    mode: str = "RGB",
) -> list[dict[str, Any]]:
    """One row an image: name, dims, and bytes and seconds by codec.

    model None: without this codec; folder: for temporary files; known: {file name: row} of an
    earlier run, whose other codecs are copied; effort: of this codec, whose model is `model`; mode:
    images are converted to it.
    """
    rows = []
    for path in files:
        pixels = np.array(Image.open(path).convert(mode))
        row: dict[str, Any] = {
            "file": path.name,
            "dims": pixels.size,
            "pixels": pixels.shape[0] * pixels.shape[1],
        }
        codecs = {"bitsback": ours(model, mode, effort)} if model else {}
        codecs |= {
            name: codec
            for name, codec in OTHER_CODECS.items()
            if name not in known.get(path.name, {})
        }
        for name, codec in codecs.items():
            row[name], data = measure_codec(
                codec, pixels, folder, f"{path.stem}.{name.replace(' ', '')}"
            )
            if name == "bitsback":
                header = container.read_header(data)
                row["method"] = "prior" if header.model else "fallback codec"
                row |= prior_facts(header) if header.model else {}
        before = known.get(path.name, {})
        row |= {name: before[name] for name in OTHER_CODECS if name in before}
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


def rate_table(rows: list[dict[str, Any]]) -> str:
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
            f"| {name} | {8 * size / dims:.4f} | {ratio} | {1e6 * enc / pixels:.2f} "
            f"| {1e6 * dec / pixels:.2f} |"
        )
    nets = [r["net_bits_per_dim"] for r in rows if r.get("net_bits_per_dim")]
    if nets:
        tuned = [r["tuned_bits_per_dim"] for r in rows if r.get("tuned_bits_per_dim")]
        flat, counted = (
            sum(bool(r.get(key)) for r in rows) for key in ("flat_bits_per_dim", "sharpness")
        )
        lines.append(
            f"\nbitsback's net rate on the {len(nets)} images that use the prior (mean): "
            f"{np.mean(nets):.4f} bits/dim; {len(tuned)} were tuned, for "
            f"{np.mean(tuned or [0]):.4f} bits/dim of bias updates; "
            f"{flat} have a flat map, {counted} colour counts"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
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
    files = images_below(args.folder)[:: args.every][: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_images(
            files,
            model,
            Path(folder),
            known,
            args.effort,
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
        f"{command}   ({len(rows)} images, model {model.id[:16] if model else 'none'}, "
        f"{args.threads} thread(s), {platform.machine()}, torch {torch.__version__}, "
        f"imagecodecs {imagecodecs.__version__})\n\n{rate_table(rows)}\n"
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
