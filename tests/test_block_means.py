"""means.py: block means told before all else, what they buy, and the files that use them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.codecs import block_means, block_sums, checksums, decode, decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import Segment, turned
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.errors import BitsbackError, DamagedFile
from bitsback.sampling.preview import preview
from tests import numpy_decoder as yardstick
from tests.side_information import grids

LEVELS = default_levels()


def hills(height, width, channels=3, seed=0):
    """Pixels of large bright and dark places: what block means tell."""
    rng = np.random.default_rng([height, width, seed])
    coarse = rng.integers(20, 236, (-(-height // 40), -(-width // 40), channels)).astype(float)
    smooth = coarse.repeat(40, 0).repeat(40, 1)[:height, :width] + rng.normal(
        0, 3, (height, width, channels)
    )
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


def tell(images):
    return block_means.write(images, Top.fitted(images, LEVELS), LEVELS)


def coded(arrays, model):
    images = [
        ImageData("RGB", pixels) if pixels.shape[2] == 3 else ImageData("L", pixels[..., 0])
        for pixels in arrays
    ]
    entries = tuple(
        Entry(s.width, s.height, f"{i}", check=checksums.image_check(s.samples), mode=s.mode)
        for i, s in enumerate(images)
    )
    header = Header(entries, checksums.file_digest(images, b""), len(arrays) > 1)
    return prior_codec.encode_stack(arrays, header, model)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.sampled_from([1, 3]))
def test_straight_lines_between_the_centres(rows, columns, seed, channels):
    """Interpolation: the mean of four neighbours between their centres, linear between two,
    constant beyond the outer centres.
    """
    grid = np.random.default_rng(seed).integers(0, 17, (rows, columns, channels))
    plane = block_means.interpolated(grid, (0, 32 * rows), (0, 32 * columns))
    centres = plane.reshape(rows, 32, columns, 32, channels)[:, 15:17, :, 15:17].sum((1, 3))
    assert plane.min() >= 4096 * grid.min() and plane.max() <= 4096 * grid.max()
    assert (plane[:16, :16] == 4096 * grid[0, 0]).all() and (
        plane[-16:, -16:] == 4096 * grid[-1, -1]
    ).all()
    if rows == columns == 1:
        assert (centres == 4 * 4096 * grid).all()
    if rows > 1:
        assert (np.diff(plane[16:48, 0], axis=0) == 128 * (grid[1, 0] - grid[0, 0])).all()
    part = block_means.interpolated(grid, (5, 29), (7, 32))
    assert np.array_equal(part, plane[5:29, 7:32])


@given(
    st.integers(0, 2**32),
    st.lists(
        st.tuples(st.integers(1, 100), st.integers(1, 100), st.sampled_from([1, 3])),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 3),
)
def test_told_and_read(seed, sizes, copies):
    """Whatever is told comes back as the same Top, image by image."""
    images = [hills(*size, seed=seed + i) for size in sizes for i in range(copies)]
    data, top = tell(images)
    if not data:
        assert type(top) is Top
        return
    again = block_means.read(
        data,
        [pixels.shape for pixels in images],
        dataclasses.replace(Top.fitted(images, LEVELS), scale=top.scale),
        LEVELS,
    )
    assert (
        again.mean32 == top.mean32
        and again.scale == top.scale
        and again.exponent == LEVELS[-1].exponent
    )
    for i, (one, other, pixels) in enumerate(zip(again.grids, top.grids, images)):
        assert (one is None) == (other is None) and (one is None or np.array_equal(one, other))
        rows, columns = (0, pixels.shape[0]), (0, pixels.shape[1])
        assert np.array_equal(
            again.mean_at(i, rows, columns, pixels.shape[2]),
            top.mean_at(i, rows, columns, pixels.shape[2]),
        )


def test_means_are_near_the_image():
    """Within half a step of a smooth image's where nothing is clipped; a scale for the rest."""
    ramp = np.add.outer(np.arange(320.0) / 2, np.arange(256.0) / 4)
    pixels = np.dstack([ramp + 10, 230 - ramp, ramp]).round().astype(np.uint8)
    _, top = tell([pixels])
    mean = top.mean_at(0, (0, 320), (0, 256), 3) * LEVELS[-1].spacing / 32 + 128
    left = pixels.transpose(2, 0, 1) - mean
    assert np.abs(left[:, 16:-16, 16:-16]).max() < 18 and np.abs(left).max() < 26
    assert (
        top.scale == Top.fitted([np.full((8, 8, 3), 77, np.uint8)], LEVELS).scale
    )  # next to nothing is left beside sigma 285
    halves = np.repeat(np.array([0, 255], np.uint8), 128)[:, None, None].repeat(256, 1).repeat(3, 2)
    assert max(tell([halves])[1].scale) < min(Top.fitted([halves], LEVELS).scale)


def test_what_they_buy():
    """The top costs what the formula says, measured with the table's frequencies; fewer bytes."""
    from bitsback.ans.gaussian_tables import Gaussians, gaussian_frequencies

    gaussians, spacing = Gaussians(gaussian_frequencies()), LEVELS[-1].spacing
    pixels = hills(320, 320)
    plain = Top.fitted([pixels], LEVELS)
    data, top = tell([pixels])
    rng = np.random.default_rng(5)
    y = np.rint(
        (
            pixels.transpose(2, 0, 1)[None]
            - 128.0
            + rng.normal(0, np.sqrt(sigmas(LEVELS)[-1] ** 2 - spacing**2 / 12), (1, 3, 320, 320))
        )
        / spacing
    ).astype(np.int32)
    place = Segment(0, 1, 0, 0, 320, 320)
    before, after = (
        gaussians.information_bits(y.ravel(), *one.at(place, 3)._parameters(y.shape, no_context(y)))
        for one in (plain, top)
    )
    _, was, left = block_means.fit_means(pixels, 128 + np.array(plain.mean32) * spacing / 32)
    promised = (
        pixels.size
        / 6
        * (
            np.log2(1 + was / sigmas(LEVELS)[-1] ** 2) - np.log2(1 + left / sigmas(LEVELS)[-1] ** 2)
        ).sum()
    )
    assert before - after == pytest.approx(promised, rel=0.15) and 8 * len(data) < 0.5 * (
        before - after
    )


def test_nothing_to_tell():
    """A gray surface, a small image, noise: no bytes, and the Top as it was."""
    rng = np.random.default_rng(1)
    for pixels in (
        np.full((256, 256, 3), 90, np.uint8),
        hills(16, 16),
        rng.integers(0, 256, (200, 200, 3), np.uint8),
    ):
        fitted = Top.fitted([pixels], LEVELS)
        assert block_means.write([pixels], fitted, LEVELS) == (b"", fitted)


def test_many_small_images_share():
    """Thumbnails of unequal brightness share a small image of means; one alone would not pay."""
    rng = np.random.default_rng(2)
    images = [
        np.clip(rng.normal(level, 9, (32, 32, 3)), 0, 255).astype(np.uint8)
        for level in rng.integers(30, 220, 200)
    ]
    data, top = tell(images)
    assert (
        data
        and all(grid.shape == (1, 1, 3) for grid in top.grids)
        and len(data) < 3 * len(images) / 2
    )
    assert tell(images[:1])[0] == b""


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(104, 136)], marks=pytest.mark.slow),
        [(97, 101, 1)],
        pytest.param([(64, 40), (64, 40), (90, 120)], marks=pytest.mark.slow),
        pytest.param([(120, 130), (40, 40, 1), (40, 40, 1)], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_files_there_and_back(tiny_model, monkeypatch, sizes):
    """The same pixels, whichever corner they start from; by the document too, words and all."""
    arrays = [hills(*size, seed=i) for i, size in enumerate(sizes)]
    for flips in range(4):
        monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: flips)  # noqa: B023
        header, payload = coded(arrays, tiny_model)
        data = container.write(header, payload)
        assert (
            container.read_header(data).section(Tag.BLOCK_MEANS)
            == header.section(Tag.BLOCK_MEANS)
            != b""
        )
        _, images = decoder.decode_images(data, model=tiny_model)
        assert all(
            np.array_equal(image.samples.reshape(pixels.shape), pixels)
            for image, pixels in zip(images, arrays)
        )
    numbers, lanes = yardstick.Model(tiny_model.path.read_bytes()), yardstick.Lanes(payload)
    blurred, flat = header.section(Tag.BLOCK_MEANS), header.section(Tag.FLAT_MAP)
    assert not flat
    told = grids(blurred, header.sizes)
    got = yardstick.decode(
        numbers,
        lanes,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=told,
    )
    image, rows, columns = header.start
    expected = [turned(pixels, header.flips) for pixels in arrays]
    for i, pixels in enumerate(expected[: image + 1]):
        part = np.s_[:, :] if i < image else np.s_[:rows, :columns]
        got[i][part] = pixels[part]
    assert all(map(np.array_equal, got, expected))
    again = yardstick.Lanes.from_credit(lanes.credit(header.credit_bytes))
    yardstick.encode(
        numbers,
        again,
        expected,
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=told,
    )
    assert again.to_bytes() == payload


@pytest.mark.slow
def test_files_are_smaller(monkeypatch):
    """With a shipped model, by more than chance: the latents drawn move a file of this size by some
    70 bytes (of a random network by 300).
    """
    images, model = [hills(320, 320)], Model.open("fast")
    header, payload = coded(images, model)
    monkeypatch.setattr(block_means, "begin", lambda images, top, *_: (bytes, top))
    assert (
        len(payload) + 300 < len(coded(images, model)[1])
        and 0 < len(header.section(Tag.BLOCK_MEANS)) < 200
    )


def test_preview(tiny_model):
    """Stops at a level of an image with told means."""
    header, payload = coded([hills(104, 136)], tiny_model)
    assert header.section(Tag.BLOCK_MEANS) and preview(
        container.write(header, payload), model=tiny_model
    ).pixels.shape == (104, 136, 3)


SIZES = [(70, 40, 3), (70, 40, 3), (33, 20, 1)]
GOOD = np.full((6, 2, 3), 8, np.uint8)


def part(samples):
    packed = encode_fallback(samples)
    return number(len(packed)) + packed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0\0",
        part(GOOD),
        part(GOOD) + b"\0\0",
        part(GOOD) + part(GOOD),
        part(GOOD[:3]) + b"\0",
        part(GOOD + 9) + b"\0",
        part(GOOD)[:-1],
        b"\xff" * 9,
        b"\5\0\0\0\0\0\0",
    ],
    ids=repr,
)
def test_bad_bytes(data):
    """Too few, too many, a wrong size, a mean out of range, nothing told at all: DamagedFile."""
    with pytest.raises(DamagedFile):
        block_means.read(data, SIZES, Top((0,) * 3, (64,) * 3), LEVELS)


def test_good_bytes():
    top = block_means.read(part(GOOD) + b"\0", SIZES, Top((1, 2, 3), (64,) * 3), LEVELS)
    assert [grid is None for grid in top.grids] == [False, False, True]
    at = top.at(Segment(0, 2, 8, 16, 24, 24), 3)
    assert (
        at.mean32.shape == (2, 3, 24, 24)
        and (at.mean32 == np.array([1, 2, 3])[:, None, None]).all()
    )


def test_a_header_that_lies(tiny_model):
    """More or fewer bytes than there are, none, or all of the file."""
    header, payload = coded([hills(104, 136)], tiny_model)
    means = header.section(Tag.BLOCK_MEANS)
    for wrong in (b"", means[:1], means[:-1], means + b"\0", payload):
        sections = {**header.sections, int(Tag.BLOCK_MEANS): wrong}
        if not wrong:
            del sections[Tag.BLOCK_MEANS]
        with pytest.raises(BitsbackError):
            decode(
                container.write(dataclasses.replace(header, sections=sections), payload),
                model=tiny_model,
            )


@pytest.mark.skipif(not HAVE_NUMBA, reason="numba compiles these loops")
@pytest.mark.parametrize("shape", [(1, 1, 1), (31, 33, 3), (70, 5, 3), (64, 96, 1), (100, 131, 3)])
def test_loops_are_the_reference(shape):
    """Sums, squares and means, to the last bit."""
    from bitsback.codecs import block_sum_loops

    rng = np.random.default_rng(shape)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    for view in (pixels, pixels[::-1, ::-1]):
        sums, squares = block_sums.block_sums(view, 32)
        found = block_sum_loops.block_sums(view, 32)
        assert np.array_equal(found[0], sums) and np.array_equal(found[1], squares)
        assert sums.sum() == view.sum() and squares.sum() == (view.astype(np.int64) ** 2).sum()
        steps = rng.integers(-8, 9, sums.shape).astype(np.int32)
        places = [block_means._weights(0, shape[i], steps.shape[i]) for i in (0, 1)]
        grid = 64 * (128 + 32 * steps.astype(np.int64)) + rng.integers(-9, 9, steps.shape)
        expected = block_sums.squares_around(view, grid, *places)
        found = block_sum_loops.squares_around(view, grid, *places)
        assert np.array_equal(found, expected) and found.dtype == expected.dtype == np.int64
        places = [block_means._weights(shape[i] // 3, shape[i], steps.shape[i]) for i in (0, 1)]
        arguments = steps, *places, np.array([5, -7, 9][: shape[2]], np.int32), 5
        means = block_sums.interpolated_means(*arguments)
        assert means.dtype == np.int32 and (means.min() < means.max() or steps.size <= 3)
        assert np.array_equal(block_sum_loops.interpolated_means(*arguments), means)


@given(st.integers(1, 99), st.integers(1, 99), st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_means_by_passes_over_the_pixels(height, width, channels, seed):
    """fit_means, which adds up blocks once, finds what passes over interpolated pixels find."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    pixels[height // 2 :, : width // 2] //= 8
    start = rng.integers(90, 160, channels).astype(float)
    steps, before, after = block_means.fit_means(pixels, start)

    def left(grid):
        found = pixels - block_means.interpolated(grid, (0, height), (0, width)) / 4096
        blocks = [
            [found[y : y + 32, x : x + 32].mean((0, 1)) for x in range(0, width, 32)]
            for y in range(0, height, 32)
        ]
        return np.array(blocks), (found**2).mean((0, 1))

    grid = np.broadcast_to(start, steps.shape)
    means, square = left(grid)
    assert np.allclose(before, square)
    grid = grid + means
    grid = grid + left(grid)[0]
    exact = (grid - start) / 32 + 8
    assert (abs(steps - np.clip(exact, 0, 16)) <= 0.5 + 1e-9).all()
    assert np.allclose(after, left(start + (steps - 8.0) * 32)[1])
