"""`compress --rm -r -j 2`, killed again and again: is every image kept, in one form or the other?

    python -m benchmarks.kills DIR... [--kills 20] [--seed 1] [-o benchmarks/results/kills]

Works on a copy.  Each round starts the command on all images left and ends it after a random
time: the process alone by SIGKILL or SIGTERM, or its whole group by SIGKILL.  A last round runs to
its end.
Then each image of DIR must be there byte for byte, or decode from a .bbk file to the same samples,
palette, transparency and metadata; and no temporary file may be left.
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
from pathlib import Path

from benchmarks.report import summary
from bitsback.codecs import decode_image
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.image import same
from bitsback.errors import BitsbackError

ENDINGS = (("process", signal.SIGKILL), ("process", signal.SIGTERM), ("group", signal.SIGKILL))
WORKER_TIMEOUT = 20.0  # seconds in which the workers of a dead process must have ended


def start(folder: Path) -> subprocess.Popen:
    """The command on a folder, in a process group of its own."""
    command = [sys.executable, *"-m bitsback compress --rm -r -j 2 -q".split(), str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def gone(group: int) -> bool:
    """Whether all processes of a group have ended after WORKER_TIMEOUT."""
    end = time.monotonic() + WORKER_TIMEOUT
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def is_there(original: Path, copy: Path) -> str:
    """The state of an image: "as it was", "compressed", or "LOST"."""
    if copy.exists():
        return "as it was" if copy.read_bytes() == original.read_bytes() else "LOST"
    image = read_image(original, original.name)
    for packed in (copy.with_suffix(".bbk"), copy.with_name(copy.name + ".bbk")):
        try:
            if packed.exists() and same(decode_image(packed.read_bytes()), image):
                return "compressed"
        except BitsbackError:
            continue
    return "LOST"


def run_rounds(folders: list[Path], kills: int, seed: int) -> tuple[list[str], bool]:
    """(lines of the report, whether nothing was lost)."""
    chance, lines, well = random.Random(seed), [], True
    with tempfile.TemporaryDirectory() as place:
        work = Path(place, "work")
        for folder in folders:
            shutil.copytree(folder, work / folder.name, copy_function=shutil.copyfile)
        for number in range(kills + 1):
            process = start(work)
            if number < kills:
                wait, (whom, how) = chance.uniform(2, 14), ENDINGS[number % len(ENDINGS)]
                time.sleep(wait)
                if process.poll() is None:
                    (os.killpg if whom == "group" else os.kill)(process.pid, how)
            status = process.wait()
            left = gone(process.pid)
            parts = [path.name for path in work.rglob("*.part")]
            well &= left and not parts
            done = sum(1 for _ in work.rglob("*.bbk"))
            what = f"{whom}, {how.name}, after {wait:.1f} s" if number < kills else "to the end"
            lines.append(
                f"| {number + 1} | {what} | {status} | {done} | {'yes' if left else 'NO'} "
                f"| {len(parts)} |"
            )
            print(lines[-1], flush=True)
        fates: dict[str, int] = {}
        for folder in folders:
            for original in sorted(path for path in folder.rglob("*") if path.is_file()):
                fate = is_there(original, work / folder.name / original.relative_to(folder))
                fates[fate] = fates.get(fate, 0) + 1
                if fate == "LOST":
                    lines.append(f"LOST: {original.name}")
        lines.append("\n" + ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
    return lines, well and "LOST" not in fates


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    lines, well = run_rounds(args.folders, args.kills, args.seed)
    head = [
        f"python -m benchmarks.kills {' '.join(f.name for f in args.folders)} "
        f"--kills {args.kills} --seed {args.seed}   (no model matters: files are counted)",
        "",
        "| round | ended | exit status | .bbk files | workers gone | temporary files |",
        "|---|---|---|---|---|---|",
    ]
    text = "\n".join(head + lines + ["", "nothing lost" if well else "FAILED"]) + "\n"
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
