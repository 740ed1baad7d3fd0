"""depth.py: the bits that 16-bit samples use, and the numbers that they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.codecs.bitstream.depths import Deep, pack, unpack
from bitsback.codecs.depth import REPLICATED, SCALED, Depth, find_depth
from bitsback.errors import DamagedFile

RNG = np.random.default_rng(3)


@given(
    bits=st.integers(9, 16),
    kind=st.sampled_from(["low", "high", "replicated", "scaled"]),
    seed=st.integers(0, 99),
)
def test_what_made_the_samples_is_found(bits, kind, seed):
    """Numbers that span their range, stored in the four ways of cameras and programs."""
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (6, 7, 3), np.uint16)
    numbers[0, 0] = 0, 1, 2**bits - 1
    step = {"low": 1, "high": 2 ** (16 - bits), "replicated": REPLICATED, "scaled": SCALED}[kind]
    depth = Depth(bits, step)
    samples = depth.samples(numbers)
    found = find_depth(samples)
    assert np.array_equal(depth.numbers(samples), numbers) and samples.dtype == np.uint16
    assert found.bits <= bits and np.array_equal(found.samples(found.numbers(samples)), samples)
    assert found == depth or bits == 16 or kind != "low" and found.bits < bits


def test_formulas():
    """By hand: 12 bits, all ones are white where the range is filled."""
    four = np.array([0, 1, 0xABC, 0xFFF], np.uint16)
    assert Depth(12, 16).samples(four).tolist() == [0, 0x10, 0xABC0, 0xFFF0]
    assert Depth(12, REPLICATED).samples(four).tolist() == [0, 0x10, 0xABCA, 0xFFFF]
    assert Depth(12, SCALED).samples(four).tolist() == [0, 16, 43978, 65535]
    assert str(Depth(12, 16)) == "12 bits, times 16" and str(Depth(16, 1)) == "16 bits"
    assert str(Depth(9, SCALED)) == "9 bits, scaled"


@pytest.mark.parametrize(
    "samples, depth",
    [
        (np.zeros((2, 2)), Depth(8, 1)),
        (np.full((1, 1), 65535), Depth(8, 65535)),
        (np.arange(256)[None] * 257, Depth(8, 257)),
        (np.arange(300)[None], Depth(9, 1)),
        (np.arange(4096)[None] * 16, Depth(12, 16)),
    ],
)
def test_smallest_cases(samples, depth):
    assert find_depth(samples.astype("<u2")) == depth


def test_section_of_depths():
    """The mirror of pack; what cannot be, and what is left over, is damage."""
    images = [Deep(Depth(16, 1), 70000), Deep(Depth(8, 257), 0), Deep(Depth(10, SCALED), 1)]
    assert unpack(pack(images), 3) == images and pack([]) == b""
    for count in (0, 2, 4):
        with pytest.raises(DamagedFile):
            unpack(pack(images), count)
    for bits in (7, 17):
        with pytest.raises(DamagedFile):
            unpack(bytes([2, bits, 0]), 1)
    with pytest.raises(DamagedFile):
        Depth(12, 17).samples(np.array([4095], np.uint16))
