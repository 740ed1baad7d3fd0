"""Hostile files against the decoder, by the library and by the command line.

    python -m benchmarks.fuzz [--minutes 3] [--seed 1] [--drawn] [-o benchmarks/results/fuzz]

Every file must give its own images, or one error of ours: never other images, another kind of exception, much memory or
much time.  Through the commands: exit 1, one line with the file's name, no traceback, no output outside its folder.  The prior has
random weights: it is the tests' tiny model, so this runs from a checkout with the extra [test].
"""

import argparse
import io
import resource
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner

from benchmarks import fuzz_cases as cases
from bitsback.cli.main import main as command
from bitsback.codecs import decoder
from bitsback.codecs.image import same
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels
from bitsback.errors import BitsbackError
from bitsback.train.export import save_model

SECONDS = 20  # most that a case may take, on a core that is shared
MEBIBYTES = 700  # ... and that the process may grow by: an image of 16383 x 16383 may be claimed by few bytes
SMALL = ("plain bare", "plain P", "prior RGB", "plain archive")  # cut at every length


@dataclass
class Findings:
    """Counts, extremes, and what should not have happened."""

    outcomes: dict = field(default_factory=lambda: defaultdict(Counter))
    faults: list = field(default_factory=list)
    slowest: tuple = (0.0, "")
    growth: tuple = (0.0, "")

    def add(self, case, outcome, seconds, grown):
        """seconds of the case, MiB that the peak grew by."""
        name = f"{case.kind}: {case.name}"
        self.outcomes[case.kind][outcome] += 1
        self.slowest, self.growth = (
            max(self.slowest, (seconds, name)),
            max(self.growth, (grown, name)),
        )
        if seconds > SECONDS or grown > MEBIBYTES:
            self.faults.append(f"{name}: {seconds:.1f} s, {grown:.0f} MiB")

    def fault(self, case, what):
        self.faults.append(f"{case.kind}: {case.name}: {what}")
        return "FAULT"


def tiny_model(folder):
    """A Model of random weights: that of the tests."""
    from tests.conftest import random_network

    path = Path(folder) / "tiny.safetensors"
    save_model(
        path,
        random_network(7),
        default_levels(),
        {"minutes": 0, "steps": 0, "device": "cpu", "data": "random weights"},
    )
    return Model(path)


def _peak():
    """MiB, the most this process has held since the last reset, or ever where the system knows no reset."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _measured(findings, case):
    """Yields a list for the outcome; adds it with time and memory."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak, on Linux
    except OSError:
        pass
    before, begin, outcome = _peak(), time.perf_counter(), []
    yield outcome
    findings.add(case, outcome[0], time.perf_counter() - begin, _peak() - before)


def by_library(case, model, findings):
    """decode_images of one case."""
    with _measured(findings, case) as outcome:
        try:
            _, images = decoder.decode_images(case.data, model=model)
            right = (
                case.expected is None
                or len(images) == len(case.expected)
                and all(map(same, images, case.expected))
            )
            outcome.append(
                "decoded, the same"
                if case.expected and right
                else "decoded"
                if right
                else findings.fault(case, "OTHER IMAGES")
            )
        except BitsbackError as error:
            clear = str(error) and "\n" not in str(error)
            outcome.append(
                type(error).__name__ if clear else findings.fault(case, f"unclear: {error!r}")
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # constriction's panics are no Exception
            outcome.append(findings.fault(case, f"{type(error).__name__}: {error}"))


def by_command(case, model, findings, folder, suffix=".png"):
    """test, info and decompress of one case: exit 0 or 1, one line on failure, nothing beside the folder for outputs."""
    source, out = Path(folder) / "hostile.bbk", Path(folder) / "out"
    source.write_bytes(case.data)
    before = {path.name for path in Path(folder).iterdir()} | {"out"}
    archive = len(case.data) > 5 and bool(case.data[5] & 2)
    target = ["--dir", str(out)] if archive else ["-o", str(Path(folder) / f"out{suffix}"), "-f"]
    for arguments in (["test"], ["info"], ["decompress", *target, "-f"]):
        with _measured(findings, case) as outcome:
            options = [] if arguments == ["info"] else ["--model", str(model.path)]
            result = CliRunner().invoke(command, [*arguments, *options, str(source)])
            outcome.append(_verdict(result, case, findings, arguments[0]))
    (Path(folder) / f"out{suffix}").unlink(missing_ok=True)
    after = {path.name for path in Path(folder).iterdir()}
    if after - before:
        findings.fault(case, f"left {after - before}")


def _verdict(result, case, findings, name):
    if result.exception and not isinstance(result.exception, SystemExit):
        return findings.fault(case, f"{name}: {result.exception!r}")
    lines = result.stderr.splitlines()
    clear = (
        len(lines) == 1
        and lines[0].startswith("bitsback: ")
        and "hostile.bbk" in lines[0]
        and lines[0].isprintable()
    )
    if result.exit_code == 1 and clear:
        return "exit 1"
    if result.exit_code == 0 and result.stdout.replace("\n", "").isprintable():
        return "exit 0"
    return findings.fault(case, f"{name}: exit {result.exit_code}, {lines}, {result.stdout[:99]!r}")


def fixed_cases(model, files, rng, bomb_mebibytes):
    """All that is not drawn again and again."""
    yield from cases.lying_sizes(model.id)
    yield from cases.bombs(bomb_mebibytes)
    yield from cases.odd_names()
    for name in SMALL:
        yield from cases.truncations(name, *files[name])
    for name, file in files.items():
        yield from cases.flips(name, *file, rng)


def drawn_cases(files, rng, count):
    """A round of what is drawn anew each time."""
    yield from cases.random_bytes(rng, count)
    yield from cases.odd_metadata(rng, count)
    for name, file in files.items():
        yield from cases.numbers(name, *file, rng, count)


def warm(model, files):
    """Decodes every good file once, so that what grows later is the hostile ones' doing."""
    for name, (data, images) in files.items():
        assert all(map(same, decoder.decode_images(data, model=model)[1], images)), (
            f"{name} does not decode"
        )


def fuzz(minutes, seed, folder, drawn_only=False, bomb_mebibytes=4096):
    """Findings of all fixed cases unless drawn_only, and then of as many drawn ones as `minutes` hold."""
    rng, findings = np.random.default_rng(seed), Findings()
    model = tiny_model(folder)
    files = cases.good_files(model, rng)
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
                by_command(
                    case, model, findings, folder, (".png", ".tiff", ".webp", ".bmp", ".ppm")[i % 5]
                )
            if time.perf_counter() > until:
                return findings


def report(findings, line):
    """Markdown of what was found."""
    out = io.StringIO()
    total = sum(sum(counter.values()) for counter in findings.outcomes.values())
    (seconds, slowest), (grown, largest) = findings.slowest, findings.growth
    out.write(
        f"{line}\n\n{total} checks, {len(findings.faults)} faults; slowest {seconds:.2f} s ({slowest}); "
        f"most memory {grown:.0f} MiB above the start ({largest})\n\n| kind | outcome | checks |\n|---|---|---|\n"
    )
    for kind, counter in sorted(findings.outcomes.items()):
        for outcome, count in counter.most_common():
            out.write(f"| {kind} | {outcome} | {count} |\n")
    for fault in findings.faults:
        out.write(f"\n    {fault[:300]}")
    return out.getvalue().rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--drawn",
        action="store_true",
        help="leave out the fixed cases, which take some five minutes of a shared core",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/fuzz"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        findings = fuzz(args.minutes, args.seed, folder, args.drawn)
    text = report(
        findings,
        f"python -m benchmarks.fuzz --minutes {args.minutes:g} --seed {args.seed}{' --drawn' * args.drawn}   (no shipped model: random weights)",
    )
    print(text)
    args.output.with_suffix(".md").write_text(text)
    return bool(findings.faults)


if __name__ == "__main__":
    raise SystemExit(main())
