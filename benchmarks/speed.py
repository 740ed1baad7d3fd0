"""Megapixels a second and peak memory of encoding and decoding, with JPEG XL and WebP in the run.

    python -m benchmarks.speed IMAGE [--models fast,default] [--threads 1,2] [--device cpu]
                               [-o benchmarks/results/speed]

Each line is a process of its own, for its own peak memory.  Times, the best of two, are of coding
under the prior: no fallback codec, no verification, no tuning (benchmarks.efforts has it).  Network
and coding are shares of the decode's time; the network's time is also a multiple of its operations
over the int8 peak that one convolution reaches here just before.  Popped and pushed are values of
Gaussian arrays a second while decoding, all that Lanes does included.  With another device than the
CPU, the report is that of benchmarks.device_speed, without the other codecs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import summary
from benchmarks.speed_measures import OTHER_NAMES, one


def _apart(path: Path, name: str, threads: int) -> dict[str, Any]:
    """`one` in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        str(path),
        "--one",
        name,
        "--threads",
        str(threads),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("image", type=Path)
    parser.add_argument("--models", default="default")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--device", default="cpu", help="that of the models; see device_speed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.image, args.one, int(args.threads))))
        return
    if args.device != "cpu":
        from benchmarks.device_speed import report

        report(args.image, args.models.split(","), args.device, args.output)
        return
    from bitsback.coder.model import Model

    names = args.models.split(",")
    lines = [(name, 1) for name in OTHER_NAMES] + [
        (name, int(t)) for name in names for t in args.threads.split(",")
    ]
    results = [(name, threads, _apart(args.image, name, threads)) for name, threads in lines]
    jxl = next(facts for name, _, facts in results if name == "JPEG XL e9")
    ids = ", ".join(f"{name} {Model.open(name).id[:16]}" for name in names)
    text = [
        f"python -m benchmarks.speed {args.image.name} --models {args.models} "
        f"--threads {args.threads}   ({ids}; "
        f"{results[0][2]['megapixels']:.2f} megapixels, "
        f"{platform.machine()}, {os.cpu_count()} cores)\n",
        "| codec | threads | bytes | encode MP/s | decode MP/s | encode time against JPEG XL e9 "
        "| peak MiB | network | coding | all but network | popped, million/s | pushed, million/s "
        "| network time / (operations / peak) | int8 peak, GOP/s | start s |",
        "|" + "---|" * 15,
    ]
    for name, threads, facts in results:
        rates = [f"{facts['megapixels'] / facts[kind]:.3f}" for kind in ("encode_s", "decode_s")]
        shares = [f"{facts[kind]:.0%}" if kind in facts else "" for kind in ("network", "coding")]
        shares.append(f"{1 - facts['network']:.0%}" if "network" in facts else "")
        shares += [
            f"{facts[kind]:.{places}f}" if kind in facts else ""
            for kind, places in (("popped", 0), ("pushed", 0), ("of_peak", 2), ("peak_gops", 0))
        ]
        start = f"{facts['start_s']:.1f}" if facts["start_s"] else ""
        text.append(
            f"| {name} | {threads} | {facts['bytes']} | {' | '.join(rates)} "
            f"| {facts['encode_s'] / jxl['encode_s']:.2f} | {facts['peak_mib']:.0f} "
            f"| {' | '.join(shares)} | {start} |"
        )
    print("\n".join(text))
    if args.output:
        args.output.with_suffix(".md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
