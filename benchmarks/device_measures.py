"""What the benchmarks of a GPU measure: times, launches, operations, choices of blocks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitsback.integer.convolution import Layer
from bitsback.integer.experts import Expert

PEAK = 8192  # rows and columns of the matrices that the peak is measured with
COPIED = 2**29  # bytes of the memory that copying is measured with
# BLOCK_M, BLOCK_N, BLOCK_K, warps, stages of a 3x3 layer of 96 channels
SWEEP = (
    (128, 128, 32, 8, 3),
    (128, 128, 32, 8, 4),
    (128, 128, 32, 4, 3),
    (64, 128, 32, 4, 3),
    (64, 128, 32, 4, 4),
    (128, 32, 32, 4, 4),
    (256, 32, 32, 8, 4),
    (128, 64, 32, 4, 3),
    (128, 128, 128, 8, 2),
    (64, 128, 128, 4, 2),
)


def image_of(paths: list[Path], side: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: the images below one another, or a square of them."""
    from PIL import Image  # device_convolutions needs none

    images = [np.array(Image.open(path).convert("RGB")) for path in paths]
    width = min(pixels.shape[1] for pixels in images)
    pixels = np.concatenate([pixels[:, :width] for pixels in images])
    if side:
        times = -(-side // pixels.shape[0]), -(-side // pixels.shape[1]), 1
        pixels = np.tile(pixels, times)[:side, :side]
    return np.ascontiguousarray(pixels)


def microseconds(work: Callable[[], Any], device: torch.device, runs: int) -> float:
    """Mean time of a run on the device, after two that are not counted."""
    for _ in range(min(runs, 2)):
        work()
    if device.type != "cuda":
        begin = time.perf_counter()
        for _ in range(runs):
            work()
        return (time.perf_counter() - begin) / runs * 1e6
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(runs):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / runs * 1e3


def launches(work: Callable[[], Any], device: torch.device) -> int | None:
    """Kernels that a run starts on a CUDA device; None where they cannot be counted."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            work()
            torch.cuda.synchronize()
        events = profiler.key_averages()
        return sum(event.count for event in events if event.self_device_time_total)
    except Exception as error:  # machines without the right to count
        print("launches are not counted:", error)
        return None


def pixels_of(name: str, height: int, width: int) -> int:
    """Outputs of a layer for each channel, for an image of this size."""
    stage = name.split(".")[0]
    if stage in ("down2", "up2", "to2", "from2"):
        return height * width // 16
    if stage in ("middle", "to3", "from3"):
        return height * width // 64
    return height * width // 4


def operations(expert: Expert, size: int) -> int:
    """Of the trunk and all heads on size x size pixels: two for a weight and an output."""
    total = 0
    for name, layer in expert.layers.items():
        runs = expert.config.passes - 1 if name in ("head_known", "head_mix") else 1
        total += 2 * layer.weight.numel() * pixels_of(name, size, size) * runs
    return total


def sweep(layer: Layer, size: int, device: torch.device, until: float) -> dict[str, Any]:
    """Microseconds of a layer with a residual under each choice of blocks."""
    from bitsback.integer.triton_convolution import TritonInt8
    from bitsback.integer.triton_layers import Blocks

    channels, times = layer.weight.shape[1], {}
    x = torch.randint(0, 256, (1, size // 2, size // 2, channels), device=device).to(torch.uint8)
    wide = torch.zeros(x.shape, device=device).permute(0, 3, 1, 2)
    x = x.permute(0, 3, 1, 2)
    for choice in SWEEP:
        if time.time() > until:
            break
        try:
            made = TritonInt8({"l": layer}, device, lambda *_: Blocks(*choice))
            times[str(choice)] = [
                round(microseconds(lambda: made.convolve("l", x, 0, True), device, 10), 1),
                round(microseconds(lambda: made.convolve_sum("l", x, 0, wide), device, 10), 1),
            ]
        except Exception as error:
            times[str(choice)] = f"{type(error).__name__}: {error}"[:300]
    print("sweep, microseconds of .a and .b:", json.dumps(times))
    return times


def int8_peak(device: torch.device) -> float:
    """Operations a second of torch._int_mm."""
    side = PEAK if device.type == "cuda" else 256
    a, b = (torch.randint(-9, 9, (side, side), device=device).to(torch.int8) for _ in range(2))
    return 2 * side**3 / microseconds(lambda: torch._int_mm(a, b.T), device, 10) * 1e6


def layer_bytes(name: str, layer: Layer, pixels: int) -> int:
    """Bytes that a layer reads and writes, each once.  pixels: outputs of each channel.

    Activations are bytes; sums are float32, read and written by all layers but those that only
    narrow; the last ones write int32.
    """
    outputs, inputs = layer.weight.shape[:2]
    kind = name.split(".")[-1]
    written = 1 if kind == "a" or name in ("head_known", "head_mix") else 4
    narrowed = kind == "b" or name.startswith(("first", "to", "from"))
    added = kind == "b" or name.startswith("from")
    moved = outputs * (written + narrowed + 4 * added) + inputs * layer.stride**2
    return moved * pixels + layer.weight.numel()


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of copying memory on a device."""
    size = COPIED if device.type == "cuda" else COPIED // 16
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / microseconds(lambda: target.copy_(source), device, 10) * 1e6
