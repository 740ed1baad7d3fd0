"""The whole codec on a GPU: bytes, pixels, megapixels a second, operations and memory.

    python -m benchmarks.device_check IMAGE -o FOLDER [--device cuda] [--seconds 170]
                                      [--reference FOLDER]

Each step is a process with a time limit of its own; what fails is reported, and the next step goes
on.  Needs torch, numpy, Pillow, click, tqdm and safetensors; kernels need Triton.  Files are left
in the folder; with those of a CPU (`--device cpu --steps code:default:256`) as the reference, each
must be the same, and decode to the same pixels.  (Another version of Pillow's libwebp can code the
first credit to other bytes.)
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.device_steps import code, compare, kernels
from benchmarks.report import summary

STEPS: tuple[tuple[str, int], ...] = (
    ("kernels", 60),
    ("module:benchmarks.device_launches", 25),
    ("code:default:256", 70),
    ("code:default:768", 60),  # Kodak's size
    ("code:default:1581", 60),  # 2.5 megapixels
    ("code:default:4899", 75),  # 24 megapixels
    ("compare", 60),
    ("speed:default:1581", 50),
    ("folder:default:512", 40),
    ("module:benchmarks.device_lanes:--values:400000:--lanes:64,96,1000,4096", 40),
    ("module:benchmarks.device_convolutions:bitsback/models/default.safetensors:--seconds:30", 45),
    ("code:fast:1581", 40),
)


def one(step: str, device: str, *where: Any) -> None:
    """Runs a step and prints its facts as the last line."""
    kind, *rest = step.split(":")
    facts: dict[str, Any]
    try:
        if kind == "code":
            facts = code(device, rest[0], int(rest[1]), *where)
        elif kind == "folder":  # as many images at once as the command line codes
            from benchmarks.folder import several

            facts = several(where[0], device, rest[0], 8, int(rest[1]))
        elif kind == "speed":  # shares of the time, launches, memory, roofline
            from benchmarks.device_speed import measure

            facts = measure(where[0], rest[0], device, int(rest[1]))
        else:
            facts = {"kernels": kernels, "compare": compare}[kind](device)
    except Exception:
        facts = {"failed": traceback.format_exc()[-3000:]}
    print(json.dumps(facts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("image", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--seconds", type=float, default=170)
    parser.add_argument("--steps", help="separated by commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.device, args.image, args.output, args.reference)
        return
    args.output.mkdir(parents=True, exist_ok=True)
    report, end = args.output / "device_check.txt", time.monotonic() + args.seconds
    steps = STEPS
    if args.steps:
        steps = tuple((step, int(args.seconds)) for step in args.steps.split(","))
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    for step, limit in steps:
        left = min(limit, end - time.monotonic())
        line = f"== {step} "
        if left < 8:
            line += "left out: no time"
        else:
            kind, *rest = step.split(":")
            command = [sys.executable, "-W", "ignore", "-m"]
            if kind == "module":
                command += [*rest, "--device", args.device]
            else:
                command += ["benchmarks.device_check", str(args.image), "-o", str(args.output)]
                command += ["--device", args.device, "--one", step]
                if args.reference:
                    command += ["--reference", str(args.reference)]
            begin = time.monotonic()
            output, state = _run(command, environment, left)
            lines = output.splitlines()
            if kind != "module" and state == "exit 0" and '{"failed"' not in lines[-1]:
                output = lines[-1] + "\n"  # each line holds what those before it do
            line += f"{state}, {time.monotonic() - begin:.1f} s\n{output}"
        print(line, flush=True)
        with report.open("a") as file:
            file.write(line + "\n")


def _run(command: list[str], environment: dict[str, str], limit: float) -> tuple[str, str]:
    """(the end of what a command wrote, how it ended)."""
    with subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
            return output[-6000:], f"exit {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return output[-6000:], "stopped at its time limit"


if __name__ == "__main__":
    main()
