"""How long an OpenMP thread without work should spin before it sleeps: `compress` of one image.

    python -m benchmarks.waiting IMAGE

On an idle machine and on a busy one.  A spinning thread resumes at once where it has a core of its
own, and delays the threads that it waits for where it has none.  Every run is a process; rounds go
through all settings, so that other work on the machine affects them alike.  Busy: one process in an
endless loop for each core.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import summary

WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
LIBGOMP_DEFAULT = 300000  # iterations of GNU's libgomp without a setting


def _run(image: Path, threads: int, count: int) -> tuple[float, float]:
    """(seconds, CPU seconds) of a compression without verification; count: iterations."""
    environment = {
        name: value for name, value in os.environ.items() if name not in WAIT_VARIABLES
    } | {"GOMP_SPINCOUNT": str(count)}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "bitsback",
            "compress",
            "--no-verify",
            "-q",
            "-T",
            str(threads),
            str(image),
            "-o",
            f"{folder}/x.bbk",
        ]
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            raise SystemExit(f"{command} failed")
        return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("image", type=Path)
    parser.add_argument("--counts", default=f"0,1000,10000,100000,{LIBGOMP_DEFAULT}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", default="no,yes")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    settings = [(1, 0)] + [(cores, int(count)) for count in args.counts.split(",")]
    print(
        f"python -m benchmarks.waiting {args.image.name}   "
        f"({cores} cores; load before: {os.getloadavg()[0]:.1f})\n\n"
        "| machine | threads | iterations | seconds, median | least | CPU seconds, median |\n"
        "|---|---|---|---|---|---|",
        flush=True,
    )
    for busy in args.busy.split(","):
        others = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(cores if busy == "yes" else 0)
        ]
        try:
            times: dict[tuple[int, int], list[tuple[float, float]]] = {s: [] for s in settings}
            for _ in range(args.rounds):
                for setting in settings:
                    times[setting].append(_run(args.image, *setting))
        finally:
            for other in others:
                other.kill()
                other.wait()
        for (threads, count), taken in times.items():
            walls, processors = zip(*taken)
            print(
                f"| {'busy' if busy == 'yes' else 'idle'} | {threads} "
                f"| {count if threads > 1 else '-'} | {statistics.median(walls):.1f} "
                f"| {min(walls):.1f} | {statistics.median(processors):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
