"""Coding passes: every pixel in one of them, and arrays of a pass to images and back."""

import numpy as np
import pytest
import torch

from bitsback.diffusion.passes import PASS_COUNTS, Places, coding_passes

SIZES = [(1, 1), (1, 7), (9, 2), (8, 8), (13, 10)]


@pytest.fixture(params=PASS_COUNTS)
def passes(request):
    return coding_passes(request.param)


def grid(parts, height, width):
    """(height, width) bool of a pass's pixels."""
    seen = np.zeros((height, width), bool)
    for row, column, stride in parts:
        seen[row::stride, column::stride] = True
    return seen


def places_of(passes, height, width):
    """Places of the passes that have pixels in an image so small."""
    places = [Places(parts, height, width) for parts in passes]
    return [place for place in places if place.n]


@pytest.mark.parametrize("count", PASS_COUNTS)
def test_a_count_is_the_number_of_passes(count):
    assert len(coding_passes(count)) == count


def test_passes_share_an_image_out_equally(passes):
    pixels = np.array([grid(parts, 8, 8) for parts in passes])
    assert (pixels.sum(0) == 1).all() and (pixels.sum((1, 2)) == 64 // len(passes)).all()


def test_pixels_of_a_pass_do_not_touch(passes):
    for parts in passes:
        pixels = grid(parts, 12, 12)
        assert not (pixels[1:] & pixels[:-1]).any() and not (pixels[:, 1:] & pixels[:, :-1]).any()


@pytest.mark.parametrize("height, width", SIZES)
def test_put_is_the_mirror_of_of(passes, height, width):
    """All passes together write an image from their parts of it; what lies outside stays."""
    image = np.random.default_rng(height).integers(0, 99, (2, 3, height + 2, width + 1))
    back = np.full_like(image, -1)
    for places in places_of(passes, height, width):
        values = places.of(image)
        assert values.shape == (2, 3, places.n)
        assert np.array_equal(places.of_colour(image, 1), values[:, 1])
        assert np.array_equal(places.of(torch.from_numpy(image)).numpy(), values)
        places.put(back, values)
    assert np.array_equal(back[:, :, :height, :width], image[:, :, :height, :width])
    back[:, :, :height, :width] = -1
    assert (back == -1).all()


@pytest.mark.parametrize("height, width", SIZES)
def test_lines_are_in_the_order_of_the_pixels(passes, height, width):
    """Read line by line, several images give what `of` does."""
    image = np.random.default_rng(width).integers(0, 99, (3, 1, height, width))
    for places in places_of(passes, height, width):
        lines, found = places.lines(3), []
        for number, row, first, stride, before in lines:
            assert before == len(found)
            found += image[number, 0, row, first::stride].tolist()
        assert found == places.of(image).ravel().tolist()
        assert places.lines(3) is lines and lines.dtype == np.int64


@pytest.mark.parametrize("height, width", SIZES)
def test_blocks_of_the_pixels_of_a_pass(passes, height, width):
    """of_blocks repeats what a 2x2 block has for each of its pixels."""
    shape = (2, 4, -(-height // 2), -(-width // 2))
    blocks = np.random.default_rng(width).integers(0, 99, shape)
    pixels = blocks.repeat(2, 2).repeat(2, 3)
    for places in places_of(passes, height, width):
        assert np.array_equal(places.of_blocks(blocks), places.of(pixels))


@pytest.mark.parametrize("height, width", SIZES)
def test_channels_of_2x2_blocks(passes, height, width):
    """put_unshuffled: channel 4 colour + 2 i + j is row i and column j of a block."""
    image = torch.arange(2 * 3 * height * width).reshape(2, 3, height, width)
    padded = torch.zeros(2, 3, height + height % 2, width + width % 2, dtype=torch.long)
    padded[:, :, :height, :width] = image
    expected = torch.nn.functional.pixel_unshuffle(padded, 2).permute(0, 2, 3, 1)
    got = torch.zeros_like(expected)
    for places in places_of(passes, height, width):
        places.put_unshuffled(got, places.of(image))
    assert torch.equal(got, expected)
