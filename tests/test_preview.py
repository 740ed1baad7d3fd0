"""preview.py: the segment that decodes first, near to the image; elsewhere block means or gray."""

import dataclasses
import math

import numpy as np
import pytest

from bitsback.codecs import block_means, encode, prior_codec
from bitsback.codecs.archive import encode_archive
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import blocks, planes
from bitsback.coder.context import context_chain, no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage, WrongModel
from bitsback.sampling.preview import MIDDLE_GRAY, fill, preview
from tests.test_block_means import coded

HEIGHT = 128


@pytest.fixture(scope="module")
def pixels(photograph):
    return photograph(HEIGHT, 64)


@pytest.fixture(scope="module")
def shipped():
    return Model.open()


def no_block_means(images, top, *_):
    """In place of block_means.begin."""
    return bytes, top


@pytest.fixture(scope="module")
def data(pixels, prior_file, shipped):
    """A file without block means and flat map."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_means, "begin", no_block_means)
        return prior_file(pixels, shipped)


def error(seen, pixels):
    return np.sqrt(np.mean((seen.pixels[seen.known].astype(float) - pixels[seen.known]) ** 2))


def covered(header, count):
    """(H, W) bool: the last `count` segments of a file of one image."""
    mask = np.zeros((header.height, header.width), bool)
    for place in locate([mask.shape], header.start, header.segments)[::-1][:count]:
        blocks([turned(mask, header.flips)], place)[0][:] = True
    return mask


def test_the_part_that_decodes_first(data, pixels, shipped):
    """The last segment is near to the image, nearer at less noise; all else is gray.

    It takes a part of the network evaluations.
    """
    last = covered(container.read_header(data), 1)
    quick, good = (preview(data, model=shipped, sigma=sigma) for sigma in (40.0, 3.0))
    for seen in (quick, good):
        assert (
            (seen.known == last).all()
            and 0.1 < last.mean() < 0.9
            and seen.pixels.shape == pixels.shape
        )
        assert (seen.pixels[~last] == MIDDLE_GRAY).all()
    assert (
        error(good, pixels) < 3
        and error(quick, pixels) < 12
        and error(good, pixels) < error(quick, pixels)
    )
    assert quick.sigma > 9 > good.sigma and quick.share < good.share < 0.5


def test_the_share_counts_network_passes(data, shipped, monkeypatch):
    """share: pixels times network evaluations, without context, over those of a full decode."""
    passes, network = [], type(shipped.chain().network)
    trunk, header = network.trunk, container.read_header(data)
    monkeypatch.setattr(
        network, "trunk", lambda self, index, y: passes.append(index) or trunk(self, index, y)
    )
    last = locate([(header.height, header.width)], header.start, header.segments)[-1]
    for sigma, steps in ((9.0, 3), (3.0, 1)):
        passes.clear()
        share = preview(data, model=shipped, sigma=sigma, steps=steps).share
        coded = header.height * header.width - header.start[1] * header.start[2]
        assert share == pytest.approx(len(passes) * last.pixels / (coded * len(shipped.levels)))


def test_more_segments(data, pixels, shipped):
    """All but the last are exact, the last is near; with all of them only the start is gray."""
    header = container.read_header(data)
    assert len(header.segments) > 1
    seen = preview(data, model=shipped, segments=len(header.segments) + 5)
    exact, shown = covered(header, len(header.segments) - 1), covered(header, len(header.segments))
    assert (seen.known == shown).all() and (seen.pixels[exact] == pixels[exact]).all()
    assert (
        (seen.pixels[~shown] == MIDDLE_GRAY).all()
        and (~shown).sum() == header.start[1] * header.start[2]
        and 0 < error(seen, pixels) < 5
    )
    assert preview(data, model=shipped).share < seen.share < 1


def fields(height, width, channels=3):
    """Bright and dark areas, twice as large as the blocks of block means."""
    rng = np.random.default_rng([height, width, channels])
    coarse = (
        rng.integers(20, 236, (-(-height // 64), -(-width // 64), channels))
        .repeat(64, 0)
        .repeat(64, 1)[:height, :width]
    )
    return np.clip(np.rint(coarse + rng.normal(0, 3, coarse.shape)), 0, 255).astype(np.uint8)


def far(a, b):
    """Mean distance, gray levels."""
    return np.abs(np.subtract(a, b, dtype=float)).mean()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("flips", range(4))
def test_block_means_fill_the_rest(tiny_model, monkeypatch, channels, flips):
    """From any corner, the rest is nearer to the image than turned means and gray are.

    Gray images stay gray.
    """
    monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: flips)
    pixels = fields(160, 136, channels)
    header, payload = coded([pixels], tiny_model)
    seen = preview(container.write(header, payload), model=tiny_model)
    rest = ~seen.known
    assert (
        header.section(Tag.BLOCK_MEANS)
        and not header.section(Tag.FLAT_MAP)
        and 0.2 < rest.mean() < 0.9
    )
    assert (seen.known == covered(header, 1)).all()
    assert far(seen.pixels[rest], pixels[rest]) < 0.7 * min(
        far(MIDDLE_GRAY, pixels[rest]),
        *(far(seen.pixels[rest], turned(pixels, other)[rest]) for other in (1, 2, 3)),
    )
    assert channels == 3 or (seen.pixels[..., :1] == seen.pixels).all()


def test_no_bands(tiny_model):
    """Block means of a smooth slope are smooth: within a step of the means, without jumps."""
    rows, columns = np.mgrid[:320, :64]
    pixels = np.stack(
        [20 + 0.6 * rows + columns / 8, 230 - 0.6 * rows, np.full(rows.shape, 90.0)], -1
    ).round()
    pixels = (pixels + np.random.default_rng(1).integers(-2, 3, pixels.shape)).astype(
        np.uint8
    )  # not flat
    header, payload = coded([pixels], tiny_model)
    seen = preview(container.write(header, payload), model=tiny_model)
    blurred, middle = (
        np.where(seen.known[..., None], np.nan, seen.pixels),
        slice(16, -16),
    )  # beyond the outer blocks' centres nothing changes
    assert header.section(Tag.BLOCK_MEANS) and np.nanmax(np.abs(np.diff(blurred, axis=0))) < 4
    assert (
        np.nanmax(np.abs(blurred - pixels)[middle]) < block_means.STEP
        and np.isfinite(blurred[middle]).any()
    )


def clipped(height, width):
    """An image whose upper part is clipped in red alone, beside bright green and blue."""
    pixels = fields(height, width)
    pixels[: height * 3 // 4] = pixels[: height * 3 // 4] // 8 + 200
    pixels[: height * 3 // 4, :, 0] = 255
    return pixels


@pytest.mark.parametrize("has_means", [True, False])
def test_one_known_channel_is_no_colour(tiny_model, monkeypatch, has_means):
    """Where the flat map has red only, block means fill the rest, or all of the pixel is gray."""
    if not has_means:
        monkeypatch.setattr(block_means, "begin", no_block_means)
    monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: 0)
    pixels = clipped(160, 136)
    header, payload = coded([pixels], tiny_model)
    seen = preview(container.write(header, payload), model=tiny_model)
    red = ~seen.known & (pixels[..., 0] == 255)
    assert (
        header.section(Tag.FLAT_MAP)
        and bool(header.section(Tag.BLOCK_MEANS)) == has_means
        and red.mean() > 0.1
    )
    if has_means:
        assert (seen.pixels[red][:, 0] == 255).all() and far(seen.pixels[red], pixels[red]) < 20
    else:
        assert (seen.pixels[~seen.known] == MIDDLE_GRAY).all()


@pytest.mark.parametrize("channels", [3, 1])
def test_fill(channels):
    """Block means, clipped, in free samples alone; a gray image uses green's start.

    Without block means a pixel with a free sample is gray.
    """
    spacing, grid = 256.0, np.full((2, 3, channels), block_means.ZERO, np.int32)
    grid[..., -1] += 2
    top, rng = block_means.LocalTop((0, -8, 1), (64,) * 3, (grid,), 8), np.random.default_rng(1)
    before, free = (
        rng.integers(0, 256, (40, 70, channels), np.uint8),
        rng.random((40, 70, channels)) < 0.5,
    )
    expected = (
        [128, 64, 200] if channels == 3 else [128]
    )  # 128 + mean32 * 256 / 32 + 2 steps of 32 in the last
    pixels = before.copy()
    fill(pixels, free, top, spacing)
    assert (pixels[~free] == before[~free]).all() and (
        pixels == np.where(free, np.array(expected), before)
    ).all()
    fill(
        pixels,
        np.ones_like(free),
        block_means.LocalTop(
            (0, -8, 1), (64,) * 3, (grid + 8 - 20 * (grid > block_means.ZERO),), 8
        ),
        spacing,
    )
    assert (pixels == ([255, 255, 0] if channels == 3 else [0])).all()
    pixels = before.copy()
    fill(pixels, free, Top((0, -8, 1), (64,) * 3), spacing)
    assert (pixels == np.where(free.any(2, keepdims=True), MIDDLE_GRAY, before)).all()


@pytest.mark.parametrize("k", [0, 4, 8])
def test_decoding_stops_at_a_level(tiny_model, prior_file, photograph, k):
    """Chain.pop down to y_k, then the rest of its steps by hand, is the whole pop."""
    pixels = photograph(64, 48)
    header, payload = container.read(prior_file(pixels))
    chain, place = tiny_model.chain(), locate([(64, 48)], header.start, header.segments)[-1]
    shape = 1, 3, place.height, place.width
    block = planes(blocks([turned(pixels, header.flips)], place)[0])
    known = no_context(block)
    _, stack, top, _, _ = prior_codec.open_stack(
        header, payload, tiny_model, [np.empty((64, 48, 3), np.uint8)]
    )
    top = top.at(place, 3)
    y = chain.pop(stack, shape, top, known, k)
    for index in range(k, -1, -1):
        value = chain.reverse[index].pop(
            stack, y, context_chain(chain.forward_table, chain.levels, known)[index]
        )
        chain.forward[index].push(stack, y, value, known)
        y = value
    assert (y == block).all()


def test_a_file_under_the_fallback_codec_is_decoded(photograph):
    """The image itself, a share of 1."""
    pixels = photograph(9, 11)
    seen = preview(encode(pixels))
    assert (seen.pixels == pixels).all() and seen.share == 1 and seen.known.all()


def test_bad_input(data, shipped, other_model, prior_file, photograph, tmp_path):
    """Archives, foreign and altered bytes, missing models, a short stack: this package's errors."""
    from PIL import Image

    Image.fromarray(photograph(9, 11)).save(tmp_path / "a.png")
    archive = encode_archive([tmp_path])[0]
    for several in (archive, container.write_groups([(1, archive), (1, archive)])):
        with pytest.raises(UnsupportedImage, match="a preview shows one image"):
            preview(several)
    with pytest.raises(NotOurFile):
        preview(b"something else")
    with pytest.raises(DamagedFile):
        preview(data[:-5], model=shipped)
    with pytest.raises(WrongModel):
        preview(prior_file(photograph(64, 48), other_model))
    header, payload = container.read(data)
    short = container.write(dataclasses.replace(header), payload[-200:])
    with pytest.raises(DamagedFile):
        preview(short, model=shipped)


@pytest.mark.parametrize(
    "option",
    [{"sigma": 0}, {"sigma": math.nan}, {"steps": 0}, {"segments": 0}, {"segments": -1}],
)
def test_numbers_that_are_none(data, shipped, option):
    """ValueError that names them, not what they lead to."""
    with pytest.raises(ValueError, match="not all positive"):
        preview(data, model=shipped, **option)


def test_bytes_of_any_kind(data, shipped):
    """As decode takes them."""
    expected = preview(data, model=shipped).pixels
    for same in (np.frombuffer(data, np.uint8), memoryview(data)):
        assert np.array_equal(preview(same, model=shipped).pixels, expected)
    with pytest.raises(TypeError):
        preview("a.bbk", model=shipped)
