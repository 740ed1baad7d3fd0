"""The codec of remainders: the bits of 16-bit images below the coarse plane that the prior codes.

A string of bytes by itself: the parameters of model.py, then lanes (ans/lanes.py) that
started from zeros.  It is one of the fallback parts, so its bits are the credit that the prior's
segments borrow; a decoder pops the segments first and then has every sample's coarse value.  All of
it is done on the host, wherever the prior is evaluated.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bitsback.ans.gaussian_digits import digits, fastest
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import MAX_LANES, Lanes
from bitsback.codecs.bitstream.depths import Deep, pack
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.image import ImageData
from bitsback.codecs.remainders.fit import fitted
from bitsback.codecs.remainders.model import (
    Parameters,
    mean_in_cell,
    middles_of,
    neighbourhood,
    of_place,
    places,
    predicted,
    split,
)
from bitsback.errors import DamagedFile, StackEmpty

STRIP = 2**18  # pixels of a strip, which is predicted without those around it: bounds memory
LANES = LaneRule(3 * 2**15, MAX_LANES)  # few: they start from words that are lost here


def strips(height: int, width: int) -> list[slice]:
    """Rows that are coded together, from the top; all but the last are even in number."""
    rows = max(2, STRIP // width // 2 * 2)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


class Remainders:
    """The codec of the remainders of one strip.

    table: the Gaussian table (rows, 64); bits: of a remainder, 1..8; middles: middles_of the strip.
    """

    def __init__(self, table: np.ndarray, parameters: Parameters, bits: int, middles: np.ndarray):
        self.table, self.parameters, self.bits, self.middles = table, parameters, bits, middles

    def _distributions(self, known: np.ndarray) -> Iterator[tuple]:
        """(place, mean32, deviation) in the order of decoding.

        known: as neighbourhood's; a place's numbers are in it before the next is asked for.
        """
        weights, deviations = self.parameters
        for place in places(known.shape):
            around = neighbourhood(known, self.middles, place)
            mean, context = predicted(around, weights[place.number, place.channel])
            yield place, mean_in_cell(mean, self.bits), deviations[place.deviations][context]

    def push(self, lanes: Lanes, remainders: np.ndarray) -> None:
        """remainders: (C, H, W) int64."""
        known, arrays, loops = self.middles.copy(), [], fastest()
        for place, mean32, deviation in self._distributions(known):
            values = of_place(remainders, place)
            known_here = of_place(known, place)
            known_here += 2 * values - (1 << self.bits) + 1
            arrays.append((values.ravel(), mean32, deviation))
        for values, mean32, deviation in reversed(arrays):
            for bits, below in reversed(list(digits(self.bits))):
                above = values >> below + bits << below + bits
                frequencies = loops.frequencies(
                    self.table, mean32 - 32 * above, deviation, bits, below
                )
                digit = (values - above >> below).astype(np.int32)
                lanes.push_each(digit, np.zeros_like(digit), frequencies)

    def pop(self, lanes: Lanes) -> np.ndarray:
        """The mirror of push: (C, H, W) int64.  Errors: StackEmpty."""
        known, remainders = self.middles.copy(), np.empty_like(self.middles)
        loops = fastest()
        for place, mean32, deviation in self._distributions(known):
            values = np.zeros(len(mean32), np.int64)
            for bits, below in digits(self.bits):
                frequencies = loops.frequencies(
                    self.table, mean32 - 32 * values, deviation, bits, below
                )
                digit = lanes.pop_each(np.zeros(len(values), np.int32), frequencies)
                values += digit.astype(np.int64) << below
            here = of_place(remainders, place)
            here[:] = values.reshape(here.shape)
            known_here = of_place(known, place)
            known_here += 2 * here - (1 << self.bits) + 1
        return remainders


def encode_remainders(numbers: np.ndarray, bits: int, gaussians: Gaussians) -> bytes:
    """The lowest `bits` (1..8) bits of (H, W, C) uint16 numbers, for who knows those above."""
    table = gaussians.frequencies
    parameters = fitted(numbers, bits, table)
    count = LANES.count(numbers.size)
    lanes = Lanes(bytes(4 * count))
    lanes.widen(count)
    for strip in reversed(strips(*numbers.shape[:2])):
        middles, remainders = split(numbers[strip], bits)
        Remainders(table, parameters, bits, middles).push(lanes, remainders)
    return parameters.to_bytes() + lanes.to_bytes()


def decode_remainders(
    data: bytes, coarse: np.ndarray, bits: int, gaussians: Gaussians
) -> np.ndarray:
    """The mirror of encode_remainders: the numbers, (H, W, C) uint16.

    coarse: the bits above, (H, W, C) uint8.  Errors: DamagedFile.
    """
    reader, numbers = Reader(data), coarse.astype(np.uint16) << bits
    parameters = Parameters.read(reader, coarse.shape[2])
    count = LANES.count(coarse.size)
    lanes = Lanes.from_bytes(data[reader.position :], count)
    try:
        for strip in strips(*coarse.shape[:2]):
            middles = middles_of(coarse[strip], bits)
            found = Remainders(gaussians.frequencies, parameters, bits, middles).pop(lanes)
            numbers[strip] += found.transpose(1, 2, 0).astype(np.uint16)
    except StackEmpty:
        raise DamagedFile("the remainders end too early") from None
    lanes.narrow(0)
    if any(lanes.credit(4 * count)):
        raise DamagedFile("the remainders do not end where they began")
    return numbers


def encode_all_remainders(images: Sequence[ImageData], gaussians: Gaussians) -> tuple[bytes, bytes]:
    """(remainders of the 16-bit ones of these images, their section of depths); often both b""."""
    parts, depths = [], []
    for image in images:
        numbers = image.numbers
        if image.depth is not None and numbers is not None:
            bits = image.depth.remainder_bits
            parts.append(encode_remainders(numbers, bits, gaussians) if bits else b"")
            depths.append(Deep(image.depth, len(parts[-1])))
    return b"".join(parts), pack(depths)


def deep_samples(
    coarse: np.ndarray, deep: Deep, remainders: bytes, gaussians: Gaussians
) -> np.ndarray:
    """The samples of a 16-bit image, (H, W, C) uint16, from its coarse plane (H, W, C) uint8.

    remainders: b"" where it has none.  Errors: DamagedFile.
    """
    bits = deep.depth.remainder_bits
    numbers = decode_remainders(remainders, coarse, bits, gaussians) if bits else coarse
    return deep.depth.samples(numbers)
