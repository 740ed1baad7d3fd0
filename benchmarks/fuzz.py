"""Hostile files against the decoder, by the library and by the command line.

    python -m benchmarks.fuzz [--minutes 3] [--seed 1] [--drawn] [-o benchmarks/results/fuzz]
    python -m benchmarks.fuzz --inputs 1000000 -j 2 [--seed 1] [-o benchmarks/results/fuzz_long]

Every file must decode to its own images, or raise one of this package's errors: never other images,
another kind of exception, much memory or much time.  Through the commands: exit status 1, one line
with the file's name, no traceback, no output outside its folder.  The prior has random weights: it
is the tests' tiny model, so this runs from a checkout with the extra [test].  Inputs of faults are
written to --keep; tests/fuzz has those of the past.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.fuzz_bombs import bombs, lying_sizes
from benchmarks.fuzz_cases import Case, Files, good_files, grouped_file
from benchmarks.fuzz_checks import Findings, by_command, by_library
from benchmarks.fuzz_damage import flips, lanes, numbers, random_bytes, tables, truncations
from benchmarks.fuzz_long import CHUNK, chunk, run_chunks, small_files
from benchmarks.fuzz_metadata import odd_metadata, odd_names
from benchmarks.report import summary
from bitsback.codecs import decoder
from bitsback.codecs.image import same
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels
from bitsback.train.export import save_model

CUT_EVERYWHERE = (
    "fallback bare",
    "fallback P",
    "fallback JPEG XL",
    "prior RGB",
    "fallback archive",
)  # cut at every length
WITH_LANES = "prior RGB", "prior lanes", "prior archive", "prior flat"  # whose lanes are altered


def random_model(folder: str | Path, quick: bool = False) -> Model:
    """A Model of random weights: that of the tests; quick: of fewer passes and levels."""
    from tests.conftest import TINY, random_network

    path = Path(folder) / "tiny.safetensors"
    save_model(
        path,
        random_network(7, replace(TINY, passes=2) if quick else TINY),
        default_levels()[:: 8 if quick else 1],
        {"minutes": 0, "steps": 0, "device": "cpu", "data": "random weights"},
    )
    return Model(path)


def fixed_cases(
    model: Model, files: Files, rng: np.random.Generator, bomb_mebibytes: int
) -> Iterator[Case]:
    """All cases that are checked once."""
    yield from lying_sizes(model.id)
    yield from bombs(bomb_mebibytes)
    yield from odd_names()
    for name in CUT_EVERYWHERE:
        yield from truncations(name, *files[name])
    for name, file in files.items():
        yield from flips(name, *file, rng)
    for name in WITH_LANES:
        yield from lanes(name, *files[name], rng, model)
    yield from tables(*grouped_file(files), rng)


def drawn_cases(files: Files, rng: np.random.Generator, count: int) -> Iterator[Case]:
    """A round of random cases, `count` of a kind and file."""
    yield from random_bytes(rng, count)
    yield from odd_metadata(rng, count)
    for name, file in files.items():
        yield from numbers(name, *file, rng, count)


def warm(model: Model, files: Files) -> None:
    """Decodes every good file once, so that only hostile files let the memory grow later."""
    for name, (data, images) in files.items():
        assert all(map(same, decoder.decode_images(data, model=model)[1], images)), (
            f"{name} does not decode"
        )


def fuzz(
    minutes: float,
    seed: int,
    folder: str,
    drawn_only: bool = False,
    bomb_mebibytes: int = 4096,
) -> Findings:
    """Findings of all fixed cases unless drawn_only, then of drawn ones for `minutes`."""
    rng, findings = np.random.default_rng(seed), Findings()
    model = random_model(folder)
    files = good_files(model, rng)
    warm(model, files)
    through_commands = (
        "lying size",
        "bomb",
        "odd name, right digest",
        "odd metadata, right digest",
    )
    for i, case in enumerate(() if drawn_only else fixed_cases(model, files, rng, bomb_mebibytes)):
        by_library(case, model, findings)
        if case.kind in through_commands or i % 97 == 0:
            by_command(case, model, findings, folder)
    until = time.perf_counter() + 60 * minutes
    while True:
        for i, case in enumerate(drawn_cases(files, rng, 10)):
            by_library(case, model, findings)
            if case.kind in through_commands or i % 17 == 0:
                suffix = (".png", ".tiff", ".webp", ".bmp", ".ppm")[i % 5]
                by_command(case, model, findings, folder, suffix)
            if time.perf_counter() > until:
                return findings


def fuzz_long(inputs: int, jobs: int, seed: int, seconds: float, folder: str) -> Findings:
    """Findings of so many drawn inputs, rounded up to chunks, in `jobs` processes.

    seconds: of an input, after which its process is killed.
    """
    model = random_model(folder, quick=True)
    files = small_files(model, np.random.default_rng(seed))
    warm(model, files)
    count, begin = -(-inputs // CHUNK), time.perf_counter()

    def progress(done: int, findings: Findings) -> None:
        rate = done * CHUNK / (time.perf_counter() - begin)
        line = f"{done} of {count} chunks, {rate:.0f} inputs/s, {len(findings.faults)} faults"
        print(line, flush=True)

    def cases(number: int) -> Iterator[Case]:
        return chunk(files, seed, number)

    return run_chunks(count, jobs, cases, model, Path(folder), seconds, progress)


def report(findings: Findings, line: str) -> str:
    """Markdown of the findings, after a line with the command."""
    out = io.StringIO()
    (seconds, slowest), (grown, largest) = findings.slowest, findings.growth
    out.write(
        f"{line}\n\n{findings.total()} checks, {len(findings.faults)} faults; "
        f"slowest {seconds:.2f} s ({slowest}); "
        f"most memory {grown:.0f} MiB above the start ({largest})\n\n"
        "| kind | outcome | checks |\n|---|---|---|\n"
    )
    for kind, counter in sorted(findings.outcomes.items()):
        for outcome, count in counter.most_common():
            out.write(f"| {kind} | {outcome} | {count} |\n")
    for fault in findings.faults:
        out.write(f"\n    {fault[:300]}")
    return out.getvalue().rstrip() + "\n"


def main() -> bool:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--drawn",
        action="store_true",
        help="leave out the fixed cases, which take some five minutes of a shared core",
    )
    parser.add_argument("--inputs", type=int, help="a long run of so many drawn inputs")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes of a long run")
    parser.add_argument(
        "--hang", type=float, default=60, help="seconds after which a long run's input is a fault"
    )
    parser.add_argument("--keep", type=Path, default=Path("tests/fuzz"))
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if args.inputs:
            findings = fuzz_long(args.inputs, args.jobs, args.seed, args.hang, folder)
            how, name = f"--inputs {args.inputs} -j {args.jobs} --seed {args.seed}", "fuzz_long"
        else:
            findings = fuzz(args.minutes, args.seed, folder, args.drawn)
            how, name = f"--minutes {args.minutes:g} --seed {args.seed}", "fuzz"
    line = (
        f"python -m benchmarks.fuzz {how}{' --drawn' * args.drawn}"
        "   (no shipped model: random weights)"
    )
    if args.inputs:
        seconds = time.perf_counter() - begin
        line += f"\n\n{seconds / 60:.0f} minutes, {args.inputs / seconds:.0f} inputs/s"
    text = report(findings, line)
    print(text)
    (args.output or Path("benchmarks/results") / name).with_suffix(".md").write_text(text)
    if findings.inputs:
        findings.keep(args.keep)
    return bool(findings.faults)


if __name__ == "__main__":
    raise SystemExit(main())
