"""Whether the convolutions of a GPU's backends are exact, and how fast they are.

    python -m benchmarks.device_convolutions MODEL.safetensors [--size 1024] [--device cuda]

For each backend: the self-test; every layer, and trunk and heads of every expert, on odd sizes
against the CPU; the time of trunk and heads of each expert on SIZE x SIZE pixels, as a share of the
int8 peak that torch._int_mm reaches.  An error ends a backend's check, not the run.  The last line
is JSON, also written to $OUT/device_convolutions.json.  Needs neither constriction nor numba.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

try:
    import constriction  # noqa: F401
except ImportError:  # the network needs only constants of modules that import it
    sys.modules["constriction"] = MagicMock()

from benchmarks.device_measures import int8_peak, launches, microseconds, operations, sweep
from bitsback.integer.convolution import Reference
from bitsback.integer.experts import Expert
from bitsback.integer.int_mm import IntMM
from bitsback.integer.model_file import read_experts, read_model, read_steps
from bitsback.integer.network import HEAD_LIMITS, TRUNK_LIMITS, IntegerNetwork
from bitsback.integer.selftest import failure

ODD = 2, 3, 37, 52  # the shape of the latents that equality is tested with
LIMITED = ("last", "head_out")


def backends() -> dict[str, type[Reference]]:
    """{name: class}, the fastest first."""
    kinds: list[type[Reference]] = [IntMM, Reference]
    try:
        from bitsback.integer.triton_convolution import TritonInt8

        kinds.insert(0, TritonInt8)
    except Exception as error:
        print("Triton does not load:", repr(error))
    return {kind.name: kind for kind in kinds}


def evaluate(network: IntegerNetwork, shape: tuple[int, ...]) -> Callable[[], list[torch.Tensor]]:
    """A function that computes trunk and all heads on random latents of the shape."""
    generator = np.random.default_rng(sum(shape))
    y = torch.from_numpy(generator.integers(-400, 400, shape).astype(np.int32))
    rows, columns = (-(-side // 8) * 4 for side in shape[2:])
    z = torch.from_numpy(generator.integers(-96, 97, (shape[0], rows, columns, 12)).astype(np.int8))
    y, z = y.to(network.device), z.to(network.device)

    def run() -> list[torch.Tensor]:
        out, state = network.trunk(network.first, y)
        passes = range(1, network.config.passes)
        return [out, state, *(network.head(network.first, p, state, z) for p in passes)]

    return run


def wrong_layers(made: Reference, exact: Reference) -> list[str]:
    """Names of the layers whose integers differ, on random inputs of odd sizes."""
    wrong, generator = [], np.random.default_rng(3)
    for name, layer in exact.layers.items():
        inputs, last = layer.weight.shape[1], name.split(".")[0] in LIMITED
        x = torch.from_numpy(generator.integers(0, 256, (2, inputs, 14, 21)).astype(np.uint8))
        if name == "first":
            x = x.float() * 8 - 1020
        elif name == "head_known":
            x = (x.to(torch.int16) % 193 - 96).to(torch.int8)
        x = x.contiguous(memory_format=torch.channels_last)

        def results(backend: Reference) -> list[torch.Tensor]:
            moved = x.to(backend.device)
            if last:
                limits = TRUNK_LIMITS if name == "last" else HEAD_LIMITS
                return [backend.convolve_limited(name, moved, 0, limits, name == "last")]
            return [
                backend.convolve(name, moved, 0),
                *backend.convolve_sum(name, moved, 0, shuffle=name.startswith("from")),
            ]

        if not all(torch.equal(a.cpu(), b) for a, b in zip(results(made), results(exact))):
            wrong.append(name)
    return wrong


class Check:
    """Everything about one model on one device; `report` collects what is found."""

    def __init__(self, arguments: argparse.Namespace):
        self.options, self.device = arguments, torch.device(arguments.device)
        tensors, description, name = read_model(arguments.model)
        self.steps, experts = read_steps(tensors), read_experts(tensors, description)
        self.experts = [experts[int(i)] for i in arguments.experts.split(",") if i] or experts
        self.begin = time.time()
        card = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        self.report: dict[str, Any] = {"model": name[:16], "torch": torch.__version__, "card": card}

    def network(self, backend: Reference, expert: Expert) -> IntegerNetwork:
        return IntegerNetwork(backend, expert.config, self.steps, expert.steps.start)

    def compile_side_by_side(self) -> None:
        """Kernels of all experts and of the self-test, in a process each: Triton keeps them."""
        command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, *sys.argv[1:]]
        running = [
            subprocess.Popen([*command, "--warm", str(i)], stderr=subprocess.PIPE, text=True)
            for i in range(-1, len(self.experts))
        ]
        for process in running:
            try:
                error = process.communicate(timeout=max(1, 60 - (time.time() - self.begin)))[1]
            except subprocess.TimeoutExpired:
                process.kill()
                error = "more than 60 s"
            if process.returncode:
                print("a compiling process failed:", error[-1500:])
        self.report["compile_s"] = round(time.time() - self.begin, 1)

    def warm(self, number: int) -> None:
        """What a process of compile_side_by_side does."""
        kind = next(iter(backends().values()))
        if number < 0:
            failure(lambda layers: kind(layers, self.device), self.device)
        else:
            expert = self.experts[number]
            evaluate(self.network(kind(expert.layers, self.device), expert), (1, 3, 16, 16))()

    def backend(self, kind: type[Reference]) -> dict[str, Any]:
        """Self-test, equality and times of a backend; ends at an error, which it reports."""
        found: dict[str, Any] = {}
        try:
            begin = time.time()
            if not self.options.quick:
                found["self_test"] = failure(lambda these: kind(these, self.device), self.device)
                found["self_test_s"] = round(time.time() - begin, 1)
            made = [kind(expert.layers, self.device) for expert in self.experts]
            for i, (expert, backend) in enumerate(zip(self.experts, made)):
                exact = Reference(expert.layers)
                right = evaluate(self.network(exact, expert), ODD)()
                got = evaluate(self.network(backend, expert), ODD)()
                found[f"expert {i}"] = {
                    "wrong_layers": wrong_layers(backend, exact),
                    "equal": all(torch.equal(a.cpu(), b) for a, b in zip(got, right)),
                }
                print(kind.name, i, found[f"expert {i}"], flush=True)
            for i, (expert, backend) in enumerate(zip(self.experts, made)):
                if self.left() < 0:
                    found["cut"] = "no time left"
                    break
                found[f"expert {i}"] |= self.times(expert, backend)
                print(kind.name, i, found[f"expert {i}"], flush=True)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"[:3000]
            print(kind.name, found["error"], flush=True)
        return found

    def times(self, expert: Expert, backend: Reference) -> dict[str, Any]:
        """Of trunk and all heads: at the given size, and of few pixels, where launches count."""
        size, runs = self.options.size, 10 if self.device.type == "cuda" else 1
        network = self.network(backend, expert)
        run, few = evaluate(network, (1, 3, size, size)), evaluate(network, (1, 3, 16, 16))
        time_ = microseconds(run, self.device, runs if backend.name != Reference.name else 2)
        rate = operations(expert, size) / time_ * 1e6
        return {
            "us": round(time_, 1),
            "us_of_16x16": round(microseconds(few, self.device, runs), 1),
            "tera_ops": round(rate / 1e12, 3),
            "share_of_peak": round(rate / self.report["int8_peak"], 4),
            "launches": launches(run, self.device),
        }

    def left(self) -> float:
        """Seconds of the time given."""
        return self.options.seconds - (time.time() - self.begin)

    def run(self) -> None:
        """All of it."""
        if self.device.type == "cuda":
            self.compile_side_by_side()
        try:
            self.report["int8_peak"] = int8_peak(self.device)
        except Exception as error:
            self.report |= {"int8_peak": float("nan"), "peak_error": str(error)[:500]}
        print(self.report, flush=True)
        for name, kind in backends().items():
            self.report[name] = self.backend(kind)
        if self.device.type == "cuda":
            layer = self.experts[0].layers["down1.0.b"]
            self.report["sweep"] = sweep(
                layer, self.options.size, self.device, time.time() + self.left()
            )
        self.report["seconds"] = round(time.time() - self.begin, 1)
        line = json.dumps(self.report)
        if "OUT" in os.environ:
            (Path(os.environ["OUT"]) / "device_convolutions.json").write_text(line + "\n")
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model file")
    parser.add_argument("--size", type=int, default=1024, help="height and width to time")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--experts", default="", help="numbers, with commas; all by default")
    parser.add_argument("--seconds", type=float, default=55, help="nothing is begun after these")
    parser.add_argument("--quick", action="store_true", help="no self-test")
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)
    check = Check(parser.parse_args())
    check.run() if check.options.warm is None else check.warm(check.options.warm)


if __name__ == "__main__":
    main()
