"""How long coding under the prior takes, measured on this machine."""

import functools
import time
from collections import Counter

import numpy as np

from bitsback.ans.lanes import random_lanes
from bitsback.codecs.image import ImageData
from bitsback.codecs.mode_decision import prior_possible
from bitsback.codecs.segment_layout import ENCODER_MAX_PIXELS
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.integer.ensemble import Member
from bitsback.integer.network import layer_multiply_adds

# Bytes on a GPU, whatever the segment: counts of colours, tables; of a weight, as int8 and as
# float32 (on a CPU: in the file and packed in two orders), and of a word of the stack.
FIXED, WEIGHT_BYTES, WORD_BYTES = 100 * 2**20, 6, 8
WORDS = 6_000_000  # on the stack of a photograph of 24 megapixels at 2.7 bits a sample
# What torch's allocator takes from a GPU against the bytes of its tensors, at most, and what CUDA
# takes for a process.
RESERVED, CONTEXT = 1.5, 500 * 2**20
IMAGE_BYTES = 18  # of a pixel, on the host
MEANS = 150  # bytes of a pixel that an ensemble's sums and states take
# Segments of different shapes leave gaps in the allocator's memory that the next ones do not fit
# into: what a process holds while it codes one, against the first.
GAPS = 1.8
LONG = 1  # megapixels from which an estimate is worth its time
TIMED_SIDE = 256  # pixels: side of the block that is timed


@functools.lru_cache(maxsize=4)
def seconds_per_megapixel(model: Model, device: str) -> float:
    """Time of coding under the prior: the finest and the coarsest level of a block are timed, and
    the others lie between by their multiply-adds."""
    work = multiply_adds(model)
    finest, coarsest = (_seconds_of_level(model.chain(device), k) for k in (0, -1))
    rate = max(0.0, finest - coarsest) / max(work[0] - work[-1], 1e-9)
    seconds = sum(finest + rate * (one - work[0]) for one in work)
    return seconds / (TIMED_SIDE**2 / 1e6)


def _seconds_of_level(chain, k):
    """Time of a block's second run."""
    x = np.clip(
        np.random.default_rng(0).normal(0, 30, (1, 3, TIMED_SIDE, TIMED_SIDE)), -128, 127
    ).astype(np.int32)
    for _ in range(2):
        lanes, begin = random_lanes(x.size), time.perf_counter()
        y = chain.forward[k].pop(lanes, x, no_context(x))
        chain.reverse[k].push(lanes, x, y, no_context(x))
        seconds = time.perf_counter() - begin
    return seconds


def multiply_adds(model: Model) -> list[float]:
    """Multiply-adds a pixel of each step, in all passes and by all of an ensemble's members."""
    plan = model.plan or [[Member(0, 0, 1)]] * len(model.levels)
    return [
        sum(
            layer_multiply_adds(name, layer.weight.numel(), expert.config.passes)
            for member in members
            for expert in model.models[member.model].experts
            if k in expert.steps
            for name, layer in expert.layers.items()
        )
        for k, members in enumerate(plan)
    ]


def device_bytes(model: Model, pixels: int = ENCODER_MAX_PIXELS, words: int = WORDS) -> int:
    """Memory of a GPU that an image takes: while its largest segment, of `pixels`, is coded.

    words: on the stack.  Counted by benchmarks.footprint, of which this is an upper bound within a
    third.  torch's allocator reserves up to RESERVED times it; CUDA's CONTEXT comes on top.
    """
    widest = max(expert.config.c1 for expert in model.all_experts)
    return (
        FIXED
        + WEIGHT_BYTES * weights(model)
        + WORD_BYTES * words
        + int((380 + MEANS * bool(model.plan) + 1.5 * widest * _at_once(model)) * pixels)
    )


def host_bytes(model: Model, pixels: int) -> int:
    """Memory of a process that codes an image on the CPU (benchmarks/results/memory.md).

    The program, the model, the largest segment, which is at most half of an image, with the gaps
    that others left, and the image itself.
    """
    widest = max(expert.config.c1 for expert in model.all_experts)
    halves = pixels / (2 * ENCODER_MAX_PIXELS)
    pixel = 340 + 7.4 * widest + MEANS * bool(model.plan)
    segment = pixel * min(halves, 1) * min(max(1, (1 + halves) / 2), GAPS)
    return int((300 + segment) * 2**20) + WEIGHT_BYTES * weights(model) + IMAGE_BYTES * pixels


def _at_once(model):
    """How many inputs a GPU evaluates at once, of an ensemble: those of one model."""
    counts = [Counter(member.model for member in step) for step in model.plan or ()]
    return max((n for count in counts for n in count.values()), default=1)


def weights(model: Model) -> int:
    """How many weights a model's experts have."""
    layers = [layer for expert in model.all_experts for layer in expert.layers.values()]
    return sum(layer.weight.numel() for layer in layers)


def estimate(
    images: list[ImageData], verify: bool, model: Model, device: str, tuning: int = 0
) -> tuple[float, float]:
    """(seconds that coding these images under the prior takes, their megapixels).

    0 seconds below LONG megapixels.  Images the prior is not tried on do not count.
    """
    from bitsback.tune.tuning import network_pixels  # with torch's training half: only for encoders

    pixels = sum(image.height * image.width for image in images if prior_possible(image))
    if pixels < LONG * 1e6:
        return 0, pixels / 1e6
    work = pixels * (1 + verify) + network_pixels(pixels, tuning) / len(model.levels)
    return work / 1e6 * seconds_per_megapixel(model, device), pixels / 1e6
