"""Megapixels a second and peak memory of encoding and decoding, with JPEG XL and WebP in the run.

    python -m benchmarks.speed IMAGE [--models fast,default] [--threads 1,2] [--device cpu]
                               [-o benchmarks/results/speed]

Each line is a process of its own, for its own peak memory.  Times, the best of two, are of coding
under the prior: no fallback codec, no verification, no tuning (benchmarks.efforts has it).  Network
and coding are shares of the decode's time; the network's time is also a multiple of its operations
over the int8 peak that one convolution reaches here just before.  Popped and pushed are values of
Gaussian arrays a second while decoding, all that Lanes does included.
"""

import argparse
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.report import summary

OTHER_NAMES = ("WebP", "JPEG XL e7", "JPEG XL e9")


Result = TypeVar("Result")


def _timed(work: Callable[[], Result], runs: int = 2) -> tuple[float, Result]:
    """(seconds of the fastest run, its result)."""
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    return best, result


class Clock:
    """Adds up the time spent inside functions that it wraps, and the values they code."""

    def __init__(self) -> None:
        self.seconds, self.values = 0.0, 0

    def around(self, function: Callable[..., Any], coded: int | None = None) -> Callable[..., Any]:
        """The function, timed.  coded: the number of its argument that is an array of values."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if coded is not None:
                self.values += len(arguments[coded])
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed

    @property
    def rate(self) -> float:
        """Values a second, in millions."""
        return self.values / max(self.seconds, 1e-9) / 1e6


class Counter:
    """Adds up the multiply-adds of a backend's convolutions."""

    def __init__(self) -> None:
        self.multiply_adds = 0

    def around(self, backend: Any) -> Callable[..., Any]:
        """The backend's `convolve`, counted."""
        convolve = backend.convolve

        def counted(name: str, x: Any, *arguments: Any, **options: Any) -> Any:
            out = convolve(name, x, *arguments, **options)
            self.multiply_adds += out.numel() * backend.layers[name].weight[0].numel()
            return out

        return counted


def peak(seconds: float = 1.0) -> float:
    """Multiply-adds a second of the fastest backend's 64-channel 3x3 convolution, best of many.

    Its size fits the caches.
    """
    import torch

    from bitsback.integer.convolution import Layer
    from bitsback.integer.selftest import choose

    weight = torch.randint(-64, 65, (64, 64, 3, 3), dtype=torch.int8)
    backend = choose(
        {
            "l": Layer(
                weight,
                torch.zeros(1, 64, dtype=torch.int32),
                torch.full((64,), 9, dtype=torch.int8),
            )
        }
    )
    x = torch.randint(0, 256, (1, 64, 96, 128), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, _timed(lambda: backend.convolve("l", x, 0, clamp=True), 1)[0])
    return x.numel() * weight[0].numel() / best


def one(path: Path, name: str, threads: int, device: str = "cpu") -> dict[str, Any]:
    """The figures of one codec: seconds, bytes, peak memory in MiB; of a model also shares.

    On a device other than the CPU, in place of shares, the operations it is asked for in a segment.
    """
    import numpy as np
    from PIL import Image

    from bitsback.memory import keep_pages

    keep_pages()
    pixels = np.array(Image.open(path).convert("RGB"))
    facts: dict[str, Any] = {"megapixels": pixels.size / 3e6, "start_s": None}
    if name in OTHER_NAMES:
        from benchmarks.other_codecs import OTHER_CODECS

        write, read = OTHER_CODECS[name]
        facts["encode_s"], written = _timed(lambda: write(pixels))
        data = bytes(written)
        facts["decode_s"], back = _timed(lambda: read(data))
    else:
        begin = time.perf_counter()
        import torch

        from bitsback.ans.colour_counts import ColourCounts
        from bitsback.ans.lanes import Lanes
        from bitsback.codecs import decoder, prior_codec
        from bitsback.codecs.bitstream import container
        from bitsback.coder.model import Model

        torch.set_num_threads(threads)
        model = Model.open(name)
        model.chain(device)
        facts["start_s"] = time.perf_counter() - begin
        header = container.Header(
            (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels])
        )
        facts["encode_s"], result = _timed(
            lambda: prior_codec.encode_stack([pixels], header, model, device)
        )
        data = container.write(*result)
        decode = functools.partial(decoder.decode, data, model=model, device=device)
        facts["decode_s"], back = _timed(decode)
    if name not in OTHER_NAMES and device != "cpu":
        from benchmarks.launches import launches

        with launches() as asked:
            decode()
        segments = len(container.read_header(data).segments)
        facts["operations"] = round(sum(asked.values()) / segments)
    elif name not in OTHER_NAMES:
        network, popped, pushed, counted = Clock(), Clock(), Clock(), Clock()
        counter, top = Counter(), peak()
        chain = model.chain()
        for _, part in chain.network.networks:
            part.backend.convolve = counter.around(part.backend)
        for step in chain.reverse:
            step.network.trunk, step.network.head = (
                network.around(step.network.trunk),
                network.around(step.network.head),
            )
            break  # all steps share one network
        Lanes.push_gaussian = pushed.around(Lanes.push_gaussian, 2)
        Lanes.pop_gaussian = popped.around(Lanes.pop_gaussian, 2)
        ColourCounts.pop = counted.around(ColourCounts.pop)
        total, _ = _timed(decode, 1)
        coding = popped.seconds + pushed.seconds + counted.seconds
        facts["network"], facts["coding"] = network.seconds / total, coding / total
        facts["popped"], facts["pushed"] = popped.rate, pushed.rate
        facts["of_peak"], facts["peak_gops"] = (
            network.seconds * top / counter.multiply_adds,
            2 * top / 1e9,
        )
    if not np.array_equal(back, pixels):
        raise SystemExit(f"{name}: other pixels came back")
    facts["bytes"], facts["peak_mib"] = (
        len(data),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    return facts


def _apart(path: Path, name: str, threads: int, device: str) -> dict[str, Any]:
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
        "--device",
        device,
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
    parser.add_argument("--device", default="cpu", help="that of the models")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.image, args.one, int(args.threads), args.device)))
        return
    from bitsback.coder.model import Model

    names = args.models.split(",")
    lines = [(name, 1) for name in OTHER_NAMES] + [
        (name, int(t)) for name in names for t in args.threads.split(",")
    ]
    results = [
        (name, threads, _apart(args.image, name, threads, args.device)) for name, threads in lines
    ]
    jxl = next(facts for name, _, facts in results if name == "JPEG XL e9")
    ids = ", ".join(f"{name} {Model.open(name).id[:16]}" for name in names)
    text = [
        f"python -m benchmarks.speed {args.image.name} --models {args.models} "
        f"--threads {args.threads} --device {args.device}   ({ids}; "
        f"{results[0][2]['megapixels']:.2f} megapixels, "
        f"{platform.machine()}, {os.cpu_count()} cores)\n",
        "| codec | threads | bytes | encode MP/s | decode MP/s | encode time against JPEG XL e9 "
        "| peak MiB | network | coding | all but network | popped, million/s | pushed, million/s "
        "| network time / (operations / peak) | int8 peak, GOP/s | start s "
        "| operations a segment |",
        "|" + "---|" * 16,
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
            f"| {' | '.join(shares)} | {start} | {facts.get('operations', '')} |"
        )
    print("\n".join(text))
    if args.output:
        args.output.with_suffix(".md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
