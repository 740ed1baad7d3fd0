"""deltas.py: every dtype and shape comes back bit for bit; packed bytes that lie are DamagedFile, with bounded memory."""

import lzma
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bitsback.codecs.fallback.differences import (
    FILTERS,
    LZMA,
    _backward,
    _forward,
    decode_differences,
    encode_differences,
)
from bitsback.errors import DamagedFile

SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
)


@given(
    samples=st.sampled_from(["u1", "<u2", "<i4", "<f4"]).flatmap(
        lambda dtype: SHAPES.flatmap(lambda shape: arrays(dtype, shape))
    )
)
def test_any_array_comes_back(samples):
    """decode(encode(x)) has x's bits, NaNs and negative zeros included."""
    back = decode_differences(encode_differences(samples), samples.shape, samples.dtype)
    assert (
        back.dtype == samples.dtype
        and back.shape == samples.shape
        and back.tobytes() == samples.tobytes()
    )


@pytest.mark.parametrize("way", range(8))
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_every_difference_is_undone(way, dtype):
    """Each of the eight ways is invertible for numbers that wrap."""
    samples = np.random.default_rng(way).integers(
        0, 2 ** (8 * np.dtype(dtype).itemsize), (7, 6, 4), dtype=dtype
    )
    assert np.array_equal(
        _backward(_forward(samples, way), samples.shape, samples.dtype, way), samples
    )


def test_smooth_samples_become_small():
    """A 16-bit ramp takes a hundredth of its size; noise takes little more than its size."""
    ramp = (np.arange(300)[:, None] * 60 + np.arange(200) * 40).astype("<u2")
    assert len(encode_differences(ramp)) < ramp.nbytes / 100
    noise = np.random.default_rng(0).integers(0, 2**16, (100, 100), dtype="<u2")
    assert len(encode_differences(noise)) < 1.01 * noise.nbytes


def test_damage():
    """Cut, prolonged, of another kind, or of more or fewer samples: DamagedFile."""
    samples = np.random.default_rng(0).integers(0, 50, (20, 20), dtype=np.uint8)
    good = encode_differences(samples)
    packed = lzma.compress(bytes(399), lzma.FORMAT_RAW, filters=FILTERS)
    for bad in (
        b"",
        good[:1],
        good[:-1],
        good + b"\0",
        bytes([16]) + good[1:],
        bytes([4]) + good[1:],
        bytes([LZMA]) + packed,
        b"\0" + zlib.compress(bytes(401)),
        b"\0" + zlib.compress(bytes(399)),
        bytes([LZMA]) + b"\xff" * 50,
    ):
        with pytest.raises(DamagedFile):
            decode_differences(bad, (20, 20), np.uint8)


@pytest.mark.parametrize("way", [0, LZMA])
def test_a_bomb_is_not_unpacked(way):
    """A megabyte that claims to be ten pixels is refused after ten; ten bytes that claim 2^62 ask for no memory."""
    data = bytes(2**24)
    bomb = bytes([way]) + (
        lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS) if way else zlib.compress(data)
    )
    with pytest.raises(DamagedFile):
        decode_differences(bomb, (2, 5), np.uint8)
    with pytest.raises(DamagedFile):
        decode_differences(bomb[:10], (2**31, 2**31), np.uint8)
