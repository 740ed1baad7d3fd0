"""PNGs for notebooks and pages: the pixels themselves, or means of them."""

import io

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.display_png import display_png

RNG = np.random.default_rng(61)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_pixels(shape):
    """Read back, the pixels are equal; one channel is gray."""
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)[:, ::-1]  # not contiguous
    shown = np.asarray(Image.open(io.BytesIO(display_png(pixels))))
    assert np.array_equal(shown, pixels[..., 0] if shape[2:] == (1,) else pixels)


@pytest.mark.parametrize("longest, side", [(8, 8), (7, 4), (4, 4), (3, 3), (0, 8)])
def test_longest(longest, side):
    """Means of squares, as large as `longest` lets; an image that is not larger is not changed."""
    pixels = np.repeat(np.arange(8, dtype=np.uint8) * 10, 6).reshape(8, 6)
    shown = np.asarray(Image.open(io.BytesIO(display_png(pixels, longest))))
    square = -(-8 // side)
    rows = [pixels[at : at + square, 0].mean() for at in range(0, 8, square)]
    assert shown.shape == (side, -(-6 // square)) and np.allclose(shown[:, 0], rows, atol=0.5)
