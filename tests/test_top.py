"""The distribution of the noisiest level: fitted to images, pushed and popped."""

import numpy as np
import pytest

from bitsback.ans.gaussian_tables import FRACTIONS
from bitsback.coder.context import Context
from bitsback.coder.top import Top
from bitsback.diffusion.levels import default_levels, sigmas
from tests.laws import check_codec, credit

LEVELS = default_levels()
SPACING = LEVELS[-1].spacing


def test_mean_of_constant_images():
    """In 1/32 of a spacing from gray level 128, over the pixels of all images."""
    images = [
        np.full((6, 4, 3), (128, 0, 255), np.uint8),
        np.full((2, 4, 3), (128, 0, 63), np.uint8),
    ]
    top = Top.fitted(images, LEVELS)
    means = np.array([128, 0, (3 * 255 + 63) / 4]) - 128
    assert top.mean32 == tuple(np.rint(means / SPACING * FRACTIONS).astype(int))


def test_scale_grows_with_the_spread_of_the_images():
    """The noise of the level is the least; the scales are steps of 1/16 of a doubling."""
    image = np.full((64, 64, 3), 128, np.uint8)
    least = Top.fitted([image], LEVELS).scale
    image[::2], image[1::2, :, 2] = 0, 255
    small, _, large = Top.fitted([image], LEVELS).scale
    sigma = sigmas(LEVELS)[-1]
    assert len(set(least)) == 1 and small - least[0] in (0, 1)
    assert large - least[0] == pytest.approx(16 * np.log2(np.hypot(sigma, 127.5) / sigma), abs=1)
    assert large > least[0]


def test_a_gray_image_counts_for_each_channel():
    gray = np.random.default_rng(0).integers(0, 256, (9, 8, 1), np.uint8)
    top = Top.fitted([gray], LEVELS)
    assert top == Top.fitted([gray.repeat(3, 2)], LEVELS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("free", [False, True])
def test_push_and_pop_are_mirrors(gaussians, channels, free):
    """Of all samples, and of those that are not in the context already."""
    rng, shape = np.random.default_rng(channels), (2, channels, 5, 7)
    spread = sigmas(LEVELS)[-1] / SPACING
    values = np.rint(rng.normal(0, spread, shape)).astype(np.int32)
    mask = rng.random(shape) < 0.7 if free else None
    fixed = None if mask is None else values[~mask]
    context = Context(values[:, :, :0], values[:, :, :, :0], mask, fixed)
    top = Top((3, -40, 90), Top.fitted([np.zeros((8, 8, 3), np.uint8)], LEVELS).scale)
    assert check_codec(
        lambda stack, x: top.push(gaussians, stack, x, context),
        lambda stack: top.pop(gaussians, stack, shape, context),
        credit(4000),
        values,
    )
