"""Where the time of coding one image on a device goes, and what the device could do.

    python -m benchmarks.device_speed IMAGE [--models default] [--device cuda] [--side 0]
                                      [-o benchmarks/results/device_speed]

Each way twice; the second is reported: the first loads kernels.  Time on the device is that of its
kernels as the profiler adds it up, by the package that they come from: integer is the network, ans
and coder are the coder; the rest are torch's own, copies among them.  Busy is their sum against the
clock.  On the host the network's time is by the clock, and the rest is the coder.

Roofline: operations (two for a weight and an output) and bytes (inputs, weights, outputs and sums
of every layer, each once) of the network against its time, as a share of what this device reached
just before: torch._int_mm of 8192^3 (256^3 on the CPU), and copying.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.device_measures import copy_bandwidth, image_of, int8_peak, layer_bytes, pixels_of
from benchmarks.launches import launches
from benchmarks.report import summary, table
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.beside import helpers
from bitsback.codecs import decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.coder.chain import Chain
from bitsback.coder.model import Model

HEADS = "head_known", "head_mix"
PACKAGES = {"integer": "network", "ans": "coder", "coder": "coder"}


class Work:
    """What the network is asked to compute, and seconds of the host in it; calls of segments."""

    def __init__(self) -> None:
        self.operations, self.bytes, self.seconds = 0, 0, 0.0
        self.segments, self.host, self.waiting = 0, 0.0, 0.0

    def add(self, layers: dict[str, Any], names: list[str], height: int, width: int) -> None:
        """Adds the layers of one evaluation of height x width pixels, multiples of 8."""
        for name in names:
            pixels = pixels_of(name, height, width)
            self.operations += 2 * layers[name].weight.numel() * pixels
            self.bytes += layer_bytes(name, layers[name], pixels)


@contextmanager
def observed(chain: Chain, work: Work) -> Iterator[None]:
    """Adds to `work` what a chain does while it is open."""
    network, trunk, head = chain.network, chain.network.trunk, chain.network.head

    def of(heads: bool, index: int) -> tuple[dict[str, Any], list[str]]:
        layers = network.of(index).backend.layers
        return layers, [n for n in layers if (n.split(".")[0] in (*HEADS, "head_out")) == heads]

    def timed(method: Callable, *arguments: Any) -> Any:
        begin = time.perf_counter()
        found = method(*arguments)
        work.seconds += time.perf_counter() - begin
        return found

    def counted_trunk(index: int, y: torch.Tensor) -> Any:
        height, width = (-(-side // 8) * 8 for side in y.shape[2:])
        work.add(*of(False, index), len(y) * height, width)
        return timed(trunk, index, y)

    def counted_head(index: int, number: int, state: Any, innovations: torch.Tensor) -> Any:
        layers, names = of(True, index)
        names = [n for n in names if n in (*HEADS, f"head_out.{number - 1}")]
        batch, height, width = innovations.shape[:3]
        work.add(layers, names, 2 * batch * height, 2 * width)
        return timed(head, index, number, state, innovations)

    def segment(method: Callable) -> Callable:
        def one(self: Chain, *arguments: Any, **options: Any) -> Any:
            before, begin = work.waiting, time.perf_counter()
            try:
                return method(self, *arguments, **options)
            finally:
                work.segments += 1
                work.host += time.perf_counter() - begin - (work.waiting - before)

        return one

    def fetched(self: DeviceLanes) -> Any:
        begin = time.perf_counter()
        try:
            return to_lanes(self)
        finally:
            work.waiting += time.perf_counter() - begin

    to_lanes, push, pop = DeviceLanes.to_lanes, Chain.push, Chain.pop
    network.trunk, network.head = counted_trunk, counted_head  # type: ignore[method-assign]
    DeviceLanes.to_lanes = fetched  # type: ignore[method-assign]
    Chain.push, Chain.pop = segment(push), segment(pop)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del network.trunk, network.head
        DeviceLanes.to_lanes = to_lanes  # type: ignore[method-assign]
        Chain.push, Chain.pop = push, pop  # type: ignore[method-assign]


def parts_of_kernels() -> dict[str, str]:
    """{name of a Triton kernel: "network" or "coder"} of those that are loaded."""
    found = {}
    for module in [m for name, m in sys.modules.items() if name.startswith("bitsback.")]:
        part = PACKAGES.get(module.__name__.split(".")[1], "rest")
        for value in vars(module).values():
            made = getattr(getattr(value, "fn", None), "__module__", "")
            if made == module.__name__:
                found[value.fn.__name__] = part
    return found


def device_seconds(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a CUDA device's kernels in a run, by part."""
    from torch.profiler import ProfilerActivity, profile

    parts, found = parts_of_kernels(), {"network": 0.0, "coder": 0.0, "rest": 0.0}
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    for event in profiler.key_averages():
        name = event.key
        products = any(word in name.lower() for word in ("gemm", "conv2d", "im2col"))
        part = parts.get(name, "network" if products else "rest")
        found[part] += event.self_device_time_total / 1e6
    return found


def measure(path: Path, name: str, device: str, side: int = 0) -> dict[str, Any]:
    """The figures of one model, {row: (encoding, decoding)}.  Errors: SystemExit for other pixels.

    side: of the square that is coded, the image repeated if need be; 0 for the whole image.
    """
    pixels = image_of([path], side)
    model, where, (height, width) = Model.open(name), torch.device(device), pixels.shape[:2]
    chain, megapixels = model.chain(device), height * width / 1e6
    peak, bandwidth = int8_peak(where), copy_bandwidth(where)
    header = container.Header((container.Entry(width, height),), container.pixel_digest([pixels]))
    data = b""

    def encode() -> None:
        nonlocal data
        with helpers() as beside:
            found = prior_codec.encode_stack([pixels], header, model, device, beside=beside)
        assert found is not None
        data = container.write(*found)

    def decode() -> None:
        if not np.array_equal(decoder.decode(data, model=model, device=device), pixels):
            raise SystemExit(f"{name}: other pixels came back")

    rows = [_way(way, chain, where, megapixels) for way in (encode, decode)]
    facts: dict[str, Any] = {"megapixels": megapixels, "model": model.id[:16], "bytes": len(data)}
    facts |= {"backend": chain.network.backend.name, "tensors": chain.tensors}
    facts |= {"int8 peak, TOP/s": peak / 1e12, "copying, GB/s": bandwidth / 1e9}
    for row in rows:
        row["share of the int8 peak"] = row["network, TOP/s"] * 1e12 / peak
        row["share of copying"] = row["network, GB/s"] * 1e9 / bandwidth
    return facts | {"rows": {key: [row[key] for row in rows] for key in rows[0]}}


def _way(run: Callable[[], None], chain: Chain, device: torch.device, size: float) -> dict:
    """The figures of encoding or decoding.  size: megapixels."""
    run()
    gpu, work = device.type == "cuda", Work()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    row: dict[str, float] = {"MP/s": size / seconds}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row["peak MiB"] = (torch.cuda.max_memory_allocated() if gpu else peak) / 2**20
    with observed(chain, work):
        run()
    row |= {"segments tried": work.segments, "host ms a segment": 1e3 * work.host / work.segments}
    with launches() as counted:
        run()
    row["operations a segment"] = sum(counted.values()) / work.segments
    if gpu:
        parts = device_seconds(run)
        row["busy"] = sum(parts.values()) / seconds
        total = max(sum(parts.values()), 1e-9)
    else:
        parts, total = (
            {"network": work.seconds, "coder": seconds - work.seconds, "rest": 0},
            seconds,
        )
    for part, spent in parts.items():
        row[part] = spent / total
    row["network, TOP/s"] = work.operations / max(parts["network"], 1e-9) / 1e12
    row["network, GB/s"] = work.bytes / max(parts["network"], 1e-9) / 1e9
    return row


def _shown(key: str, value: float) -> str:
    if key.startswith("share") or key in ("network", "coder", "rest", "busy"):
        return f"{value:.1%}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def report(path: Path, names: list[str], device: str, output: Path | None, side: int = 0) -> None:
    """Prints the figures of each model as a table, and as JSON; writes them to output.md."""
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    text = f"python -m benchmarks.device_speed {path.name} --models {','.join(names)} "
    text += f"--device {device} --side {side}   ({card}, torch {torch.__version__})\n"
    for name in names:
        facts = measure(path, name, device, side)
        rows = facts.pop("rows")
        lines = [[key, *(_shown(key, value) for value in rows[key])] for key in rows]
        about = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in facts.items()
        )
        text += f"\n{name}: {about}\n\n" + table(["", "encode", "decode"], lines)
        print(json.dumps({"device_speed": facts | rows}), flush=True)
    print(text)
    if output:
        output.with_suffix(".md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("image", type=Path)
    parser.add_argument("--models", default="default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    report(args.image, args.models.split(","), args.device, args.output, args.side)


if __name__ == "__main__":
    main()
