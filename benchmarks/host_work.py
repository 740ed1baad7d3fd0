"""The host's work of coding a photograph, step by step, without the network and the coder.

    python -m benchmarks.host_work IMAGE... [--side 0] [--bits 2] [-o benchmarks/results/host_work]

What a device does is left out: a segment pops and pushes as many random words as one of --bits bits
a sample would, and its pixels come back from memory.  So these are the seconds that one core of the
host works for each megapixel while a GPU codes; 1 / them is the speed that no GPU can exceed.
Several images stand below one another, cut to the narrowest.  --side: of the square that is coded,
the image repeated if need be.  Seconds are the threads' own, whatever else the machine does; of the
thread that codes, and of those beside it, as an encoder with a GPU has them.  Words go to a device
and back as `DeviceLanes` takes them, by copies in memory.  The trial of the sharpness runs the
network on a block: on the CPU here, and left out.  Each way three times; the least of each step.
"""

import argparse
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.device_measures import image_of
from benchmarks.report import summary, table
from bitsback import beside
from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.lanes import Lanes
from bitsback.codecs import (
    block_means,
    checksums,
    decoder,
    encoder,
    flat_map,
    mode_decision,
    prior_codec,
    segments,
    sharpness,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import jxl
from bitsback.codecs.image import ImageData
from bitsback.codecs.side_information import SideInformation
from bitsback.coder.chain import Chain
from bitsback.coder.top import Top
from bitsback.errors import StackEmpty

LEFT_OUT = "network and coder"
RUNS = 3
BORROWED = 1.8  # bits a sample that a segment pops before it pushes
# (step, where it is looked up, its name there); a step inside another is not part of that one
STEPS: list[tuple[str, Any, str]] = [
    ("digest of the pixels", encoder, "file_digest"),
    ("digest of the pixels", checksums, "file_digest"),
    ("few colours?", mode_decision, "prior_possible"),
    ("a photograph?", mode_decision, "prior_hopeless"),
    ("estimate of JPEG XL", jxl, "jxl_size"),
    ("estimate of JPEG XL", mode_decision, "fallback_hopeless"),
    ("busiest corner", prior_codec, "_busiest_corner"),
    ("mean and variance", Top, "fitted"),
    ("flat map", flat_map, "begin"),
    ("flat map, coded", flat_map, "encode_part"),
    ("flat map", flat_map, "read"),
    ("block means", block_means, "begin"),
    ("block means, coded", block_means, "encode_part"),
    ("block means", block_means, "read"),
    ("colour counts", sharpness, "_count"),
    (LEFT_OUT, prior_codec, "sharpness_of"),
    ("colour counts", prior_codec, "counts_before"),
    ("tables of a device", Chain, "counts_for"),
    ("colour counts", prior_codec, "count_rows"),
    ("start block", prior_codec, "fallback_parts"),
    ("start block", checksums, "unpack_fallback_parts"),
    ("pixels of segments", segments, "planes"),
    ("context of segments", segments, "context_around"),
    ("context of segments", Chain, "_contexts"),
    ("coded samples", segments, "coded_samples"),
    ("copies of words", Lanes, "copy"),
    ("copies of words", Lanes, "from_bytes"),
    ("memory given back", segments, "give_back"),
    ("header and payload", container, "write"),
    ("header and payload", container, "read_groups"),
    ("header and payload", container, "read_group"),
    ("the rest of side information", SideInformation, "decoding"),
]


class Clock:
    """Seconds of each step by whether the thread that called is the one that codes."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, bool], float] = defaultdict(float)
        self._main, self._own = threading.get_ident(), threading.local()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of the block, less that of steps inside it, to a step."""
        outer, begin = getattr(self._own, "inside", 0.0), time.thread_time()
        self._own.inside = 0.0
        try:
            yield
        finally:
            spent = time.thread_time() - begin
            self.seconds[name, threading.get_ident() == self._main] += spent - self._own.inside
            self._own.inside = outer + spent

    def timed(self, name: str, method: Callable) -> Callable:
        """A function or method as a step."""

        def one(*arguments: Any, **options: Any) -> Any:
            with self.step(name):
                return method(*arguments, **options)

        return one


class NoDevice:
    """In place of a chain's push and pop: random words, and pixels from memory."""

    def __init__(self, bits: float) -> None:
        self.bits, self.clock = bits, Clock()
        self.pixels: list[tuple[np.ndarray, int]] = []

    def _there(self, lanes: Lanes, room: int) -> None:
        with self.clock.step("copies of words"):
            DeviceLanes(lanes, torch.device("cpu"), room, False).to_lanes()

    def push(self, chain: Chain, lanes: Lanes, x: np.ndarray, *arguments: Any) -> None:
        """As Chain.push."""
        _, context, watch, _, _ = arguments
        borrowed, added = (int(x.size * bits / 32) for bits in (BORROWED, self.bits))
        chain._contexts(context)
        if borrowed > lanes.count:
            raise StackEmpty("the stack ran dry")
        lanes.count -= borrowed
        watch(lanes)
        lanes.count += borrowed
        lanes._make_room(added)
        lanes.count += added
        self._there(lanes, 6 * x.size)
        self.pixels.append((x.astype(np.uint8), added))

    def pop(self, chain: Chain, lanes: Lanes, shape: Any, *arguments: Any, **_: Any) -> Any:
        """As Chain.pop."""
        chain._contexts(arguments[1])
        x, added = self.pixels.pop()
        self._there(lanes, 6 * x.size)
        lanes.count -= added
        return x.view(np.int8).astype(np.int32)


@contextmanager
def _without_device(clock: Clock, device: NoDevice) -> Iterator[None]:
    def push(chain: Chain, *arguments: Any) -> None:
        with clock.step(LEFT_OUT):
            device.push(chain, *arguments)

    def pop(chain: Chain, *arguments: Any, **options: Any) -> Any:
        with clock.step(LEFT_OUT):
            return device.pop(chain, *arguments, **options)

    with ExitStack() as patches:
        for name, owner, attribute in STEPS:
            kept = owner.__dict__[attribute]
            timed = clock.timed(name, getattr(owner, attribute))
            if isinstance(kept, classmethod):
                timed = staticmethod(timed)
            patches.enter_context(mock.patch.object(owner, attribute, timed))
        patches.enter_context(
            mock.patch.object(beside, "helper_count", lambda: beside.MOST_HELPERS)
        )
        patches.enter_context(mock.patch.object(Chain, "push", push))
        patches.enter_context(mock.patch.object(Chain, "pop", pop))
        yield


def measure(pixels: np.ndarray, bits: float) -> list[dict[tuple[str, bool], float]]:
    """[of encoding, of decoding]: seconds a megapixel of each step, by whether it is in the thread
    that codes; what is left is the step "all else"."""
    image, megapixels = ImageData("RGB", pixels), pixels.shape[0] * pixels.shape[1] / 1e6
    coder = encoder.Encoder()
    model = coder.open_model()
    model.chain("cpu")
    found: list[dict[tuple[str, bool], float]] = [{}, {}]
    for _ in range(RUNS):
        device, data = NoDevice(bits), b""
        for way in range(2):
            clock = device.clock = Clock()
            with _without_device(clock, device):
                begin = time.thread_time()
                if way:
                    decoded = decoder.decode(data, model=model)
                else:
                    data = coder.encode(image)
                seconds = time.thread_time() - begin
            named = sum(spent for (_, here), spent in clock.seconds.items() if here)
            clock.seconds["all else", True] = seconds - named
            for key, spent in clock.seconds.items():
                found[way][key] = min(found[way].get(key, 1e9), spent / megapixels)
        if not np.array_equal(decoded, pixels) or device.pixels:
            raise SystemExit("other pixels came back")
    return found


def rows(found: dict[tuple[str, bool], float]) -> list[list[str]]:
    """Lines of the table of one way: step, seconds a megapixel of the thread that codes, beside."""
    spent = {
        name: (found.get((name, True), 0.0), found.get((name, False), 0.0))
        for name, _ in found
        if name != LEFT_OUT
    }
    names = sorted(spent, key=lambda name: -sum(spent[name]))
    total = [sum(times) for times in zip(*spent.values())]
    lines = [*((name, spent[name]) for name in names), ("**all**", total)]
    text = [[name, *(f"{seconds:.4f}" for seconds in times)] for name, times in lines]
    return [*text, ["megapixels a second at most", f"{1 / total[0]:.2f}", ""]]


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--bits", type=float, default=2.0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    pixels = image_of(args.images, args.side)
    names = " ".join(path.name for path in args.images)
    text = f"python -m benchmarks.host_work {names} --side {args.side} --bits {args.bits:g}"
    text += (
        f"   ({pixels.shape[0]}x{pixels.shape[1]} pixels, {platform.machine()}; no model matters)\n"
    )
    for way, found in zip(("encode", "decode"), measure(pixels, args.bits)):
        head = [f"{way}, seconds a megapixel", "in the thread that codes", "beside"]
        text += "\n" + table(head, rows(found))
    print(text)
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
