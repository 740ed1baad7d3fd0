"""An ESTIMATE of the speed on a GPU, without one: operations, bytes, steps and launches added up.

    python -m benchmarks.device_estimate [--model default] [-o benchmarks/results/device_estimate]

Counted: multiply-adds and bytes of every convolution, the values of each array that lanes code and
so their steps, operations of a segment (benchmarks.launches, of kernels that compute nothing).
Taken from elsewhere: the time of a step by the number of lanes, the speed of convolutions and the
host's time of a launch, measured on one H200 (results/device_h200.md); of what surrounds the
segments (results/host_work.md); peaks of the cards, published.  Low is as measured; expected has
the kernels that pop as their instructions are counted since; high also launches as fast as another
machine does (python -m tests.without_card MODEL).

A segment takes the longer of its launches on the host and its kernels on the device, which are one
after the other.  They overlap less: the sums are a fifth to a third below what was measured.
"""

import argparse
import math
import os
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # read when Triton is imported; nothing that imports this is changed
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels that compute nothing need no compiler

import numpy as np

from benchmarks.device_measures import layer_bytes, operations, pixels_of
from benchmarks.launches import launches
from benchmarks.report import summary, table
from bitsback.ans.colour_counts import ColourCounts, chunks
from bitsback.ans.lanes import Lanes
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.codecs.prior_codec import start_side
from bitsback.codecs.segment_layout import Covered, Segment, next_segment, segment_at
from bitsback.codecs.segments import lane_rule
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.passes import Places, coding_passes

# NVIDIA's datasheets of H100 SXM and H200 SXM: dense int8, half of what they give with sparsity.
PEAKS = {"H100": (1979e12, 3.35e12), "H200": (1979e12, 4.8e12)}  # operations, bytes a second
# Microseconds of a step by the number of lanes: device_h200.md.
LANES = 100, 192, 1000, 4096
POP = 0.89, 1.11, 3.4, 16.8
PUSH = 0.46, 0.59, 1.94, 5.87
BITS, POPPED = 2.0, 3.2  # a sample, and first: as many segments as photographs were seen to have
COUNTED_SIDE = 112  # pixels, of the segment whose operations are counted: as many as of any larger
IMAGES = {"24 megapixels": (4000, 6000), "2.5 megapixels": (1360, 1840), "Kodak": (512, 768)}
TARGETS = {"24 megapixels": 24 / 5, "2.5 megapixels": 2.5 / 2, "Kodak": 0.5}  # seconds to aim at
# device_h200.md: size, seconds each way, operations of a segment each way (no colour counts)
MEASURED = ((768, 512), (0.73, 0.53), (618, 692)), ((1581, 1581), (1.74, 1.31), (618, 704))


class Assumed(NamedTuple):
    """pop: of the measured time of a step that pops, that today's kernel takes; convolutions: 10^12
    operations a second; memory: share of the bandwidth; launch: microseconds of the host; floor:
    microseconds of the device that the smallest kernel takes; host: seconds a megapixel around the
    segments, encoding and decoding, once: a file; tries: segments coded for one that is kept."""

    pop: float
    convolutions: float
    memory: float
    launch: float
    floor: float
    host: tuple[float, float]
    once: tuple[float, float]
    tries: float


ASSUMED = {
    "low": Assumed(1.0, 148, 0.5, 51, 4, (0.11, 0.06), (0.16, 0.02), 1.1),
    "expected": Assumed(0.5, 148, 0.6, 51, 2.5, (0.08, 0.05), (0.12, 0.01), 1.05),
    "high": Assumed(0.35, 300, 0.8, 12, 1.5, (0.05, 0.03), (0.07, 0.006), 1.0),
}
AS_MEASURED = Assumed(1.0, 148, 0.5, 51, 4, (0.08, 0.05), (0.12, 0.01), 1.1)
RULES = (12288, 12288), (1024, 12288), (1024, 6144), (512, 3072)  # samples a lane: at first, last


class Counted(NamedTuple):
    """Multiply-adds and bytes of convolutions a pixel, bytes of other kernels; levels; operations
    of a push and a pop."""

    multiply_adds: float
    bytes: float
    others: float
    levels: int
    pushed: int
    popped: int


def network(model: Model, side: int = 128) -> tuple[float, float]:
    """(multiply-adds, bytes) a pixel of all convolutions of all levels, on side x side pixels."""
    total = moved = 0
    for expert in (expert for expert in model.experts for _ in expert.steps):  # one for each level
        total += operations(expert, side) // 2
        for name, layer in expert.layers.items():
            runs = expert.config.passes - 1 if name in ("head_known", "head_mix") else 1
            moved += layer_bytes(name, layer, pixels_of(name, side, side)) * runs
    return total / side**2, moved / side**2


def counted(model: Model) -> Counted:
    """What a segment of the model asks of a device, colours counted."""
    from benchmarks.footprint import ALL, nothing_computed
    from bitsback.integer.triton_convolution import TritonInt8

    x = np.zeros((1, 3, COUNTED_SIDE, COUNTED_SIDE), np.int32)
    with nothing_computed():
        chain = model.chain("meta", TritonInt8(model.layers, "meta"), ALL)
        lanes, counts, top = Lanes(bytes(4096)), ColourCounts(3), Top((0,) * 3, (70,) * 3)
        lanes.widen(16)
        counts.count_all(x)
        there = chain.counts_for(counts)
        for _ in range(2):  # the second one: tables are on the device by then
            there.counted = x.size
            with launches() as pushes:
                chain.push(lanes, x, top, no_context(x), lambda s: s.size_bits, there)
            with launches() as pops:
                chain.pop(lanes, x.shape, top, no_context(x), counts=there)
            found = [sum(pushes.values()), sum(pops.values())]
    # mean, scale, value and innovation of each sample and level written and read: 4 bytes each;
    # of colour counts 17 cumulative frequencies a sample
    others = 3 * len(model.levels) * 4 * 8 + 3 * 17 * 4 * 2
    return Counted(*network(model), others, len(model.levels), *found)


def layout(height: int, width: int) -> list[Segment]:
    """The segments of a photograph of 3 channels, as push_segments chooses them."""
    sizes, side = [(height, width, 3)], start_side(height, width)
    covered, bits, segments = Covered(0, side, side), 3 * side**2 * BITS, []
    while covered.image < 1:
        extent = next_segment(sizes, covered, int(bits), POPPED)
        assert extent is not None
        segment, covered = segment_at(sizes, covered, extent)
        segments.append(segment)
        bits += 3 * BITS * segment.pixels
    return segments


def steps(segment: Segment, lanes: int, levels: int) -> tuple[int, int]:
    """Steps of lanes that pop and that push when a segment is encoded; decoding swaps them."""
    forward = levels * -(-3 * segment.pixels // lanes)
    reverse = counted_steps = 0
    for step in coding_passes(4):
        n = Places(step, segment.height, segment.width).n
        reverse += 3 * -(-n // lanes)
        counted_steps += 3 * sum(-(-(part.stop - part.start) // lanes) for part in chunks(n))
    top = -(-3 * segment.pixels // lanes)
    return forward, (levels - 1) * reverse + counted_steps + top


def seconds(
    size: tuple[int, int], model: Counted, by: Assumed, card: str, way: int, rule: LaneRule | None
) -> tuple[float, dict[str, float]]:
    """(seconds of coding an image, those of each part).  way: 0 encodes, 1 decodes."""
    parts = dict.fromkeys(("lanes", "convolutions", "other kernels", "launches that wait"), 0.0)
    coded, rule = 0, rule or lane_rule([(*size, 3)])
    pop = [by.pop * time for time in POP]
    tables = (pop, PUSH) if way == 0 else (PUSH, pop)
    tries = by.tries if way == 0 else 1.0
    for segment in layout(*size):
        coded += 3 * segment.pixels
        lanes = rule.count(coded)
        ops = (model.pushed, model.popped)[way]
        times = [np.interp(math.log2(lanes), np.log2(LANES), table) for table in tables]
        spent = sum(n * t for n, t in zip(steps(segment, lanes, model.levels), times))
        device = {
            "lanes": spent * 1e-6,
            "convolutions": max(
                2 * model.multiply_adds * segment.pixels / (by.convolutions * 1e12),
                model.bytes * segment.pixels / (by.memory * PEAKS[card][1]),
            ),
            "other kernels": model.others * segment.pixels / (by.memory * PEAKS[card][1])
            + ops * by.floor * 1e-6,
        }
        waits = max(0.0, ops * by.launch * 1e-6 - sum(device.values()))
        for name, spent in (*device.items(), ("launches that wait", waits)):
            parts[name] += tries * spent
    parts["host"] = by.host[way] * size[0] * size[1] / 1e6 + by.once[way]
    return sum(parts.values()), parts


def report(name: str) -> str:
    """The estimate of a model, as Markdown."""
    model, lines = Model.open(name), []
    found = counted(model)
    for image, size in IMAGES.items():
        for way, word in enumerate(("encode", "decode")):
            each = {key: seconds(size, found, by, "H200", way, None) for key, by in ASSUMED.items()}
            expected, parts = each["expected"]
            largest = sorted(parts, key=lambda part: -parts[part])[:2]
            limits = ", ".join(f"{part} {parts[part] / expected:.0%}" for part in largest)
            spread = " / ".join(f"{total:.2f}" for total, _ in each.values())
            rates = " / ".join(f"{size[0] * size[1] / 1e6 / t:.2f}" for t, _ in each.values())
            reached = [key for key, (total, _) in each.items() if total <= TARGETS[image]]
            target = f"{TARGETS[image]:.2f}, {reached[0] if reached else 'none'}"
            lines.append([image, word, spread, rates, target, limits])
    head = ["image", "way", "s: low / expected / high", "MP/s", "target s, reached from", "limits"]
    h100 = seconds(size, found, ASSUMED["expected"], "H100", way, None)[0] / expected
    checks = []
    for size, measured, operations_of in MEASURED:
        as_coded = found._replace(pushed=operations_of[0], popped=operations_of[1])
        sums = [seconds(size, as_coded, AS_MEASURED, "H200", way, None)[0] for way in (0, 1)]
        checks.append(["x".join(map(str, size)), *(f"{one:.2f}" for one in (*sums, *measured))])
    rules = []
    for first, last in RULES:
        row = [f"{first}, {last}"]
        for size in IMAGES.values():
            rule = LaneRule(first, max(1, min(LANES[-1], 3 * size[0] * size[1] // last)))
            row.append(f"{seconds(size, found, ASSUMED['expected'], 'H200', 1, rule)[0]:.2f}")
        rules.append(row)
    segments = [len(layout(*size)) for size in IMAGES.values()]
    launching = found.pushed * segments[-1] * ASSUMED["expected"].launch * 1e-6
    return "\n".join(
        [
            f"python -m benchmarks.device_estimate --model {name}   ({name} {model.id[:16]})\n",
            "**An estimate; what was measured is in device_h200.md.** Of an H200; an H100 takes "
            f"{h100:.3f} of its time. Limits: of the expected time.\n",
            table(head, lines),
            f"Counted: {found.multiply_adds / 1e6:.2f} million multiply-adds and "
            f"{found.bytes:.0f} bytes a pixel in convolutions ({found.levels} levels), "
            f"{found.others} bytes a pixel in other kernels, {found.pushed} operations a segment "
            f"encoding and {found.popped} decoding; segments: {segments}. Each "
            f"sample is {found.levels} values popped and {found.levels + 1} pushed when encoding, "
            "the other way round when decoding. A folder of Kodak, several at once: launches, one "
            f"by one in a process, allow {0.393 / launching:.2f} MP/s encoding.\n",
            "Checked against device_h200.md, with the kernels of that day, seconds:\n",
            table(["image", "encode, sum", "decode, sum", "measured", "measured"], checks),
            "Assumed:\n",
            table(["", *Assumed._fields], [[key, *by] for key, by in ASSUMED.items()]),
            "Decoding, expected seconds, by the samples for each lane at first and in the end:\n",
            table(["samples for a lane", *IMAGES], rules),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--model", default="default")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    print(text := report(args.model))
    if args.output:
        args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
