"""flats.py: blocks of one value, told before all else, and the files that use them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.codecs import borders, checksums, decode, decoder, flat_map, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import turned
from bitsback.coder.chain import Chain
from bitsback.coder.context import Context, context_chain
from bitsback.coder.top import Top
from bitsback.diffusion.levels import sigmas
from bitsback.errors import BitsbackError, DamagedFile
from bitsback.sampling.preview import preview
from tests import numpy_decoder as yardstick
from tests.laws import credit
from tests.side_information import grids


@pytest.fixture(scope="module")
def clipped(photograph):
    """A photograph with a sky clipped in red and green, and a border black in all channels."""

    def make(height, width, channels=3):
        pixels = photograph(height, width)
        pixels[: height // 2 + 3, :, :2] = 255
        pixels[:, :13] = 0
        return np.ascontiguousarray(pixels[..., :channels])

    return make


def coded(pixels, model, tuning=0):
    image = ImageData("RGB", pixels) if pixels.shape[2] == 3 else ImageData("L", pixels[..., 0])
    header = Header(
        (Entry(pixels.shape[1], pixels.shape[0], mode=image.mode),),
        checksums.file_digest([image], b""),
    )
    return prior_codec.encode_stack([pixels], header, model, tuning=tuning)


@given(
    st.integers(0, 2**32),
    st.integers(1, 37),
    st.integers(1, 37),
    st.sampled_from([1, 3]),
    st.integers(1, 30),
)
def test_told_and_read(seed, height, width, channels, size):
    """What the map holds comes back in place, the rest is left; the mask tells them apart."""
    rng = np.random.default_rng(seed)
    pixels = (
        rng.integers(0, 3, (-(-height // size), -(-width // size), channels), np.uint8)
        .repeat(size, 0)
        .repeat(size, 1)[:height, :width]
        * 100
    )
    pixels[rng.random(pixels.shape) < 0.01] += 1
    pixels[:, :, 0][rng.random((height, width)) < rng.random()] += 3
    data, masks = flat_map.write([pixels])
    if not data:
        assert masks is None
        return
    back = np.full_like(pixels, 77)
    (mask,) = flat_map.read(data, [back])
    assert np.array_equal(mask, masks[0]) and not mask.all()
    assert np.array_equal(back[~mask], pixels[~mask]) and (back[mask] == 77).all()


def test_what_is_flat(clipped):
    """Every block of a clipped sky and of the border, partial ones too; nothing of the rest."""
    pixels = clipped(101, 95)
    _, (mask,) = flat_map.write([pixels])
    sky = np.zeros(pixels.shape, bool)
    sky[:52, 16:, :2] = True  # rows 0..52 are clipped: blocks up to row 51
    sky[:, :12] = True
    assert np.array_equal(~mask, sky)
    assert flat_map.write([pixels[:, 20:][60:]]) == (b"", None)


def test_several_images(clipped, photograph):
    """Of one nothing is told: its mask is None."""
    images = [photograph(40, 40), clipped(101, 95), clipped(64, 64, 1)]
    data, masks = flat_map.write(images)
    assert masks[0] is None and masks[1] is not None and masks[2] is not None
    back = [np.zeros_like(pixels) for pixels in images]
    again = flat_map.read(data, back)
    assert again[0] is None and all(map(np.array_equal, again[1:], masks[1:]))


def test_a_block_costs_what_it_saves(clipped):
    """Scattered blocks whose places cost more than their samples are not told."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (512, 512, 3), np.uint8)
    rows, columns = np.nonzero(rng.random((128, 128)) < 0.02)
    for i, j in zip(rows, columns):
        pixels[4 * i : 4 * i + 4, 4 * j : 4 * j + 4, rng.integers(3)] = rng.integers(0, 4) * 60
    found = flat_map.find_flat(pixels)
    assert np.count_nonzero(found.blocks) > 100
    data, _ = flat_map.write([pixels])
    assert not data or 8 * len(data) < flat_map.WORTH * 16 * np.count_nonzero(found.blocks)


@pytest.mark.parametrize(
    "size, channels, tuning",
    [
        *(
            pytest.param((104, 96), n, tuning, marks=pytest.mark.slow)
            for n in (1, 3)
            for tuning in (0, 1)
        ),
        ((101, 95), 3, 0),
        ((101, 95), 1, 1),
        pytest.param((101, 95), 3, 1, marks=pytest.mark.slow),
        pytest.param((101, 95), 1, 0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_file_there_and_back(tiny_model, clipped, monkeypatch, size, channels, tuning):
    """Smaller, the same pixels, from whichever corner, with bias updates and without."""
    pixels = clipped(*size, channels)
    monkeypatch.setattr(
        prior_codec,
        "tune",
        lambda model, images, steps, **rest: (
            np.ones(sum(len(layer.shift) for layer in model.layers.values()), np.int32)
            if steps
            else None
        ),
    )
    for flips in range(4):
        monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: flips)  # noqa: B023
        header, payload = coded(pixels, tiny_model, tuning)
        data = container.write(header, payload)
        read = container.read_header(data)
        assert read.section(Tag.FLAT_MAP) == header.section(Tag.FLAT_MAP) != b"" and bool(
            read.section(Tag.BIAS_UPDATES)
        ) == bool(tuning)
        assert np.array_equal(
            decode(data, model=tiny_model)
            if channels == 3
            else decoder.decode_image(data, model=tiny_model).samples[..., None],
            pixels,
        )
        with monkeypatch.context() as without:
            without.setattr(flat_map, "begin", lambda *_: (bytes, None))
            plain = container.write(*coded(pixels, tiny_model, tuning))
        assert len(data) < 0.9 * len(plain)


def test_by_the_document(tiny_model, clipped):
    """The decoder that was written from ARITHMETIC.md gives the pixels, its encoder the words."""
    pixels = clipped(72, 64)
    header, payload = coded(pixels, tiny_model)
    numbers, lanes = yardstick.Model(tiny_model.path.read_bytes()), yardstick.Lanes(payload)
    blurred, data = header.section(Tag.BLOCK_MEANS), header.section(Tag.FLAT_MAP)
    painted = turned(np.zeros_like(pixels), header.flips)
    masks = flat_map.read(data, [painted])
    (got,) = yardstick.decode(
        numbers,
        lanes,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        ([painted], masks),
        header.sharpness,
        grids(blurred, header.sizes),
    )
    rows, columns = header.start[1:]
    expected = turned(pixels, header.flips).copy()
    got[:rows, :columns] = expected[:rows, :columns]  # the start's block lies in the credit
    assert np.array_equal(got, expected) and len(header.segments) > 1
    again = yardstick.Lanes.from_credit(lanes.credit(header.credit_bytes))
    yardstick.encode(
        numbers,
        again,
        [expected],
        header.start,
        header.segments,
        header.top,
        masks,
        header.sharpness,
        grids(blurred, header.sizes),
    )
    assert again.to_bytes() == payload


def test_told_samples_have_the_levels_noise(tiny_model):
    """What is known inside is noised like the rest, by numbers of its own, and costs nothing."""
    x = np.random.default_rng(1).integers(-128, 128, (2, 3, 48, 64), dtype=np.int32)
    free = np.random.default_rng(2).random(x.shape) < 0.5
    known = Context(x[:, :, :0], x[:, :, :, :0], free, x[~free])
    chain = context_chain(tiny_model.forward, tiny_model.levels, known)
    for level, sigma, around in zip(tiny_model.levels, sigmas(tiny_model.levels), chain):
        noise = around.fixed * level.spacing - x[~free]
        assert (
            abs(noise.var() / sigma**2 - 1) < 0.05
            and abs(noise.mean()) < 4 * sigma / noise.size**0.5
        )
        placed = around.placed(np.zeros(int(free.sum()), np.int32), x.shape)
        assert np.array_equal(placed[~free], around.fixed) and not placed[free].any()
    top, sizes = Top.fitted([np.zeros((8, 8, 3), np.uint8)], tiny_model.levels), []
    for all_told in (False, True):
        lanes = credit(200_000, 5)
        before, mask = lanes.size_bits, np.full(x.shape, not all_told)
        mask[:, :, -1, -1] = True
        tiny_model.chain().push(lanes, x, top, Context(x[:, :, :0], x[:, :, :, :0], mask, x[~mask]))
        sizes.append(lanes.size_bits - before)
    assert sizes[1] < 0.01 * sizes[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_is_computed_for_a_segment_of_fixed_samples(
    tiny_model, photograph, channels, monkeypatch
):
    """Half an image in one colour: the bytes and pixels that the network would have led to."""
    pixels = np.full((200, 96, channels), 7, np.uint8)
    pixels[:96] = photograph(96, 96)[..., :channels]
    calls = []
    all_fixed = Chain._all_fixed
    monkeypatch.setattr(
        Chain, "_all_fixed", lambda *args: calls.append(all_fixed(*args)) or calls[-1]
    )
    data = container.write(*coded(pixels, tiny_model))
    assert True in calls and False in calls
    back = decoder.decode_image(data, model=tiny_model).samples
    assert np.array_equal(back.reshape(pixels.shape), pixels)
    monkeypatch.setattr(Chain, "_all_fixed", lambda *_: False)
    assert container.write(*coded(pixels, tiny_model)) == data
    again = decoder.decode_image(data, model=tiny_model).samples
    assert np.array_equal(again, back)


def test_preview_shows_what_is_told(tiny_model, clipped):
    pixels = clipped(104, 96)
    seen = preview(container.write(*coded(pixels, tiny_model)), model=tiny_model)
    assert np.array_equal(seen.pixels[:, :12], pixels[:, :12]) and seen.known[:, :12].all()


def test_borders_of_a_file_with_flat_blocks(tiny_model, clipped):
    """What they cost is measured with the same samples told: far below what these would cost."""
    data = container.write(*coded(clipped(104, 96), tiny_model))
    assert (
        abs(borders.border_bits(data, model=tiny_model))
        < 0.2 * container.read_header(data).net_bits
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\0", b"\1", b"\5\0\0\0", b"\6\1\7\0\0\0\0", b"\x0a" + bytes(10)],
    ids=lambda d: d.hex(),
)
def test_damaged_bytes(data):
    with pytest.raises(DamagedFile):
        flat_map.read(data, [np.zeros((16, 16, 3), np.uint8)])


@given(st.integers(0, 2**32))
def test_altered_bytes(clipped, seed):
    """Bytes changed, lost or added: DamagedFile, or another mask, never another error."""
    rng, pixels = np.random.default_rng(seed), clipped(64, 64)
    data = bytearray(flat_map.write([pixels])[0])
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    data = data[: rng.integers(len(data) + 1)] if rng.random() < 0.3 else data
    try:
        flat_map.read(bytes(data), [np.zeros_like(pixels)])
    except DamagedFile:
        pass


def test_a_header_that_lies(tiny_model, clipped):
    """More or fewer bytes than there are, none, or all of the file."""
    header, payload = coded(clipped(104, 96), tiny_model)
    flat = header.section(Tag.FLAT_MAP)
    for wrong in (flat[:1], flat[:-1], flat + b"\0", payload):
        sections = {**header.sections, int(Tag.FLAT_MAP): wrong}
        with pytest.raises(BitsbackError):
            decode(
                container.write(dataclasses.replace(header, sections=sections), payload),
                model=tiny_model,
            )
    assert container.write(header, payload)[5] == container.STACK | container.SECTIONS


def test_segments_of_which_all_is_told(tiny_model, photograph):
    """A segment whose samples are all known adds nothing to the stack; its debt of 0 is not used to
    guess the next segment's size (no division by it).
    """
    for height, width in ((104, 96), (56, 48)):
        pixels = np.full((height, width, 3), 90, np.uint8)
        pixels[-8:, :8] = photograph(8, 8)
        result = coded(pixels, tiny_model)
        if result:  # or it does not pay
            assert np.array_equal(decode(container.write(*result), model=tiny_model), pixels)
