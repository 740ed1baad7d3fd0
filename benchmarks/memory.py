"""Peak memory of compress (with its verification) and decompress, a process each.

    python -m benchmarks.memory [--whole fast:24,default:24] [--tiny 24] [--flat 24,100]
                                [--segments default] [-o benchmarks/results/memory]

The images are synthetic.  `whole` are images with a shipped model, an hour of a core; `tiny` is a
model of random weights, which takes minutes; `flat` has no network, three bits a sample in the
message: the memory of the image itself.  One segment of segment_layout.ENCODER_MAX_PIXELS on one
level is the least that a model's network takes.  Pillow's limit of 89 megapixels, above which
images are refused, is off here.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import summary

if TYPE_CHECKING:
    import numpy as np

    from bitsback.ans.lanes import Lanes
    from bitsback.coder.model import Model

ASPECT = (2, 3)  # of an image, height to width
TINY_LEVELS = 4  # of the tiny model: the memory of levels does not add up
FLAT_BITS = 3  # of a sample in the images for `flat`


class Flat:
    """Stands in for a Chain, that of a model: samples of FLAT_BITS bits pushed as they are.

    As many bits are popped before, as bits-back does.  Colours are counted and not used.
    """

    def __init__(self, chain: Any):
        self._chain = chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def push(
        self,
        lanes: "Lanes",
        x: "np.ndarray",
        top: Any,
        context: Any,
        watch: Callable[["Lanes"], object] = lambda lanes: None,
        *_: Any,
    ) -> None:
        """x: (B, 3, H, W) int32, pixels - 128; watch: called at the lowest size of the message."""
        owed = lanes.pop_uniform(x.size, FLAT_BITS)
        watch(lanes)
        lanes.push_uniform(owed, FLAT_BITS)
        lanes.push_uniform(x.ravel() + 128, FLAT_BITS)

    def pop(
        self, lanes: "Lanes", shape: tuple[int, ...], top: Any, context: Any, **_: Any
    ) -> "np.ndarray":
        """The samples of a push; the bits it popped are not returned."""
        return (
            lanes.pop_uniform(shape[0] * shape[1] * shape[2] * shape[3], FLAT_BITS).reshape(shape)
            - 128
        )


def image(path: Path, megapixels: float, flat: bool) -> None:
    """Writes a PNG of smooth colours and noise, which compresses like a photograph.

    flat: samples of FLAT_BITS bits.
    """
    import numpy as np
    from PIL import Image

    height = round((megapixels * 1e6 * ASPECT[0] / ASPECT[1]) ** 0.5)
    width, rng = height * ASPECT[1] // ASPECT[0], np.random.default_rng(0)
    pixels, columns = np.empty((height, width, 3), np.uint8), np.arange(width)
    noise = rng.normal(0, 3, (64, width, 1)) + rng.normal(0, 1, (64, width, 3))
    for i in range(height):
        light = 128 + 60 * np.sin(i / 210 + columns / 330)
        rows = np.stack(
            [light, 0.8 * light + 20 * np.cos(i / 150 - columns / 190), 0.6 * light + 30], -1
        ) + np.roll(noise[i % 64], 97 * i, 0)
        pixels[i] = np.clip(np.rint(rows), 0, 255) % (2**FLAT_BITS if flat else 256)
    Image.fromarray(pixels).save(path, compress_level=1)


def write_tiny_model(path: Path) -> None:
    """Writes a model file of random weights, as small as the network's layers allow."""
    import torch

    from bitsback.diffusion.levels import spaced
    from bitsback.integer.config import NetworkConfig
    from bitsback.train.denoiser import Denoiser
    from bitsback.train.export import save_model

    torch.manual_seed(7)
    network = (
        Denoiser(NetworkConfig(16, 1, 16, 1, 16, 1, embedding=16, head=16))
        .eval()
        .requires_grad_(False)
    )
    save_model(
        path,
        network,
        spaced(TINY_LEVELS),
        {"minutes": 0, "steps": 0, "device": "cpu", "data": "random weights"},
    )


def peak_bytes() -> int:
    """The peak memory of this process.

    getrusage is the fallback only: on Linux it starts from the parent's peak.
    """
    try:
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def step(action: str, source: str, target: str, model: str, flat: str) -> dict[str, float]:
    """One action in this process: {"seconds", "peak_mib"}; the prior's file is kept at any size.

    action: compress, decompress or segment; flat: not empty for Flat.
    """
    import torch
    from PIL import Image

    from bitsback.codecs import mode_decision
    from bitsback.codecs.io import files
    from bitsback.coder.model import Model
    from bitsback.memory import keep_pages

    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None
    if flat:
        Model.chain = lambda *arguments, chain=Model.chain: Flat(chain(*arguments))  # type: ignore
    keep_pages()
    begin = time.perf_counter()
    if action == "segment":
        segment(Model.open(model))
    elif action == "compress":
        hopeless = mode_decision.fallback_hopeless
        mode_decision.fallback_hopeless = lambda *arguments: (
            hopeless(*arguments) or True
        )  # its own memory counts
        files.compress_file(source, target, force=True, model=Model.open(model))
    else:
        files.decompress_file(source, target, force=True, model=Model.open(model))
    return {"seconds": time.perf_counter() - begin, "peak_mib": peak_bytes() / 2**20}


def segment(model: "Model") -> None:
    """Codes and decodes a segment of segment_layout.ENCODER_MAX_PIXELS on one level."""
    import numpy as np

    from bitsback.ans.lanes import random_lanes
    from bitsback.codecs import segment_layout
    from bitsback.coder.context import Context, context_chain
    from bitsback.coder.top import Top

    rng, chain = np.random.default_rng(0), model.chain()
    side = int(segment_layout.ENCODER_MAX_PIXELS**0.5)
    x = np.clip(rng.normal(0, 30, (1, 3, side, side)), -128, 127).astype(np.int32)
    context = Context(
        np.zeros((1, 3, 32, side + 32), np.int32), np.zeros((1, 3, side, 32), np.int32)
    )
    chain.forward, chain.reverse = chain.forward[:1], chain.reverse[:1]
    lanes, top = random_lanes(x.size), Top((0,) * 3, (64,) * 3)
    chain.push(lanes, x, top, context)
    y = top.pop(chain.gaussians, lanes, x.shape, context)
    noised = context_chain(chain.forward_table, chain.levels, context)[0]
    if not np.array_equal(chain.reverse[0].pop(lanes, y, noised), x):
        raise SystemExit("another segment came back")


def apart(*arguments: object) -> dict[str, float]:
    """step() in a process of its own."""
    step_arguments = json.dumps([str(argument) for argument in arguments])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--step", step_arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--whole", default="", help="Shipped models and megapixels of images.")
    parser.add_argument("--tiny", default="", help="Megapixels of images, with a tiny model.")
    parser.add_argument("--flat", default="", help="Megapixels of images, without a network.")
    parser.add_argument("--segments", default="", help="Shipped models, a segment of each.")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(*json.loads(args.step))))
        return
    from bitsback.coder.model import Model

    chosen = {kind: getattr(args, kind) for kind in ("whole", "tiny", "flat", "segments")}
    options = " ".join(f"--{kind} {value}" for kind, value in chosen.items() if value)
    lines = [
        f"python -m benchmarks.memory {options}\n",
        "| what | peak MiB | seconds |",
        "|---|---|---|",
    ]

    def add(what: str, facts: dict[str, float]) -> None:
        lines.append(f"| {what} | {facts['peak_mib']:.0f} | {facts['seconds']:.0f} |")
        print(lines[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        source, packed, back, model = (
            Path(folder, name) for name in ("in.png", "in.bbk", "out.png", "tiny.safetensors")
        )
        write_tiny_model(model)
        jobs = [one.split(":") for one in args.whole.split(",") if one]
        jobs += [[kind, n] for kind in ("tiny", "flat") for n in chosen[kind].split(",") if n]
        for kind, megapixels in jobs:
            flat, shipped = "flat" * (kind == "flat"), kind not in ("tiny", "flat")
            image(source, float(megapixels), bool(flat))
            with_model = kind if shipped else model
            what = f"{kind} {Model.open(kind).id[:16]}" if shipped else kind
            for action, paths in (("compress", (source, packed)), ("decompress", (packed, back))):
                facts = apart(action, *paths, with_model, flat)
                add(f"{megapixels} megapixels, {action}, {what}", facts)
        for name in filter(None, args.segments.split(",")):
            known = f"{name} {Model.open(name).id[:16]}"
            add(f"one segment on one level, {known}", apart("segment", "", "", name, ""))
    if args.output:
        args.output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
