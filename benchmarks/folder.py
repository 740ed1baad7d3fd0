"""Megapixels a second of a folder of images, several at once on a device; and whether all is right.

    python -m benchmarks.folder DIR [--device cuda] [-j 8] [--model default] [--crop 0] [--limit N]
                                [--one] [--cpu] [--reference FOLDER] [-o FOLDER]

Images are coded by threads as `compress -r -j` and `decompress -r -j` do it, without verification;
several devices (cuda:0,cuda:1) have a process each.  The clock starts when one image has been
coded, so that models are open and kernels loaded.  Every image is compared with what comes back.
--one codes all once more, one by one, --cpu on the CPU, and files must be equal; so must those of
the same names in --reference, the -o of an earlier run.  --crop N takes a square of the middle.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.report import images_below, summary
from bitsback.cli import pool
from bitsback.cli.cards import cards
from bitsback.cli.devices import Slots, images_at_once
from bitsback.cli.resources import model_path
from bitsback.devices import is_gpu


class _Threads(ThreadPoolExecutor):
    """Threads of this process with a device, on which no more is coded at once than fits."""

    def __init__(self, device: str, jobs: int, model: str | None):
        super().__init__(jobs, initializer=torch.set_num_threads, initargs=(1,))
        count = (
            min(jobs, images_at_once(pool.open_model(model), device)) if is_gpu(device) else jobs
        )
        self._slots = Slots(count)

    def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Any:
        return super().submit(fn, *arguments, self._slots, **options)


@contextmanager
def executor(device: str, jobs: int, model: str | None) -> Iterator[Executor]:
    """Runs tasks on a device, or on several separated by commas, `jobs` at once on each."""
    devices = device.split(",")
    with cards(devices, jobs) if len(devices) > 1 else _Threads(device, jobs, model) as found:
        yield found


def run(found: Executor, tasks: list[pool.Task]) -> float:
    """Seconds that the tasks take.  Errors: SystemExit, with the first that failed."""
    begin = time.perf_counter()
    for task, _, error in pool.run(tasks, found):
        if error is not None:
            raise SystemExit(f"{task.source}: {error}")
    return time.perf_counter() - begin


def measure(
    sources: list[Path], folder: Path, device: str, jobs: int, model: str | None
) -> dict[str, Any]:
    """Compresses sources into a folder, NAME.bbk, and restores them below it: MP/s each way."""
    folder.mkdir(parents=True, exist_ok=True)
    back = folder / "back"
    back.mkdir(exist_ok=True)
    kind: dict[str, Any] = {"model": model, "device": device.split(",")[0]}
    options = {"force": True, "verify": False, "allow_lossy": True}

    def compression(source: Path, to: Path) -> pool.Task:
        target = str(to / f"{source.stem}.bbk")
        return pool.Task("compress", str(source), target, options, **kind)

    packing = [compression(source, folder) for source in sources]
    restoring = [
        pool.Task("decompress", str(task.target), str(back / f"{source.stem}.png"), **kind)
        for source, task in zip(sources, packing)
    ]
    restoring = [replace(task, options={"force": True}) for task in restoring]
    sizes = [Image.open(source).size for source in sources]
    megapixels = sum(width * height for width, height in sizes) / 1e6
    facts: dict[str, Any] = {"images": len(sources), "megapixels": round(megapixels, 3)}
    with executor(device, jobs, model) as found:
        run(found, [compression(source, back) for source in sources[:1]])
        facts["encode MP/s"] = round(megapixels / run(found, packing), 4)
        facts["decode MP/s"] = round(megapixels / run(found, restoring), 4)
    facts["bytes"] = sum(Path(str(task.target)).stat().st_size for task in packing)
    wrong = [
        source.name
        for source, task in zip(sources, restoring)
        if not np.array_equal(pixels(source), pixels(Path(str(task.target))))
    ]
    return facts | {"other pixels": wrong}


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def differing(sources: list[Path], folder: Path, other: Path) -> list[str]:
    """Names of the files that are not the same in both folders, or missing in the second."""
    names = [f"{source.stem}.bbk" for source in sources]
    return [
        name
        for name in names
        if not (other / name).is_file()
        or (other / name).read_bytes() != (folder / name).read_bytes()
    ]


def crops(sources: list[Path], side: int, folder: Path) -> list[Path]:
    """PNGs of the middle side x side pixels of each, in a folder."""
    made = []
    for source in sources:
        image = Image.open(source).convert("RGB")
        left, top = ((whole - side) // 2 for whole in image.size)
        made.append(folder / f"{source.stem}.png")
        image.crop((left, top, left + side, top + side)).save(made[-1])
    return made


def pieces(path: Path, count: int, side: int, folder: Path) -> list[Path]:
    """PNGs of `count` squares of one image, which is repeated if it is small."""
    whole, made = np.array(Image.open(path).convert("RGB")), []
    for i in range(count):
        rolled = np.roll(whole, (-i * side, -i * side // 2), (0, 1))
        times = -(-side // whole.shape[0]), -(-side // whole.shape[1]), 1
        made.append(folder / f"piece_{i}.png")
        Image.fromarray(np.tile(rolled, times)[:side, :side]).save(made[-1])
    return made


def several(path: Path, device: str, name: str, count: int, side: int) -> dict[str, Any]:
    """`count` squares of an image, all at once and one by one, in a process of their own time."""
    with tempfile.TemporaryDirectory() as work:
        found, model = Path(work), model_path(name)
        sources = pieces(path, count, side, found)
        facts = {"at once": measure(sources, found / "many", device, count, model)}
        facts["one by one"] = measure(sources, found / "one", device, 1, model)
        return facts | {"other files": differing(sources, found / "many", found / "one")}


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-j", "--jobs", type=int, default=8)
    parser.add_argument("--model", default="default")
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--one", action="store_true", help="also one by one: the same files")
    parser.add_argument("--cpu", action="store_true", help="also on the CPU: the same files")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    model, right = model_path(args.model), True
    with tempfile.TemporaryDirectory() as work:
        sources = images_below(args.folder)[: args.limit]
        if args.crop:
            sources = crops(sources, args.crop, Path(work))
        output = args.output or Path(work) / "many"
        plan = [(output, args.device, args.jobs)]
        plan += [(Path(work) / "one", args.device, 1)] * args.one
        plan += [(Path(work) / "cpu", "cpu", 1)] * args.cpu
        for folder, device, jobs in plan:
            facts = {"device": device, "jobs": jobs}
            facts |= measure(sources, folder, device, jobs, model)
            if folder != output:
                facts["other files"] = differing(sources, output, folder)
            elif args.reference:
                facts["other files"] = differing(sources, output, args.reference)
            right = right and not facts["other pixels"] and not facts.get("other files")
            print(json.dumps(facts), flush=True)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
