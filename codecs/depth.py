"""The bits that a 16-bit image uses: its samples as numbers of 8 to 16 bits.

Cameras, scanners and instruments measure 10, 12 or 14 bits and store them in 16, as they are,
multiplied, or spread over the range.  What lies under the prior is a number's upper 8 bits, the
coarse plane; the bits below are its remainder (remainders).

    sample = number * step                                        step >= 1, 16 for 12 bits on top
    sample = number << 16 - bits | number >> 2 * bits - 16        REPLICATED
    sample = (number * 65535 + most // 2) // most                 SCALED, most = 2^bits - 1
"""

from typing import NamedTuple

import numpy as np

from bitsback.errors import DamagedFile

COARSE_BITS, SAMPLE_BITS = 8, 16
MOST = 2**SAMPLE_BITS - 1
SCALED, REPLICATED = -1, 0  # in place of a step


class Depth(NamedTuple):
    """How samples are made of numbers of `bits` bits.  step: 1 or more, REPLICATED or SCALED."""

    bits: int
    step: int

    @property
    def remainder_bits(self) -> int:
        """Bits of a number below the coarse plane, 0..8."""
        return self.bits - COARSE_BITS

    def __str__(self) -> str:
        how = {SCALED: ", scaled", REPLICATED: ", replicated", 1: ""}
        return f"{self.bits} bits" + how.get(self.step, f", times {self.step}")

    def numbers(self, samples: np.ndarray) -> np.ndarray:
        """Samples of any shape, uint16 -> their numbers, uint16."""
        wide = samples.astype(np.uint32)
        if self.step == SCALED:
            return ((wide * (2**self.bits - 1) + MOST // 2) // MOST).astype(np.uint16)
        if self.step == REPLICATED:
            return (wide >> SAMPLE_BITS - self.bits).astype(np.uint16)
        return (wide // self.step).astype(np.uint16)

    def samples(self, numbers: np.ndarray) -> np.ndarray:
        """The mirror of `numbers`.  Errors: DamagedFile where a sample exceeds 16 bits."""
        wide: np.ndarray = numbers.astype(np.uint32)
        if self.step == SCALED:
            most = 2**self.bits - 1
            wide = (wide * MOST + most // 2) // most
        elif self.step == REPLICATED:
            wide = wide << SAMPLE_BITS - self.bits | wide >> 2 * self.bits - SAMPLE_BITS
        else:
            wide = wide * self.step
        if wide.max() > MOST:
            raise DamagedFile("a sample of more than 16 bits")
        return wide.astype("<u2")


def find_depth(samples: np.ndarray) -> Depth:
    """The Depth of fewest bits that makes these samples, (H, W, ...) uint16."""
    step = max(1, int(np.gcd.reduce(samples, None)))
    bits = max(COARSE_BITS, (int(samples.max()) // step).bit_length())
    for fewer in range(COARSE_BITS + 1, bits):
        for depth in (Depth(fewer, REPLICATED), Depth(fewer, SCALED)):
            if _makes(depth, samples[:1]) and _makes(depth, samples):  # a row nearly always denies
                return depth
    return Depth(bits, step)


def _makes(depth: Depth, samples: np.ndarray) -> bool:
    return np.array_equal(depth.samples(depth.numbers(samples)), samples)
