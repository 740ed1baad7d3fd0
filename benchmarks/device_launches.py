"""What a launch costs the host: microseconds each, of kernels that do next to nothing.

    python -m benchmarks.device_launches [--device cuda] [--count 3000]

Needs torch, numpy and Triton.  A kernel is launched by bitsback.ans.launch and by Triton itself; an
operation of torch beside them; a CUDA graph of as many kernels; and all but the graph again beside
threads that compute in Python, which share its lock.  Each is the best of three runs with a wait
for the device at the end.  A segment has some 700 launches.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import triton
import triton.language as tl

from benchmarks.report import summary
from bitsback.ans.launch import launch

HELPERS = 2  # threads beside


@triton.jit(do_not_specialize=["a", "b", "c", "d", "e", "n", "m"])
def touch(a, b, c, d, e, n, m):
    """Adds 1 to the first element: as many arguments as kernels of the coder have."""
    tl.store(a, tl.load(a) + 1)


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """Threads that compute in Python meanwhile."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1000))

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in running:
            thread.join()


def microseconds(run: Callable[[], object], count: int, device: torch.device) -> float:
    """Of each of `count` runs, the best of three, after one that is not counted."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        for _ in range(count):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:]) / count * 1e6


def graph_of(run: Callable[[], object], count: int) -> torch.cuda.CUDAGraph:
    """A CUDA graph of `count` runs."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            run()
    return graph


def measure(device: torch.device, count: int) -> dict[str, float | str]:
    """{what is launched: microseconds}; what fails says why."""
    a = torch.zeros(64, dtype=torch.int64, device=device)
    arrays = [a, *(torch.zeros_like(a) for _ in range(4))]
    kinds: dict[str, Callable[[], object]] = {
        "launch": lambda: launch(touch, (1,), *arrays, 5, 7, num_warps=1),
        "Triton": lambda: touch[(1,)](*arrays, 5, 7, num_warps=1),
        "torch": lambda: a.add_(1),
        "empty": lambda: a.new_empty(64),
    }
    found: dict[str, float | str] = {}
    for name, run in kinds.items():
        found[name] = round(microseconds(run, count, device), 2)
        with busy(HELPERS):
            found[f"{name}, beside {HELPERS} threads"] = round(
                microseconds(run, max(1, count // 10), device), 2
            )
    if device.type == "cuda":
        try:
            replay = graph_of(kinds["launch"], count).replay
            found["graph"] = round(microseconds(replay, 1, device) / count, 2)
        except Exception as error:  # the rest is worth knowing
            found["graph"] = f"{type(error).__name__}: {error}"[:300]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=3000)
    args = parser.parse_args()
    print(json.dumps({"device_launches": measure(torch.device(args.device), args.count)}))


if __name__ == "__main__":
    main()
