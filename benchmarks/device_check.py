"""The whole codec on a GPU: bytes, pixels, megapixels a second, operations and memory.

    python -m benchmarks.device_check IMAGE -o FOLDER [--device cuda] [--seconds 140]
                                      [--reference FOLDER]

Each step is a process with a time limit of its own; what fails is reported, and the next step goes
on.  Needs torch, numpy, Pillow, click, tqdm and safetensors; kernels need Triton.  Files are left
in the folder; with those of a CPU (`--device cpu --steps code:default:256`) as the reference, each
must be the same, and decode to the same pixels.  (Another version of Pillow's libwebp can code the
first credit to other bytes.)
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.report import summary

STEPS: tuple[tuple[str, int], ...] = (
    ("kernels", 60),
    ("compare", 40),
    ("code:default:256", 70),
    ("code:default:768", 80),
    ("module:benchmarks.device_lanes:--values:400000:--lanes:64,96,1000,4096", 40),
    ("module:benchmarks.device_convolutions:bitsback/models/default.safetensors:--seconds:30", 45),
    ("code:fast:768", 60),
)


def _model(name: str, device: str) -> Any:
    from bitsback.coder.model import Model

    return Model.open(name)


def kernels(device: str) -> dict[str, Any]:
    """Which kernels of the coder pass their self-test, and which backend computes convolutions."""
    import torch

    from bitsback.coder.kernel_selftest import usable_kernels

    model, begin = _model("default", device), time.perf_counter()
    found, reasons = usable_kernels(model.gaussians, model.forward, torch.device(device))
    facts: dict[str, Any] = {"kernels": found._asdict(), "reasons": reasons}
    facts["self-test s"] = round(time.perf_counter() - begin, 1)
    if device == "cuda":
        facts["card"] = torch.cuda.get_device_name()
    facts["torch"] = str(torch.__version__)
    return facts


def compare(device: str) -> dict[str, Any]:
    """Whether one segment costs the same, step by step, and returns, on the host and as tensors.

    Its network runs on the device in both; colours are counted, a tenth of the samples is fixed.
    """
    import numpy as np

    from bitsback.ans.colour_counts import ColourCounts
    from bitsback.ans.device_lanes import Kernels
    from bitsback.ans.lanes import Lanes
    from bitsback.coder.context import Context
    from bitsback.coder.ledger import Ledger
    from bitsback.coder.top import Top

    model, rng = _model("default", device), np.random.default_rng(0)
    whole = np.cumsum(rng.integers(-2, 3, (1, 3, 56, 40)), 3).clip(-128, 127).astype(np.int32)
    x = np.ascontiguousarray(whole[:, :, :48, :32])
    free = rng.random(x.shape) < 0.9
    context = Context(whole[:, :, 48:], whole[:, :, :48, 32:], free, x[~free])
    usual = model.chain(device)
    backends = [network.backend for _, network in usual.network.networks]
    tensors = usual if usual.tensors else model._chain(backends, Kernels(False, False, False))
    facts: dict[str, Any] = {"tensors": usual.tensors, "kernels": tuple(tensors.kernels)}
    entries, data, top = [], [], Top((0, 0, 0), (70, 70, 70))
    for chain in (model._chain(backends, None), tensors):
        lanes = Lanes(np.random.default_rng(1).bytes(5 * x.size))
        lanes.widen(100)
        counts, ledger = ColourCounts(3), Ledger()
        counts.count_all(x)
        ledger.begin(0, lanes)
        chain.push(lanes, x, top, context, counts=chain.counts_for(counts), ledger=ledger)
        data.append(lanes.to_bytes())
        there = chain.counts_for(ColourCounts(3))
        back = chain.pop(lanes, x.shape, top, context, counts=there, ledger=ledger)
        facts[f"pixels equal, tensors {chain.tensors}"] = bool(np.array_equal(back, x))
        entries.append([tuple(entry) for entry in ledger.entries])
    facts["bytes equal"] = data[0] == data[1]
    differing = [pair for pair in zip(*entries) if pair[0] != pair[1]]
    facts["first differences (segment, level, pass, colour, popped, pushed)"] = differing[:3]
    return facts


def code(
    device: str, name: str, width: int, path: Path, output: Path, reference: Path | None
) -> dict[str, Any]:
    """Encodes and decodes the upper left width x (width or 512) pixels, twice each."""
    import numpy as np
    import PIL
    import torch
    from PIL import Image

    from benchmarks.launches import launches
    from bitsback.codecs import decoder, prior_codec
    from bitsback.codecs.bitstream import container

    height = 512 if width == 768 else width
    pixels = np.array(Image.open(path).convert("RGB"))
    pixels = np.tile(pixels, (-(-height // len(pixels)), -(-width // pixels.shape[1]), 1))
    pixels = np.ascontiguousarray(pixels[:height, :width])
    begin = time.perf_counter()
    model = _model(name, device)
    chain = model.chain(device)
    facts: dict[str, Any] = {"image": f"{path.name} {width}x{height}", "model": model.id[:16]}
    facts["backend"] = chain.network.backend.name
    facts["tensors"], facts["kernels"] = chain.tensors, tuple(chain.kernels)
    facts["start s"] = round(time.perf_counter() - begin, 2)
    header = container.Header((container.Entry(width, height),), container.pixel_digest([pixels]))

    def encode() -> bytes:
        found = prior_codec.encode_stack([pixels], header, model, device)
        return b"" if found is None else container.write(*found)

    data, rates = b"", []
    for _ in range(2):
        begin = time.perf_counter()
        try:
            data = encode()
        except Exception:  # the rest is measured without tensors
            facts["failed as tensors"] = traceback.format_exc()[-2000:]
            print(json.dumps(facts), flush=True)
            backends = [network.backend for _, network in chain.network.networks]
            model._chains[device] = model._chain(backends, None)
            begin = time.perf_counter()
            data = encode()
        rates.append(round(height * width / 1e6 / (time.perf_counter() - begin), 4))
    facts["bytes"], facts["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    written = container.read_header(data)
    facts["segments"], facts["sharpness"] = len(written.segments), written.sharpness
    facts["start"], facts["Pillow"] = tuple(written.start), PIL.__version__
    (output / f"{name}_{width}.bbk").write_bytes(data)
    facts["encode MP/s"] = rates
    print(json.dumps(facts), flush=True)
    rates = []
    for _ in range(2):
        begin = time.perf_counter()
        back = decoder.decode(data, model=model, device=device)
        rates.append(round(height * width / 1e6 / (time.perf_counter() - begin), 4))
    facts["decode MP/s"], facts["pixels equal"] = rates, bool(np.array_equal(back, pixels))
    if device == "cuda":
        facts["peak MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
    if reference is not None and (reference / f"{name}_{width}.bbk").is_file():
        other = (reference / f"{name}_{width}.bbk").read_bytes()
        back = decoder.decode(other, model=model, device=device)
        facts["equals the reference"] = other == data
        facts["decodes the reference"] = bool(np.array_equal(back, pixels))
    print(json.dumps(facts), flush=True)
    with launches() as counted:
        decoder.decode(data, model=model, device=device)
    facts["operations a segment"] = round(sum(counted.values()) / facts["segments"])
    facts["most"] = counted.most_common(12)
    if device == "cuda":
        print(json.dumps(facts), flush=True)
        facts["profile"] = _profile(lambda: decoder.decode(data, model=model, device=device))
    return facts


def _profile(work: Any) -> list[str]:
    """Where the device's time goes, the ten longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
    averages = sorted(profiler.key_averages(), key=lambda a: -a.self_device_time_total)
    return [
        f"{a.self_device_time_total / 1e3:.1f} ms {a.count} {a.key[:60]}" for a in averages[:10]
    ]


def one(step: str, device: str, *where: Any) -> None:
    """Runs a step and prints its facts as the last line."""
    kind, *rest = step.split(":")
    facts: dict[str, Any]
    try:
        if kind == "code":
            facts = code(device, rest[0], int(rest[1]), *where)
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
    parser.add_argument("--seconds", type=float, default=140)
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
