"""image.py and plain.py: any image comes back exactly, whichever coder took it; altered files never give wrong pixels."""

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bitsback.codecs import (
    decode,
    decode_image,
    encode,
    encode_image,
    prior_codec,
    suits,
    whole_file,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback, webp_size
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import MODES, ImageData, same, shape_of
from bitsback.codecs.segment_layout import ENCODER_MAX_PIXELS, turned
from bitsback.codecs.segments import fallback_parts
from bitsback.coder.chain import Chain
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage, VerifyFailed, WrongModel

SMALL = [(1, 1), (1, 17), (17, 1), (7, 5), (13, 11), (31, 37)]
LARGE = [(48, 48), (48, 160), (160, 48), (64, 64), (97, 101), (256, 72), (2304, 1)]
HEADER_BYTES = 23  # most that the container adds to fallback codec of an image up to 16383 wide


def image_of(kind, height, width, photograph):
    rng = np.random.default_rng(height * 1000 + width)
    return {
        "photograph": lambda: photograph(height, width, 1),
        "noise": lambda: rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "flat": lambda: np.full((height, width, 3), (7, 99, 255), np.uint8),
        "black": lambda: np.zeros((height, width, 3), np.uint8),
        "black and white": lambda: (
            rng.integers(0, 2, (height, width, 1), dtype=np.uint8).repeat(3, 2) * 255
        ),
    }[kind]()


def fallback_file(pixels):
    """What `encode` writes when it does not use the prior."""
    header = container.Header(
        (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels], 4)
    )
    return container.write(header, encode_fallback(pixels))


@pytest.mark.parametrize(
    "height, width, kind",
    [(*size, kind) for size in SMALL for kind in ("photograph", "noise")]
    + [(64, 64, "noise"), (48, 48, "photograph"), (48, 160, "photograph"), (97, 101, "photograph")],
)
def test_round_trip(tiny_model, photograph, kind, height, width):
    """decode(encode(x)) == x for sizes on both sides of every limit, and the file is never larger than fallback codec and a header."""
    pixels = image_of(kind, height, width, photograph)
    data = encode(pixels, model=tiny_model)
    assert np.array_equal(decode(data, model=tiny_model), pixels)
    assert len(data) <= len(fallback_file(pixels)) <= len(encode_fallback(pixels)) + HEADER_BYTES


@pytest.mark.parametrize("height, width", [(1, 1), (31, 37), (64, 64)])
@pytest.mark.parametrize("kind", ["flat", "black", "black and white"])
def test_round_trip_of_extremes(tiny_model, photograph, kind, height, width):
    """Images with no or all contrast too."""
    pixels = image_of(kind, height, width, photograph)
    data = encode(pixels, model=tiny_model)
    assert np.array_equal(decode(data, model=tiny_model), pixels) and len(data) <= len(
        fallback_file(pixels)
    )


@pytest.mark.parametrize("height, width", LARGE)
def test_round_trip_under_the_prior(tiny_model, prior_file, photograph, height, width):
    """Forced through the prior, with several segments: exact, and without a word left over."""
    pixels = image_of("photograph", height, width, photograph)
    data = prior_file(pixels)
    header, payload = container.read(data)
    assert header.model and len(header.segments) >= 2
    assert np.array_equal(decode(data, model=tiny_model), pixels)
    assert (
        header.net_bits > 0
        and len(payload) * 8 - header.net_bits - (header.credit_bytes + header.mean_bytes) * 8
        < 3 * 32 + 32
    )


@pytest.mark.parametrize("kind", ["noise", "black and white"])
def test_round_trip_of_extremes_under_the_prior(tiny_model, prior_file, photograph, kind):
    """Noise and bare black and white, which no prior of photographs expects, below rows that give credit."""
    pixels = image_of(kind, 64, 56, photograph)
    pixels[:8] = image_of("noise", 8, 56, photograph)
    assert np.array_equal(decode(prior_file(pixels), model=tiny_model), pixels)


def test_what_cannot_pay_for_its_start_is_left_to_plain_coding(tiny_model, photograph):
    """A flat strip gives no credit: encode_stack says so with None, and encode does without."""
    pixels = image_of("flat", 64, 64, photograph)
    header = container.Header((container.Entry(64, 64),), container.pixel_digest([pixels]))
    assert prior_codec.encode_stack([pixels], header, tiny_model) is None
    assert not container.read_header(encode(pixels, model=tiny_model)).model


@settings(max_examples=40)
@given(
    pixels=st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda s: arrays(np.uint8, (*s, 3))
    )
)
def test_round_trip_of_random_small_arrays(tiny_model, pixels):
    """Any small array, by its own file."""
    data = encode(pixels, model=tiny_model)
    assert np.array_equal(decode(data), pixels) and len(data) <= len(fallback_file(pixels))


@settings(max_examples=12)
@given(
    pixels=st.tuples(st.integers(24, 32), st.integers(24, 32)).flatmap(
        lambda s: arrays(np.uint8, (*s, 3))
    )
)
def test_round_trip_of_random_arrays_under_the_prior(tiny_model, pixels):
    """Arrays that Hypothesis makes, beside and below noise that gives them credit, through the prior."""
    noise = pixels[:-8, :-8]
    noise[:] = np.random.default_rng(0).integers(0, 256, noise.shape, dtype=np.uint8)
    header = container.Header(
        (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_codec, "SMALLEST", 1)
        result = prior_codec.encode_stack([pixels], header, tiny_model)
    assert result[0].segments and np.array_equal(
        decode(container.write(*result), model=tiny_model), pixels
    )


def test_arrays_need_not_be_contiguous(tiny_model, prior_file, photograph):
    """Views with other strides and order are coded as what they show."""
    pixels = photograph(52, 110)
    for view in (
        pixels[::-1, ::2],
        pixels[:, :50].transpose(1, 0, 2),
        np.asfortranarray(pixels[:, :50]),
        pixels[:, :50, ::-1],
    ):
        assert np.array_equal(decode(encode(view[:12]), model=tiny_model), view[:12])
        assert np.array_equal(decode(prior_file(view), model=tiny_model), view)


def test_coding_leaves_the_input_alone_and_is_deterministic(tiny_model, prior_file, photograph):
    """The same pixels give the same bytes, from a read-only array."""
    pixels = photograph(48, 48)
    before = pixels.copy()
    pixels.setflags(write=False)
    assert prior_file(pixels) == prior_file(pixels) and encode(pixels, model=tiny_model) == encode(
        pixels, model=tiny_model
    )
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.int32),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        [[[1, 2, 3]]],
        None,
    ],
    ids=lambda p: f"{getattr(p, 'dtype', type(p).__name__)}{getattr(p, 'shape', '')}",
)
def test_other_arrays_are_refused(tiny_model, pixels):
    """Anything but (H, W, 3) uint8 with pixels in it is UnsupportedImage."""
    with pytest.raises(UnsupportedImage):
        encode(pixels, model=tiny_model)


def test_progress_rises_to_one(tiny_model, prior_file, photograph):
    """Encoder and decoder tell shares that rise to exactly 1."""
    pixels = photograph(120, 48)
    header = container.Header((container.Entry(48, 120),), container.pixel_digest([pixels]))
    told = []
    data = container.write(
        *prior_codec.encode_stack([pixels], header, tiny_model, progress=told.append)
    )
    assert (
        len(told) >= 2
        and all(a < b for a, b in zip(told, told[1:]))
        and 0 < told[0]
        and told[-1] <= 1
    )
    shares = []
    decode(data, model=tiny_model, progress=shares.append)
    assert len(shares) == len(told) and all(0 < a < b <= 1 for a, b in zip(shares, shares[1:]))


# --- models ----------------------------------------------------------------------------------


def test_a_file_names_its_model(tiny_model, other_model, prior_file, photograph):
    """Decoded with another model, or with none where its own is not shipped: WrongModel, which says the id."""
    data = prior_file(photograph(64, 64))
    for wrong in (other_model, other_model.path, str(other_model.path), None):
        with pytest.raises(WrongModel, match=tiny_model.id[:16]):
            decode(data, model=wrong)


def test_a_model_is_given_as_model_or_path(tiny_model, prior_file, photograph):
    """A Model, a Path or a str of one decode the same."""
    pixels = photograph(48, 48)
    data = prior_file(pixels)
    for model in (tiny_model, tiny_model.path, str(tiny_model.path)):
        assert np.array_equal(decode(data, model=model), pixels)
        assert np.array_equal(decode(encode(pixels, model=model), model=model), pixels)


def test_a_model_that_is_none_is_an_error(tmp_path, photograph):
    """A name that is no model, and a file that is not one: WrongModel, which names it."""
    (tmp_path / "text.safetensors").write_text("hello")
    for name in (tmp_path / "text.safetensors", tmp_path / "nowhere", "no-such-model"):
        with pytest.raises(WrongModel, match=str(name).rsplit("/", 1)[-1]):
            encode(photograph(64, 64), model=name)


def test_plain_files_need_no_model(photograph):
    """A small image is coded and decoded where no model is at hand."""
    pixels = photograph(20, 30)
    assert np.array_equal(
        decode(encode(pixels, model="no-such-model"), model="no-such-model"), pixels
    )


# --- damage ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(prior_file, photograph):
    """(Header, payload) of one file under the prior."""
    return container.read(prior_file(photograph(56, 48, 5)))


def test_altered_words_are_damage_never_wrong_pixels(tiny_model, parts):
    """Words altered anywhere, behind a right CRC: DamagedFile and nothing else."""
    header, payload = parts
    positions = [
        0,
        3,
        4,
        30,
        *range(100, len(payload), len(payload) // 14),
        *range(len(payload) - 4, len(payload)),
    ]
    foreign = []
    for position in positions:
        altered = bytearray(payload)
        altered[position] ^= 1 << position % 8
        try:
            decode(container.write(header, bytes(altered)), model=tiny_model)
            foreign.append((position, "pixels"))
        except DamagedFile:
            pass
        except Exception as error:
            foreign.append((position, repr(error)))
    assert not foreign


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 40, 200, 800])
def test_missing_words_are_damage(tiny_model, parts, cut):
    """Words cut off at the top or the bottom of the stack, or all of them, behind a right CRC: DamagedFile."""
    header, payload = parts
    for words in (payload[:cut], payload[len(payload) - cut :]):
        with pytest.raises(DamagedFile):
            decode(container.write(header, words), model=tiny_model)


@pytest.mark.parametrize("extra", [b"\1\0\0\0", bytes(4), b"\xff" * 12, b"abc"])
def test_added_words_are_damage(tiny_model, parts, extra):
    """Words added at either end, behind a right CRC, are DamagedFile."""
    header, payload = parts
    for words in (payload + extra, extra + payload):
        with pytest.raises(DamagedFile):
            decode(container.write(header, words), model=tiny_model)


def test_altered_headers_are_damage(tiny_model, parts):
    """Any number of the header that decoding uses, altered within its range behind a right CRC: DamagedFile, never wrong pixels."""
    header, payload = parts
    (first, *rest), (width, height) = header.segments, (header.width, header.height)
    top = list(header.top)
    other_tops = [(top[0] + 1, *top[1:]), (top[0], top[1] - 1, *top[2:]), (0, 0) * 3]
    plans = [
        (),
        ((1, height - header.start[1]),),
        (*rest, first),
        ((0, 1),),
        ((1, 2**20),),
        ((0, 2),),
        ((3 - first[0], first[1]), *rest),
    ]
    sizes = [(height, width), (width, height + 8), (1, 1)]
    changes = [
        {"digest": bytes(8)},
        *({"credit_bytes": n} for n in (header.credit_bytes + 4, header.credit_bytes - 4, 0)),
        *({"start": start} for start in ((0, 0, 0), (0, 16, 16), (0, 8, 16), (1, 0, 0))),
        *({"top": other} for other in other_tops),
        *({"flips": flips} for flips in range(4) if flips != header.flips),
        *({"segments": plan} for plan in plans if plan != header.segments),
        *({"entries": (container.Entry(*size),)} for size in sizes),
    ]
    for change in changes:
        with pytest.raises(DamagedFile):
            decode(container.write(replace(header, **change), payload), model=tiny_model)
            pytest.fail(f"decoded with {change}")
    assert decode(
        container.write(replace(header, net_bits=1), payload), model=tiny_model
    ).shape == (height, width, 3)  # told, not used


def test_altered_plain_parts_are_damage(photograph):
    """Each byte of a plain payload altered, behind a right CRC: DamagedFile, or the very same pixels (bytes no pixel depends on)."""
    pixels = photograph(9, 11)
    header, payload = container.read(encode(pixels))
    outcomes = {"damage": 0, "same": 0}
    for position in range(len(payload)):
        altered = bytearray(payload)
        altered[position] ^= 255
        try:
            assert np.array_equal(decode(container.write(header, bytes(altered))), pixels)
            outcomes["same"] += 1
        except DamagedFile:
            outcomes["damage"] += 1
    assert outcomes["damage"] > 0.9 * len(payload)


@pytest.mark.parametrize("width, height", [(12, 9), (11, 10), (2**20, 2**10), (1, 1)])
def test_a_plain_file_of_another_size_is_damage(photograph, width, height):
    """A size that is not the payload's is DamagedFile before the pixels are unpacked."""
    header, payload = container.read(encode(photograph(9, 11)))
    with pytest.raises(DamagedFile):
        decode(container.write(replace(header, entries=(container.Entry(width, height),)), payload))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"\0",
        b"\0/aaaa",
        b"\1",
        b"\1abc",
        b"\5",
        b"\5\0",
        b"\5\x08",
        b"\5\x08\x01",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_plain_parts_that_are_none_are_damage(photograph, payload):
    """Bytes that Pillow cannot read end in DamagedFile."""
    header, _ = container.read(encode(photograph(9, 11)))
    with pytest.raises(DamagedFile):
        decode(container.write(header, payload))


def test_foreign_bytes_are_not_ours():
    """decode of a PNG, of text and of nothing is NotOurFile."""
    for data in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(NotOurFile):
            decode(data)


def test_a_segment_larger_than_any_encoder_makes_is_damage(tiny_model, monkeypatch):
    """An encoder's segments are at most ENCODER_MAX_PIXELS pixels; a file that names a far larger one is refused before memory is asked for."""
    monkeypatch.setattr(Chain, "pop", lambda *_: pytest.fail("decoding was begun"))
    header = container.Header(
        (container.Entry(2**15, 2**12),),
        bytes(8),
        model=tiny_model.id[:16],
        start=(0, 0, 0),
        segments=((1, 2**12),),
        top=(0, 64) * 3,
    )
    assert 2**27 > 16 * ENCODER_MAX_PIXELS
    with pytest.raises(DamagedFile):
        decode(container.write(header, bytes(range(1, 33))), model=tiny_model)


# --- fallback codec ----------------------------------------------------------------------------


def drawn(photograph):
    """Synthetic images of many kinds, 128x128."""
    rng, (i, j) = np.random.default_rng(0), np.mgrid[0:128, 0:128]
    ramp = np.stack([i, j, (i + j) // 2], -1)
    noise = lambda *shape: rng.integers(0, 256, shape)  # noqa: E731
    return {
        "photograph": photograph(128, 128),
        "noise": noise(128, 128, 3),
        "tiles": np.tile(noise(16, 16, 3), (8, 8, 1)),
        "ramp": ramp,
        "coarse ramp": ramp // 16 * 16,
        "noisy ramp": ramp + rng.integers(0, 4, (128, 128, 1)),
        "rows": np.repeat(noise(1, 128, 3), 128, 0),
        "two colours": rng.integers(0, 2, (128, 128, 1)) * np.array([200, 10, 30]),
        "palette": noise(16, 3)[rng.integers(0, 16, (128, 128))],
    }


@pytest.mark.parametrize("kind", [*drawn(lambda *_: 0)])
def test_plain_coding_is_its_own_inverse(photograph, kind):
    """decode_plain(encode_plain(x)) == x, and a wrong size is DamagedFile."""
    pixels = drawn(photograph)[kind].astype(np.uint8)
    data = encode_fallback(pixels)
    assert np.array_equal(decode_fallback(data, (128, 128, 3)), pixels)
    with pytest.raises(DamagedFile):
        decode_fallback(data, (127, 128, 3))


@pytest.mark.parametrize("size", [(8, 16384), (16384, 2), (1, 20000)])
def test_plain_coding_of_sides_that_webp_cannot_hold(size):
    """Beyond 16383 pixels PNG takes over."""
    pixels = np.random.default_rng(1).integers(0, 4, (*size, 3), dtype=np.uint8)
    assert (
        np.array_equal(decode_fallback(encode_fallback(pixels), (*size, 3)), pixels)
        and webp_size(pixels) is None
    )
    header = container.Header(
        (container.Entry(size[1], size[0]),), container.pixel_digest([pixels], 4)
    )
    assert np.array_equal(decode(container.write(header, encode_fallback(pixels))), pixels)


@pytest.mark.parametrize("height, width", [(32, 32), (1, 1), (5, 60)])
def test_small_images_cost_no_more_than_the_best_of_png_and_webp(photograph, height, width):
    """Container and all, an image of less than 128 pixels a side takes no more than either file."""
    for pixels in (photograph(height, width), np.zeros((height, width, 3), np.uint8)):
        sizes = []
        for options in (
            {"format": "PNG", "optimize": True},
            {"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True},
        ):
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, **options)
            sizes.append(len(out.getvalue()))
        assert len(encode(pixels)) <= min(sizes)


def test_plain_coding_is_the_smallest_at_hand(photograph):
    """No image's fallback codec is larger than the quick one that `encode` makes anyway."""
    images = {
        kind: drawn(photograph)[kind].astype(np.uint8)
        for kind in ("coarse ramp", "noisy ramp", "ramp")
    }
    assert [
        kind for kind, pixels in images.items() if len(encode_fallback(pixels)) > webp_size(pixels)
    ] == []


@pytest.mark.parametrize("kind", ["tiles", "ramp", "photograph"])
def test_a_prior_larger_than_plain_coding_is_not_kept(tiny_model, photograph, monkeypatch, kind):
    """A byte more than fallback codec, and that is taken; far fewer, and the prior is."""
    pixels = drawn(photograph)[kind].astype(np.uint8)
    best, more = len(fallback_file(pixels)), 1

    def pretended(images, header, model, *_):
        full = replace(header, model=model.id[:16], segments=((1, 128),), top=(0,) * 6)
        return full, bytes(best + more - len(container.write(full, b"")))

    monkeypatch.setattr(prior_codec, "encode_stack", pretended)
    assert encode(pixels, model=tiny_model) == fallback_file(pixels)
    more = -best // 4
    assert len(encode(pixels, model=tiny_model)) == best + more


# --- stills of other modes -------------------------------------------------------------------


EXTRAS = {
    "icc": b"profile" * 40,
    "exif": b"Exif\0\0MM",
    "dpi": (72.0, 72.0),
    "text": (("Title", "\u00e4", "", "", False),),
}


def of_mode(mode, height, width, photograph):
    """A still of any mode with some contents."""
    dtype, channels = MODES[mode]
    colours = np.dstack([photograph(height, width, 3), photograph(height, width, 4)])[
        ..., :channels
    ]
    samples = colours.astype(np.uint16) * 257 if dtype == "<u2" else colours
    samples = np.ascontiguousarray(samples.astype(dtype)).reshape(shape_of(mode, height, width))
    look = (
        {"palette": bytes(range(256)) * 3}
        if mode in ("P", "PA")
        else {"transparency": (1, 2, 3)}
        if mode == "RGB"
        else {}
    )
    return ImageData(mode, samples & 1 if mode == "1" else samples, look, EXTRAS)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_round_trips(tiny_model, photograph, mode):
    """Samples, look and metadata of every mode, of a size at which the prior is tried where it can be."""
    image = of_mode(mode, 50, 52, photograph)
    data = encode_image(image, model=tiny_model, verify=True)
    back = decode_image(data, model=tiny_model)
    assert same(back, image) and same(
        decode_image(encode_image(image.stripped(), model=tiny_model), model=tiny_model),
        image.stripped(),
    )
    header = container.read_header(data)
    assert header.entries[0].mode == mode and header.metadata
    if mode != "RGB":
        with pytest.raises(UnsupportedImage, match="mode"):
            decode(data, model=tiny_model)


def forced(images, model, monkeypatch, archive=False):
    """A file whose colours are under the prior, though with random weights it loses."""
    monkeypatch.setattr(whole_file, "surely_smaller", lambda size, images: True)
    monkeypatch.setattr(prior_codec, "SMALLEST", 1)
    entries = tuple(
        container.Entry(
            s.width,
            s.height,
            f"{i}.png" * archive,
            check=whole_file.image_check(s.samples) * archive,
            mode=s.mode,
            source=s.source,
        )
        for i, s in enumerate(images)
    )
    data = whole_file.encode_images(images, entries, archive=archive, model=model)
    assert container.read_header(data).model
    return data


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_alpha_and_metadata_are_credit(tiny_model, photograph, monkeypatch, mode):
    """Under the prior, what is coded conventionally lies at the bottom of the stack: it adds its bytes and no more, and comes back."""
    image = of_mode(mode, 64, 48, photograph)
    data = forced([image], tiny_model, monkeypatch)
    assert same(decode_image(data, model=tiny_model), image)
    header, payload = container.read(data)
    parts = len(metadata.pack([image])) + (
        len(encode_fallback(image.alpha)) if image.alpha is not None else 0
    )
    block = len(fallback_parts([turned(image.colour, header.flips)], header.start))
    assert parts + block < header.credit_bytes <= parts + block + 4  # lengths of two or three parts
    assert (
        0 <= 8 * len(payload) - header.net_bits - 8 * header.credit_bytes < 4 * 32
    )  # whole words, the seal and the padding


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_equal_colours_are_one_channel(tiny_model, photograph, monkeypatch, mode):
    """A gray photograph stored as RGB: one channel under the prior, half the bytes at most, all of it comes back; one pixel that differs is seen."""
    image = of_mode(mode, 64, 48, photograph)
    equal = image.samples.copy()
    equal[..., :3] = equal[..., :1]
    gray = ImageData(mode, equal, image.look, EXTRAS)
    data, full = (forced([one], tiny_model, monkeypatch) for one in (gray, image))
    header = container.read_header(data)
    assert (
        header.entries[0].alike
        and header.sizes == [(64, 48, 1)]
        and not container.read_header(full).entries[0].alike
    )
    assert (
        same(decode_image(data, model=tiny_model), gray)
        and header.net_bits < 0.5 * container.read_header(full).net_bits
    )
    equal[63, 47, 2] ^= 1
    assert not ImageData(mode, equal).alike
    with pytest.raises(DamagedFile):  # the same words said to be of three channels
        decode_image(
            container.write(
                replace(header, entries=(replace(header.entries[0], alike=False),)),
                container.read(data)[1],
            ),
            model=tiny_model,
        )


def test_gray_is_not_tried_where_it_was_not_trained_for(tiny_model, photograph, monkeypatch):
    """A model that says so leaves one channel to fallback codec; colours pass it as before."""
    monkeypatch.setitem(tiny_model.description["training"], "grey", False)
    monkeypatch.setattr(whole_file, "surely_smaller", lambda *_: True)
    colours, gray = photograph(64, 64), of_mode("L", 64, 64, photograph)
    for image, under in (
        (ImageData("RGB", colours), True),
        (gray, False),
        (ImageData("RGB", np.repeat(colours[..., :1], 3, 2)), False),
    ):
        data = encode_image(image, model=tiny_model)
        assert bool(container.read_header(data).model) == under and same(
            decode_image(data, model=tiny_model), image
        )


def test_equal_colours_are_not_told_of_plain_parts(photograph):
    """The form belongs to the prior: in a plain file it is damage."""
    header, payload = container.read(encode_image(of_mode("RGB", 9, 9, photograph)))
    assert not header.model
    with pytest.raises(DamagedFile, match="fallback parts"):
        container.read(
            container.write(
                replace(header, entries=(replace(header.entries[0], alike=True),)), payload
            )
        )


def test_altered_conventional_parts_under_the_prior_are_damage(tiny_model, photograph, monkeypatch):
    """A form, a mask of metadata or a credit that is not the file's: DamagedFile behind a right CRC."""
    header, payload = container.read(
        forced([of_mode("RGBA", 56, 48, photograph)], tiny_model, monkeypatch)
    )
    entry = header.entries[0]
    changes = [
        {"entries": (replace(entry, mode=mode),)}
        for mode in ("RGB", "CMYK", "L", "LA", "RGBX", "RGBa")
    ]
    changes += [
        {"metadata": header.metadata ^ 8},
        {"metadata": 0},
        {"credit_bytes": header.credit_bytes - 4},
        {"digest": bytes(8)},
    ]
    for change in changes:
        with pytest.raises(DamagedFile):
            decode_image(container.write(replace(header, **change), payload), model=tiny_model)
            pytest.fail(f"decoded with {change}")


@pytest.mark.parametrize("mode", ["P", "CMYK", "I;16", "F", "1"])
def test_altered_plain_stills_are_damage_never_wrong_pixels(photograph, mode):
    """Each byte inverted behind a right CRC: DamagedFile or the very same image; another mode of the same samples: DamagedFile."""
    image = of_mode(mode, 9, 7, photograph)
    header, payload = container.read(encode_image(image))
    for position in range(len(payload)):
        altered = payload[:position] + bytes([payload[position] ^ 255]) + payload[position + 1 :]
        try:
            assert same(decode_image(container.write(header, altered)), image)
        except DamagedFile:
            pass
    other = {"P": "L", "CMYK": "RGBX", "I;16": "I;16B", "F": "I", "1": "L"}[mode]
    with pytest.raises(DamagedFile):
        decode_image(
            container.write(
                replace(header, entries=(replace(header.entries[0], mode=other),)), payload
            )
        )


def test_an_archive_chooses_for_each_image(tiny_model, photograph, monkeypatch):
    """Images of modes and kinds that the prior does not suit come first, conventionally coded; the others share the stack; all come back."""
    flat = np.zeros((160, 160, 3), np.uint8)
    flat[40:90, 30:140] = (200, 0, 0)
    images = [
        of_mode("RGB", 24, 24, photograph),
        of_mode("P", 20, 20, photograph),
        ImageData("RGB", flat),
        of_mode("RGBA", 40, 32, photograph),
        of_mode("F", 5, 5, photograph),
        of_mode("RGB", 40, 32, photograph),
        of_mode("L", 40, 32, photograph),
        of_mode("LA", 40, 32, photograph),
    ]
    monkeypatch.setattr(whole_file, "suit_prior", lambda images, *_: [True] * len(images))
    data = forced(images, tiny_model, monkeypatch, archive=True)
    header, back = whole_file.decode_images(data, model=tiny_model)
    assert header.plain == 3 and [e.mode for e in header.entries] == [
        "P",
        "RGB",
        "F",
        "RGB",
        "L",
        "LA",
        "RGBA",
        "RGB",
    ]
    assert all(same(a, b) for a, b in zip(back, [images[i] for i in (1, 2, 4, 0, 6, 7, 3, 5)]))
    whole_file.check(data, images, model=tiny_model)


def test_what_suits_a_image_of_an_archive(tiny_model, photograph):
    """Photographs go under the prior untried; noise and drawings only if a trial of the prior beats fallback codec (random weights do not)."""
    rng = np.random.default_rng(0)
    drawing = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    images = photograph(64, 64), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), drawing
    assert suits.suit_prior([ImageData("RGB", pixels) for pixels in images], tiny_model, "cpu") == [
        True,
        False,
        False,
    ]


def test_drawings_are_not_tried(monkeypatch):
    """Few colours in many pixels: no time goes to the prior, not even a model is opened."""
    monkeypatch.setattr(
        whole_file.Model, "open", lambda *_, **__: pytest.fail("a model was opened")
    )
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[::7, :, 1] = 255
    assert np.array_equal(decode(encode(pixels)), pixels)


def test_a_decoder_that_errs_is_noticed(photograph, monkeypatch):
    """verify: another image, or none, out of the bytes just made is VerifyFailed."""
    image, cut = of_mode("L", 9, 9, photograph), encode(photograph(3, 3))[:-1]
    with monkeypatch.context() as patch:
        patch.setattr(
            whole_file,
            "decode_images",
            lambda data, **_: (None, [ImageData("L", image.samples ^ 1)]),
        )
        with pytest.raises(VerifyFailed, match="another image"):
            encode_image(image, verify=True)
    with monkeypatch.context() as patch:
        patch.setattr(whole_file, "encode_images", lambda *_, **__: cut)
        with pytest.raises(VerifyFailed, match="does not decode"):
            encode_image(image, verify=True)


def test_estimates_count_what_the_prior_takes(tiny_model, photograph, monkeypatch):
    """Seconds and megapixels of images the prior is tried on; twice as long with verification; none for other modes; no trial where it is short."""
    images = [ImageData("RGB", photograph(200, 300)), of_mode("CMYK", 200, 300, photograph)]
    monkeypatch.setattr(
        suits, "seconds_a_megapixel", lambda *_: pytest.fail("timed for a short run")
    )
    assert suits.estimate(images, True, tiny_model, "cpu") == (0, pytest.approx(0.06))
    monkeypatch.undo()
    monkeypatch.setattr(suits, "LONG", 0.05)
    (seconds, megapixels), (longer, _) = (
        suits.estimate(images, False, tiny_model, "cpu"),
        suits.estimate(images, True, tiny_model, "cpu"),
    )
    assert megapixels == pytest.approx(0.06) and seconds > 0 and longer == 2 * seconds
    assert (
        suits.estimate([ImageData("RGB", photograph(300, 300))], True, tiny_model, "cpu", 30)[0]
        > 2 * longer
    )
    assert suits.estimate(images[1:], True, tiny_model, "cpu") == (0, 0)


def test_the_pace_is_the_models_own(tiny_model, monkeypatch):
    """A network that takes longer makes a larger figure; a second question is not timed again."""
    suits.seconds_a_megapixel.cache_clear()
    fast = suits.seconds_a_megapixel(tiny_model, "cpu")
    assert suits.seconds_a_megapixel(tiny_model, "cpu") == fast
    step, waited = tiny_model.chain().reverse[0], []
    push = step.push
    monkeypatch.setattr(
        step, "push", lambda *arguments: waited.append(time.sleep(1)) or push(*arguments)
    )
    suits.seconds_a_megapixel.cache_clear()
    assert (
        suits.seconds_a_megapixel(tiny_model, "cpu")
        > 0.5 * len(tiny_model.levels) / (suits.TRIAL**2 / 1e6)
        and waited
    )
    suits.seconds_a_megapixel.cache_clear()
