"""The checks of benchmarks/fuzz.py: a hostile file through the library and the command line."""

import hashlib
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from benchmarks.fuzz_cases import Case
from bitsback.cli.main import main as command
from bitsback.codecs import decoder
from bitsback.codecs.image import same, same_samples
from bitsback.codecs.io.restored import default_bytes
from bitsback.codecs.salvage import salvage
from bitsback.coder.model import Model
from bitsback.errors import BitsbackError, DamagedFile, UnsupportedImage

SECONDS = 20  # a case may take, on a core that is shared
MEBIBYTES = 700  # the process may grow by: few bytes may claim an image of 16383 x 16383


@dataclass
class Findings:
    """Counts of outcomes by kind, extremes with their cases, and faults: what must not happen."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)  # of the faults
    slowest: tuple[float, str] = (0.0, "")
    growth: tuple[float, str] = (0.0, "")

    def add(self, case: Case, outcome: str, seconds: float, grown: float) -> None:
        """Counts an outcome; seconds: of the case; grown: growth of the peak memory, MiB."""
        name = f"{case.kind}: {case.name}"
        self.outcomes[case.kind][outcome] += 1
        self.slowest = max(self.slowest, (seconds, name))
        self.growth = max(self.growth, (grown, name))
        if seconds > SECONDS or grown > MEBIBYTES:
            self.fault(case, f"{seconds:.1f} s, {grown:.0f} MiB")

    def fault(self, case: Case, what: str) -> str:
        """Notes a fault; returns its outcome."""
        self.faults.append(f"{case.kind}: {case.name}: {what}")
        self.inputs.append(case.data)
        return "FAULT"

    def merge(self, other: "Findings") -> None:
        """Adds those of another process."""
        for kind, counter in other.outcomes.items():
            self.outcomes[kind].update(counter)
        self.faults += other.faults
        self.inputs += other.inputs
        self.slowest = max(self.slowest, other.slowest)
        self.growth = max(self.growth, other.growth)

    def total(self) -> int:
        """The number of checks."""
        return sum(sum(counter.values()) for counter in self.outcomes.values())

    def keep(self, folder: Path) -> None:
        """Writes the inputs of faults to files named by their digest, for tests/fuzz."""
        folder.mkdir(parents=True, exist_ok=True)
        for data in self.inputs:
            name = hashlib.sha256(data).hexdigest()[:16]
            (folder / f"{name}.bbk").write_bytes(data)


def _peak() -> float:
    """Peak memory of this process in MiB, since the last reset where the system has one."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _measured(findings: Findings, case: Case) -> Iterator[list[str]]:
    """Yields a list for the outcome, then adds the outcome with time and memory."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, on Linux
    except OSError:
        pass
    before, begin = _peak(), time.perf_counter()
    outcome: list[str] = []
    yield outcome
    findings.add(case, outcome[0], time.perf_counter() - begin, _peak() - before)


def by_library(case: Case, model: Model, findings: Findings) -> None:
    """Checks one case by decode_images."""
    with _measured(findings, case) as outcome:
        try:
            _, images = decoder.decode_images(case.data, model=model)
            right = (
                case.expected is None
                or len(images) == len(case.expected)
                and all(map(same, images, case.expected))
            )
            for image in images if case.expected is None else ():
                with suppress(UnsupportedImage):
                    default_bytes(image, "x")
            outcome.append(
                "decoded, the same"
                if case.expected and right
                else "decoded"
                if right
                else findings.fault(case, "OTHER IMAGES")
            )
        except BitsbackError as error:
            if isinstance(error, DamagedFile):
                _check_salvage(case, model, findings)
            clear = str(error) and "\n" not in str(error)
            outcome.append(
                type(error).__name__ if clear else findings.fault(case, f"unclear: {error!r}")
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # constriction's panics are not Exceptions
            outcome.append(findings.fault(case, f"{type(error).__name__}: {error}"))


def _check_salvage(case: Case, model: Model, findings: Findings) -> None:
    """What is salvaged is of the images that were expected: all of one, or the pixels shown."""
    try:
        found = [one for some, _ in salvage(case.data, model=model) for one in some]
    except BitsbackError:
        return
    except BaseException as error:  # as above
        findings.fault(case, f"salvage: {type(error).__name__}: {error}")
        return
    for one in found if case.expected else ():
        if one.share == 1:
            samples = one.image.samples
            right = any(same_samples(samples, image.samples) for image in case.expected or ())
        else:
            right = any(_shown(one.image.samples, image.colour) for image in case.expected or ())
        if not right:
            findings.fault(case, "salvage: OTHER IMAGES")


def _shown(samples: np.ndarray, colour: np.ndarray | None) -> bool:
    """Whether (H, W, C + 1) samples are an image's colours (H, W, C) where their alpha is 255."""
    if colour is None or samples[..., :-1].shape != colour.shape:
        return False
    return bool((samples[..., :-1] == colour)[samples[..., -1] == 255].all())


def by_command(
    case: Case, model: Model, findings: Findings, folder: str | Path, suffix: str = ".png"
) -> None:
    """Checks one case by the commands test, info and decompress.

    Exit status 0 or 1, one line on failure, nothing written outside the folder for outputs.
    """
    source, out = Path(folder) / "hostile.bbk", Path(folder) / "out"
    source.write_bytes(case.data)
    before = {path.name for path in Path(folder).iterdir()} | {"out"}
    archive = len(case.data) > 5 and bool(case.data[5] & 18)
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


def _verdict(result: Result, case: Case, findings: Findings, name: str) -> str:
    """The outcome of a command."""
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
