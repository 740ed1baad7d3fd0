"""The distribution of remainders: what a 16-bit image's neighbouring samples say about one.

Where noise exceeds a gray level the bits below the coarse plane are uniform; elsewhere neighbours
tell them.  All samples' coarse values are known first.  Remainders follow in four passes, the
pixels of a 2x2 block, each colour by colour: G, R, B.  A sample's mean is a linear function of
integers of its neighbourhood, of which those in earlier passes or colours are known exactly, the
others at the middle of their coarse cell.  How far neighbours are from that mean is the context,
which has its own standard deviation, another in the first pass.  Weights and deviations lie in the
file.

Positions are in half steps of the numbers, so that the middle of a cell is an integer.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bitsback.ans.gaussian_digits import DEVIATIONS
from bitsback.ans.gaussian_tables import FRACTION_BITS
from bitsback.codecs.bitstream.numbers import Reader, signed
from bitsback.coder.distributions import COLOURS
from bitsback.diffusion.passes import ORDER
from bitsback.errors import DamagedFile

WEIGHT_BITS = 8  # weights: 1/256
MAX_WEIGHT = 2**12
NEAR = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
FAR = ((-2, 0), (2, 0), (0, -2), (0, 2))
GROUPS = (slice(0, 2), slice(2, 4), slice(4, 8))  # of NEAR that share a weight
OTHER_GROUPS = (slice(0, 4), slice(4, 8))  # ... of another colour
LIMITS = 2 ** np.arange(1, 22)  # a context is how many of these the sum of distances reaches
CONTEXTS = len(LIMITS) + 1


class Place(NamedTuple):
    """The samples of one channel in one pass: [row::2, column::2]."""

    number: int  # of the pass
    row: int
    column: int
    channel: int

    @property
    def deviations(self) -> tuple[int, int]:
        """Where Parameters.deviations has its own."""
        return min(self.number, 1), self.channel


class Neighbourhood(NamedTuple):
    """features: (n, F) int64, each with a weight; near: (n, 8) int64, relative to the own cell."""

    features: np.ndarray
    near: np.ndarray


class Parameters(NamedTuple):
    """weights: (4, C, F) int64, 1/256; deviations: (2, C, CONTEXTS) int64, 0..DEVIATIONS - 1, of
    the first pass and of the others."""

    weights: np.ndarray
    deviations: np.ndarray

    def to_bytes(self) -> bytes:
        """As LEB128 numbers: the weights, then each deviation less the one before."""
        steps = np.diff(self.deviations, prepend=0)
        return b"".join(signed(int(n)) for part in (self.weights, steps) for n in part.ravel())

    @classmethod
    def read(cls, reader: Reader, channels: int) -> "Parameters":
        """The mirror of to_bytes.  Errors: DamagedFile."""
        shape = len(ORDER), channels, feature_count(channels)
        weights = [reader.signed(MAX_WEIGHT) for _ in range(math.prod(shape))]
        steps = [reader.signed(DEVIATIONS) for _ in range(2 * channels * CONTEXTS)]
        deviations = np.cumsum(np.array(steps, np.int64).reshape(2, channels, CONTEXTS), -1)
        if deviations.min() < 0 or deviations.max() >= DEVIATIONS:
            raise DamagedFile("a deviation of remainders that is none")
        return cls(np.array(weights, np.int64).reshape(shape), deviations)


def middles_of(coarse: np.ndarray, bits: int) -> np.ndarray:
    """(H, W, C) coarse planes -> (C, H, W) int64, twice the middle of each cell of 2^bits."""
    return (coarse.transpose(2, 0, 1).astype(np.int64) << bits + 1) + (1 << bits) - 1


def split(numbers: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, C) uint16 numbers -> their middles and remainders, both (C, H, W) int64."""
    remainders = (numbers & (1 << bits) - 1).transpose(2, 0, 1).astype(np.int64)
    return middles_of(numbers >> bits, bits), remainders


def feature_count(channels: int) -> int:
    """Features of a sample of an image with so many channels."""
    return len(GROUPS) + 1 + (channels - 1) * (1 + len(OTHER_GROUPS))


def places(shape: tuple[int, ...]) -> Iterator[Place]:
    """The places of an image (C, H, W) that have samples, in the order of decoding."""
    channels, height, width = shape
    for number, (row, column) in enumerate(ORDER):
        if row < height and column < width:
            for channel in COLOURS if channels == 3 else range(channels):
                yield Place(number, row, column, channel)


def of_place(planes: np.ndarray, place: Place) -> np.ndarray:
    """A view of (C, H, W) at a place: (h, w)."""
    return planes[place.channel, place.row :: 2, place.column :: 2]


def neighbourhood(known: np.ndarray, middles: np.ndarray, place: Place) -> Neighbourhood:
    """The Neighbourhood of the samples of a place, in C order.

    known: (C, H, W) int64, twice the numbers where they are known, `middles` elsewhere; middles:
    those of the coarse cells.  Beyond the edges the nearest row and column count.
    """
    height, width = known.shape[1:]
    rows, columns = np.arange(place.row, height, 2), np.arange(place.column, width, 2)

    def moved(channel: int, down: int, across: int) -> np.ndarray:
        there = np.clip(rows + down, 0, height - 1)
        return known[channel][there][:, np.clip(columns + across, 0, width - 1)]

    def around(channel: int, offsets: tuple) -> list[np.ndarray]:
        own = moved(channel, 0, 0)
        return [moved(channel, *offset) - own for offset in offsets]

    near, far = around(place.channel, NEAR), around(place.channel, FAR)
    features = [sum(near[group]) for group in GROUPS] + [sum(far)]
    for other in range(len(known)):
        if other != place.channel:
            there, side = place._replace(channel=other), around(other, NEAR)
            features.append(of_place(known, there) - of_place(middles, there))
            features += [sum(side[group]) for group in OTHER_GROUPS]
    return Neighbourhood(*(np.stack(part, -1).reshape(-1, len(part)) for part in (features, near)))


def predicted(around: Neighbourhood, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n,) int64 predictions less the cell's middle in 1/512 step, (n,) int64 contexts).

    weights: (F,).
    """
    mean = around.features @ weights
    distance = np.abs(around.near - (mean >> WEIGHT_BITS)[:, None]).sum(1)
    return mean, np.searchsorted(LIMITS, distance, side="right")


def mean_in_cell(mean: np.ndarray, remainder_bits: int) -> np.ndarray:
    """Predictions of `predicted` -> in 1/32 step above the cell's smallest number."""
    half = 1 << WEIGHT_BITS - FRACTION_BITS
    return (mean + half >> WEIGHT_BITS - FRACTION_BITS + 1) + 16 * (2**remainder_bits - 1)
