"""Lanes on a GPU against the reference in numpy, and values coded a second by number of lanes.

    python -m benchmarks.device_lanes [--device cuda] [--values 2000000] [--lanes 64,512,4096]

Needs torch, numpy and Triton only.  An array of random values is pushed and popped by the Triton
kernels, by torch operations and by the reference; all states and words must be equal.
"""

import argparse
import json
import time

import numpy as np
import torch

from benchmarks.report import summary
from bitsback.ans import lanes_numpy
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.gaussian_tables import Gaussians, gaussian_frequencies
from bitsback.ans.lanes import Lanes

CHECKED = 20_000  # values that torch operations and the reference code


def message(lanes: int) -> Lanes:
    """Open lanes over a few random words."""
    found = Lanes(np.random.default_rng(0).bytes(4 * (lanes + 64)), lanes_numpy)
    found.widen(lanes)
    return found


def array(n: int, escapes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, mean32, scale) int32 of n values; a share `escapes` of them lies anywhere."""
    rng = np.random.default_rng(n)
    mean32 = rng.integers(-4000, 4000, n).astype(np.int32)
    scale = rng.integers(40, 80, n).astype(np.int32)
    noise = np.rint(rng.normal(0, 1, n) * 2 ** ((scale - 64) / 16) + mean32 / 32)
    values = np.where(rng.random(n) < escapes, rng.integers(-(2**15), 2**15, n), noise)
    return values.astype(np.int32), mean32, scale


def check(gaussians: Gaussians, lanes: int, device: torch.device, kernels: bool) -> bool:
    """Whether one push and one pop on the device equal the reference, escapes included."""
    values, mean32, scale = array(CHECKED, 0.01)
    tensors = [torch.from_numpy(a).to(device) for a in (values, mean32, scale)]
    expected, ours = message(lanes), message(lanes)
    expected.push_gaussian(gaussians.table, values, mean32, scale)
    there = DeviceLanes(ours, device, 2 * CHECKED, kernels)
    there.push_gaussian(gaussians.table, *tensors)
    same = there.to_lanes().to_bytes() == expected.to_bytes()
    there = DeviceLanes(ours, device, 0, kernels)
    popped = there.pop_gaussian(gaussians.table, *tensors[1:])
    same = same and np.array_equal(popped.cpu().numpy(), values)
    return same and there.to_lanes().to_bytes() == message(lanes).to_bytes()


def rates(gaussians: Gaussians, lanes: int, n: int, device: torch.device) -> tuple[float, float]:
    """Millions of values pushed and popped a second by the Triton kernels, best of three."""
    values, mean32, scale = (torch.from_numpy(a).to(device) for a in array(n, 0.0))
    best, ours = [float("inf")] * 2, message(lanes)
    for _ in range(3):
        there = DeviceLanes(ours, device, 2 * n, True)
        for way in range(2):
            _wait(device)
            begin = time.perf_counter()
            if way == 0:
                there.push_gaussian(gaussians.table, values, mean32, scale)
            else:
                there.pop_gaussian(gaussians.table, mean32, scale)
            _wait(device)
            best[way] = min(best[way], time.perf_counter() - begin)
    return n / best[0] / 1e6, n / best[1] / 1e6


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--values", type=int, default=2_000_000)
    parser.add_argument("--lanes", default="1,64,512,1000,4096")
    args = parser.parse_args()
    device, gaussians = torch.device(args.device), Gaussians(gaussian_frequencies())
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    rows = []
    for lanes in map(int, args.lanes.split(",")):
        row: dict[str, object] = {"lanes": lanes}
        for kind, kernels in (("triton", True), ("torch", False)):
            if not kernels and lanes < 64:
                continue  # a step a value: minutes
            try:
                row[f"{kind} equals reference"] = check(gaussians, lanes, device, kernels)
            except Exception as error:  # the report goes on: each kernel may fail to compile
                row[f"{kind} equals reference"] = f"{type(error).__name__}: {error}"[:300]
        if row["triton equals reference"] is True:
            n = max(1, min(args.values, args.values * lanes // 256))
            pushed, popped = rates(gaussians, lanes, n, device)
            row["pushed, million/s"], row["popped, million/s"] = round(pushed, 2), round(popped, 2)
        print(json.dumps(row), flush=True)
        rows.append(row)
    print(json.dumps({"device_lanes": rows}))


if __name__ == "__main__":
    main()
