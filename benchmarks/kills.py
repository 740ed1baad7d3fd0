"""SIGKILL at random moments of commands with --rm: is every image there, whole, in one form?

    python -m benchmarks.kills [--times 100] [--seed 1] [-o benchmarks/results/kills]

Each command runs on a fresh folder of small images, and all its processes are killed at a moment
uniform over the time that a whole run takes.  Every file must be whole then, but for temporary
ones, and every image in one of them; the same command again must complete the job.  Most runs are
forked from this process, where all is imported, so that the moments fall into the work; every tenth
is a process of its own with two workers (-j 2).  Every other run writes as on a file system without
files that have no name.  Some images are under a prior of random weights, that of the tests: this
runs from a checkout with the extra [test].
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.fuzz import random_model
from benchmarks.fuzz_cases import forced_prior
from benchmarks.kills_folders import look, make_images
from benchmarks.report import summary
from bitsback import whole
from bitsback.cli.main import main as command
from bitsback.codecs.image import ImageData
from bitsback.codecs.io import files
from bitsback.coder.model import Model

IN_PROCESSES = 10  # every so many rounds are processes of their own
TENTHS = 10
TRIALS = 3  # whole runs, of which the fastest tells how long one takes


@contextmanager
def named(yes: bool) -> Iterator[None]:
    """Files are written through temporary names, if asked for."""
    if yes:
        with patch.object(whole, "_unnamed", lambda *_: False):
            yield
    else:
        yield


def start(arguments: list[str], model: Model, way: int) -> Any:
    """Starts a command in a process group of its own; what it returns has pid and wait().

    way: 0 or 1 forked, without and with temporary names; 2: a process of its own, two workers.
    """
    if way == 2:
        return subprocess.Popen(
            [sys.executable, "-m", "bitsback", *arguments, "-j", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    pid = os.fork()
    if pid:
        with suppress(OSError):  # it did so itself already
            os.setpgid(pid, pid)
        return _Forked(pid)
    status = 70
    try:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        with forced_prior(), named(way == 1), patch.object(Model, "open", lambda *_, **__: model):
            command([*arguments, "-j", "1"], prog_name="bitsback")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


@dataclass
class _Forked:
    pid: int

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def run(arguments: list[str], model: Model, way: int, seconds: float | None = None) -> int:
    """The exit status of a command whose processes are all killed after so many seconds."""
    process = start(arguments, model, way)
    if seconds is not None:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def prepare(
    kind: str, model: Model, rng: np.random.Generator, place: Path, most: int = 12
) -> list[ImageData]:
    """Makes the folder that a kind of command begins with; returns its images, at most 12."""
    images, packed = make_images(place, rng, most), kind in ("decompress", "unpack")
    with forced_prior():
        if kind == "unpack":
            files.compress_archive([place], place.parent / "all.bbk", model=model)
            shutil.rmtree(place)
            place.mkdir()
            (place.parent / "all.bbk").rename(place / "all.bbk")
        for path in sorted(place.rglob("*.*")) if packed and kind != "unpack" else ():
            files.compress_file(path, path.with_suffix(files.SUFFIX), model=model, remove=True)
    return images


def arguments_of(kind: str, folder: Path, model: Model) -> list[str]:
    """The command line of a kind."""
    if kind == "archive":
        words = ["compress", "--rm", "--archive", str(folder / "all.bbk")]
    else:
        words = ["decompress" if kind == "unpack" else kind, "--rm", "-r"]
    return [*words, "-q", "--model", str(model.path), str(folder)]


KINDS = "compress", "decompress", "archive", "unpack"


def rounds(
    kind: str,
    times: int,
    seed: int,
    model: Model,
    place: Path,
    ways: tuple[int, ...] = (0, 1, 2),
    most: int = 12,
) -> tuple[dict[int, Counter[str]], list[str]]:
    """({tenth of the run: counts of outcomes}, faults) of so many kills of a kind of command.

    Rounds that end before the moment are added to them, at most as many.  most: images.
    """
    chance, work, begun = random.Random(f"{seed} {kind}"), place / "work", place / "begun"
    images = prepare(kind, model, np.random.default_rng(seed), begun, most)
    arguments, durations = arguments_of(kind, work, model), dict[int, float]()
    table: dict[int, Counter[str]] = {tenth: Counter() for tenth in range(TENTHS)}
    faults = []
    for number in range(2 * times):
        if sum(row["killed"] for row in table.values()) == times:
            break
        way = 2 if 2 in ways and number % IN_PROCESSES == 9 else ways[number % 2]
        shutil.copytree(begun, work)
        for _ in range(0 if way in durations else TRIALS):
            begin = time.perf_counter()
            run(arguments, model, way)
            durations[way] = min(durations.get(way, 1e9), time.perf_counter() - begin)
            shutil.rmtree(work)
            shutil.copytree(begun, work)
        share = chance.random()
        status = run(arguments, model, way, share * durations[way])
        after = look(work, images, kind in ("compress", "archive"), model)
        again = run(arguments, model, min(way, 1))
        end = look(work, images, kind in ("compress", "archive"), model)
        row, lost = table[int(TENTHS * share)], after.lost(len(images))
        row["rounds"] += 1
        row["killed"] += status == -signal.SIGKILL
        row["done"] += sum(after.outputs.values())
        row["both"] += sum(n > 1 for n in after.images.values())
        row["temporary"] += after.temporary
        row["completed"] += end.complete(len(images))
        if lost or after.broken or not end.complete(len(images)):
            faults.append(f"{kind}, {share:.4f}, way {way}, then {again}: {lost} {after} {end}")
        shutil.rmtree(work)
    return table, faults


def report(tables: dict[str, dict[int, Counter[str]]], faults: list[str]) -> str:
    """Markdown of all rounds."""
    columns = "rounds", "killed", "done", "both", "temporary", "completed"
    lines = [
        "Twelve images a round. done: images in the new form at that moment, both: in both "
        "forms, temporary: files left, completed: rounds whose second run left every image once, "
        "in the new form.",
        "",
        f"| command | moment | {' | '.join(columns)} |",
        "|---|---|" + "---|" * len(columns),
    ]
    for kind, table in tables.items():
        for tenth, row in table.items():
            share = f"{tenth / TENTHS:.1f} to {(tenth + 1) / TENTHS:.1f}"
            lines.append(f"| {kind} | {share} | {' | '.join(str(row[c]) for c in columns)} |")
    total = sum(row["killed"] for table in tables.values() for row in table.values())
    lines += ["", f"{total} kills, {len(faults)} faults: nothing lost" * (not faults), *faults]
    return "\n".join(lines) + "\n"


def main() -> bool:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--times", type=int, default=100, help="Kills of each command.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables, faults = {}, list[str]()
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as place:
            model = random_model(place)
            tables[kind], some = rounds(kind, args.times, args.seed, model, Path(place))
            faults += some
            print(kind, tables[kind], some, flush=True)
    text = (
        f"python -m benchmarks.kills --times {args.times} --seed {args.seed}"
        f"   (no shipped model: random weights)\n\n{report(tables, faults)}"
    )
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
