"""rivals.py and what plain.py leaves out: never larger than the best WebP and PNG, on photographs for a fifth of their time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import rivals
from bitsback.codecs.fallback import codec
from bitsback.codecs.fallback.codec import (
    BEST,
    GOOD,
    QUICK,
    decode_fallback,
    encode_fallback,
    webp_size,
)
from bitsback.codecs.rivals import surely_smaller

PROMISED = 32  # bytes
CROP = np.array(Image.open(Path(__file__).parent / "images" / "kodim23_crop.png"))[100:200, 100:228]


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    """As if an image of 10000 pixels were a large one."""
    monkeypatch.setattr(codec, "SAMPLE", 2500)


def images(photograph):
    """Images large enough that not all coders are tried, by name."""
    rng, tall = np.random.default_rng(0), photograph(100, 104)
    own = np.stack([photograph(100, 104, seed)[..., 0] for seed in range(3)], -1)[
        :, ::-1
    ]  # colours that know nothing of each other
    return {
        "kodim23": CROP,
        "photograph": tall,
        "colours apart": own,
        "with alpha": np.dstack([own, tall[..., 1]]),
        "gray": tall[..., 1],
        "palette": rng.integers(0, 256, (100, 3), dtype=np.uint8)[rng.integers(0, 100, (100, 104))],
        "screen": np.tile(photograph(40, 40), (3, 3, 1)),
    }


@pytest.mark.parametrize("kind", [*images(lambda *_: np.zeros((100, 104, 3), np.uint8))])
def test_never_larger_than_webp_and_png(photograph, kind):
    """Against the files that Pillow writes with the most effort; and every choice decodes."""
    samples = images(photograph)[kind]
    assert samples.shape[0] * samples.shape[1] >= 4 * codec.SAMPLE
    data, sizes = encode_fallback(samples), []
    assert np.array_equal(decode_fallback(data, samples.shape), samples)
    for options in (
        {"format": "PNG", "optimize": True},
        {"format": "WEBP", "lossless": True, "exact": True, **BEST},
    ):
        out = io.BytesIO()
        Image.fromarray(samples).save(out, **options)
        sizes.append(len(out.getvalue()))
    assert len(data) <= min(sizes) + PROMISED


@pytest.mark.parametrize("alpha", [False, True])
def test_a_stream_without_the_green_transform(photograph, alpha):
    """It is one, by its bits, any WebP decoder reads it, and of colours that know nothing of each other it is the smaller one."""
    samples = images(photograph)["with alpha" if alpha else "colours apart"][:96, :96]
    data = codec._webp_without_green(samples, GOOD)
    assert int.from_bytes(data[5:6], "little") & 7 != 5
    assert np.array_equal(codec._decode_webp(data, samples.shape), samples)
    with_green = samples.copy()
    with_green[..., ::2] += with_green[
        ..., 1:2
    ]  # made of it by a transform that the encoder sees at once
    assert len(data) <= len(codec._encode_webp(codec._webp_image(with_green), **GOOD))


def test_slow_coders_are_left_out_of_photographs_only(photograph, monkeypatch):
    """Of a photograph PNG and differences see a part, the best WebP nothing; of a drawing all see all."""
    seen = []
    monkeypatch.setattr(
        codec, "_encode_png", lambda samples, bits: seen.append(samples.size) or bytes(10**6)
    )
    monkeypatch.setattr(
        codec, "encode_deltas", lambda samples: seen.append(samples.size) or bytes(10**6)
    )
    webp = codec._encode_webp
    monkeypatch.setattr(
        codec,
        "_encode_webp",
        lambda image, **effort: (effort == BEST and seen.append("best")) or webp(image, **effort),
    )
    encode_fallback(images(photograph)["kodim23"])
    assert len(seen) == 2 and max(seen) <= 3 * codec.SAMPLE
    encode_fallback(images(photograph)["palette"])
    assert "best" in seen and seen[2] > 3 * codec.SAMPLE


def test_when_nothing_need_be_tried(photograph, monkeypatch):
    """Below 0.93 of a quick WebP, and of a large image below 0.975 of good ones in strips; never of drawings, 16 bits, or what WebP cannot hold."""
    photo, quick = CROP, webp_size(CROP)
    assert surely_smaller(int(0.92 * quick), [photo]) and not surely_smaller(
        int(0.95 * quick), [photo]
    )
    assert not surely_smaller(1, [photo, np.zeros((200, 200, 3), np.uint8)]) and not surely_smaller(
        1, [photo.astype(np.uint16)]
    )
    assert not surely_smaller(1, [np.zeros((1, 20000, 3), np.uint8)])
    monkeypatch.setattr(rivals, "STRIP", 6400)
    monkeypatch.setattr(codec, "STRIP", 6400)
    good = webp_size(photo, GOOD)
    assert 0.93 * webp_size(photo) < 0.97 * good
    assert surely_smaller(int(0.97 * good), [photo]) and not surely_smaller(
        int(0.98 * good), [photo]
    )


def test_strips_cost_little(photograph, monkeypatch):
    """The sum over strips is near the whole's size, and each strip small."""
    whole, sizes = webp_size(CROP), []
    monkeypatch.setattr(codec, "STRIP", 6400)
    encode = codec._encode_webp
    monkeypatch.setattr(
        codec,
        "_encode_webp",
        lambda image, **effort: sizes.append(image.width * image.height) or encode(image, **effort),
    )
    assert 0.99 * whole < webp_size(CROP, QUICK) < 1.04 * whole
    assert sum(sizes) == CROP.size // 3 and max(sizes) <= 6400 and len(sizes) == 2
