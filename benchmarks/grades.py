"""Files of a model under grades of its reverse variance (bitsback/train/grades.py).

    python -m benchmarks.grades TRAINING KODAK [VALID] [--model fast] [--limit 4] [--side 192]
                                [-o benchmarks/results/grades]

Each grade is a model, exported with variances from 8 crops of TRAINING; centre crops of the first
images of each set are coded, decoded and compared, twice: as files, which have a start that
another codec codes, and are whole by that codec where it is smaller (marked *); and on the stack
alone, in one piece.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.rate import ours
from benchmarks.report import summary, table
from bitsback.ans.lanes import random_lanes
from bitsback.codecs.bitstream import container
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import default_levels
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.export import save_model
from bitsback.train.grades import graded, kept_corrections
from bitsback.train.measure import centre_crops
from bitsback.train.variances import BOUND_GRADES

CORRECTED = {
    "head+colour+passes, corrected": "head",
    "head+colour+passes, calibrated": "calibrated",
}


def crops_of(folder: Path, limit: int, side: int) -> list[np.ndarray]:
    """(side, side, 3) uint8 each."""
    x = centre_crops(folder, limit, side)
    return list((x + 128).byte().permute(0, 2, 3, 1).contiguous().numpy())


def models(name: str, training: Path, folder: Path) -> Iterator[tuple[str, Model]]:
    """(grade, its model) one by one."""
    network, _ = read_checkpoints([Model.open(name).path])
    crops = crops_of(training, 8, 128)
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() - 128
    for grade in (*BOUND_GRADES, *CORRECTED):
        if grade in CORRECTED:
            changed, moved = network, kept_corrections(network, crops, kind=CORRECTED[grade])[0]
        else:
            changed, moved = graded(network, grade, x)
        path = folder / "m.safetensors"
        save_model(path, changed, default_levels(), {}, moved)
        yield grade, Model(path)


def on_stack(model: Model, image: np.ndarray) -> int:
    """Bits that an image adds to a stack.  Errors: SystemExit where other pixels come back."""
    chain, top = model.chain(), Top.fitted([image], model.levels)
    x = image.transpose(2, 0, 1)[None].astype(np.int32) - 128
    lanes = random_lanes(x.size)
    before = lanes.size_bits
    chain.push(lanes, x, top, no_context(x))
    growth = lanes.size_bits - before
    if not np.array_equal(chain.pop(lanes, x.shape, top, no_context(x)), x):
        raise SystemExit("other pixels came back")
    return growth


def rates(model: Model, images: list[np.ndarray]) -> tuple[str, str]:
    """bits/dim of files, on the stack.  Errors: SystemExit where other pixels come back."""
    write, read = ours(model, "RGB")
    total, prior, star, dims = 0, 0, "", sum(image.size for image in images)
    for image in images:
        data = bytes(write(image))
        if not np.array_equal(read(data), image):
            raise SystemExit("other pixels came back")
        star = star if container.read_header(data).model else "*"
        total, prior = total + 8 * len(data), prior + on_stack(model, image)
    return f"{total / dims:.4f}{star}", f"{prior / dims:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("training", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--limit", type=int, default=4)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = {folder.name: crops_of(folder, args.limit, args.side) for folder in args.sets}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for grade, model in models(args.model, args.training, Path(folder)):
            found = [rates(model, images) for images in sets.values()]
            lines.append([grade, *(value for pair in found for value in pair)])
            print(*lines[-1], flush=True)
    names = " ".join(sets)
    text = (
        f"python -m benchmarks.grades {args.training.name} {names} --model {args.model} "
        f"--limit {args.limit} --side {args.side}   (model {Model.open(args.model).id[:16]}; "
        f"{args.limit} centre crops of {args.side}x{args.side} a set; bits/dim)\n\n"
    )
    head = ["reverse variance", *(one for name in sets for one in (f"{name}, files", "stack"))]
    text += table(head, lines)
    if args.output:
        args.output.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
