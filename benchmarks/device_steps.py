"""Steps of benchmarks.device_check that need no benchmark beside it."""

import hashlib
import json
import time
import traceback
from pathlib import Path
from typing import Any


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
    from bitsback.beside import helpers
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
        with helpers() as beside:
            found = prior_codec.encode_stack([pixels], header, model, device, beside=beside)
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
