"""encode, then decode: every array comes back exactly, with the prior or without."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bitsback.codecs import (
    decode,
    encode,
    prior_codec,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback.codec import encode_fallback

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
    """decode(encode(x)) == x at sizes on both sides of every limit; the file is never larger
    than the fallback codec's code and a header.
    """
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
    assert header.net_bits > 0 and len(payload) * 8 - header.net_bits - header.credit_bytes * 8 < 32


@pytest.mark.parametrize("kind", ["noise", "black and white"])
def test_round_trip_of_extremes_under_the_prior(tiny_model, prior_file, photograph, kind):
    """Noise and bare black and white, which the prior gives low probability, below noisy rows."""
    pixels = image_of(kind, 64, 56, photograph)
    pixels[:8] = image_of("noise", 8, 56, photograph)
    assert np.array_equal(decode(prior_file(pixels), model=tiny_model), pixels)


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


@pytest.mark.slow
@settings(max_examples=12)
@given(
    pixels=st.tuples(st.integers(24, 32), st.integers(24, 32)).flatmap(
        lambda s: arrays(np.uint8, (*s, 3))
    )
)
def test_round_trip_of_random_arrays_under_the_prior(tiny_model, pixels):
    """Arrays that Hypothesis makes, beside and below noise that is credit enough."""
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


def test_an_image_without_credit_is_left_to_the_fallback_codec(tiny_model, photograph):
    """A flat strip gives no credit: encode_stack says so with None, and encode does without."""
    pixels = image_of("flat", 64, 64, photograph)
    header = container.Header((container.Entry(64, 64),), container.pixel_digest([pixels]))
    assert prior_codec.encode_stack([pixels], header, tiny_model) is None
    assert not container.read_header(encode(pixels, model=tiny_model)).model


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


def test_progress_rises_to_one(tiny_model, prior_file, photograph):
    """Encoder and decoder tell shares that rise to exactly 1."""
    pixels = photograph(120, 48)
    header = container.Header((container.Entry(48, 120),), container.pixel_digest([pixels]))
    coded = []
    data = container.write(
        *prior_codec.encode_stack([pixels], header, tiny_model, progress=coded.append)
    )
    assert (
        len(coded) >= 2
        and all(a < b for a, b in zip(coded, coded[1:]))
        and 0 < coded[0]
        and coded[-1] <= 1
    )
    shares = []
    decode(data, model=tiny_model, progress=shares.append)
    assert len(shares) == len(coded) and all(0 < a < b <= 1 for a, b in zip(shares, shares[1:]))


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
