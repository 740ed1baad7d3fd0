"""mode_decision.py: coders that are left out never cost bytes against the best WebP and PNG."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from bitsback.beside import threads
from bitsback.codecs import mode_decision, photographs
from bitsback.codecs.fallback import codec, webp
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback
from bitsback.codecs.fallback.webp import BEST
from bitsback.codecs.image import ImageData
from bitsback.codecs.prior_trial import prior_bits

PROMISED = 32  # bytes
CROP = np.array(Image.open(Path(__file__).parent / "images" / "kodim23_crop.png"))[100:200, 100:228]


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    """As if an image of 10000 pixels were a large one."""
    monkeypatch.setattr(photographs, "SAMPLE_PIXELS", 2500)


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
def test_never_larger_than_other_codecs(photograph, kind):
    """Against JPEG XL and the files that Pillow writes with the most effort; all choices decode."""
    samples = images(photograph)[kind]
    assert samples.shape[0] * samples.shape[1] >= 4 * photographs.SAMPLE_PIXELS
    data, sizes = encode_fallback(samples), []
    assert np.array_equal(decode_fallback(data, samples.shape), samples)
    sizes.append(len(imagecodecs.jpegxl_encode(samples, lossless=True, effort=7)))
    for options in (
        {"format": "PNG", "optimize": True},
        {"format": "WEBP", "lossless": True, "exact": True, **BEST},
    ):
        out = io.BytesIO()
        Image.fromarray(samples).save(out, **options)
        sizes.append(len(out.getvalue()))
    assert len(data) <= min(sizes) + PROMISED


def test_slow_coders_are_left_out_where_they_lose(photograph, monkeypatch):
    """Of a photograph PNG and differences code a part, and WebP's slow efforts nothing; of a
    drawing all code all.
    """
    seen = []
    for module in (codec, mode_decision):
        monkeypatch.setattr(
            module, "encode_png", lambda samples, bits: seen.append(samples.size) or bytes(10**6)
        )
        monkeypatch.setattr(
            module, "encode_differences", lambda samples: seen.append(samples.size) or bytes(10**6)
        )
    encode, efforts = webp.encode_webp, []
    monkeypatch.setattr(
        webp,
        "encode_webp",
        lambda image, **effort: efforts.append(effort) or encode(image, **effort),
    )
    encode_fallback(images(photograph)["kodim23"])
    assert len(seen) == 2 and max(seen) <= 3 * photographs.SAMPLE_PIXELS and BEST not in efforts
    encode_fallback(images(photograph)["palette"])
    assert len(seen) == 4 and max(seen) > 3 * photographs.SAMPLE_PIXELS and BEST in efforts


def test_deep_coders_are_left_out_where_they_lose(photograph, monkeypatch):
    """Of a large 16-bit photograph differences and PNG code a part; of a drawn image all."""
    seen = []
    losing = {"differences": 0.5, "png": 0.5}  # so small, differences come close
    monkeypatch.setattr(mode_decision, "DEEP_LOSES", losing)
    monkeypatch.setattr(
        codec, "encode_differences", lambda samples: seen.append("all") or bytes(10**6)
    )
    pixels = photograph(100, 104)[..., 0]
    smoothed = (257 * (pixels.astype(int) + np.roll(pixels, 1, 0)) // 2).astype("<u2")
    assert encode_fallback(smoothed)[0] == codec.JXL and not seen
    drawn = np.tile(np.arange(104, dtype="<u2") * 300, (100, 1))
    assert (
        np.array_equal(decode_fallback(encode_fallback(drawn), (100, 104), "<u2"), drawn) and seen
    )


def test_fallback_hopeless():
    """Clearly below the estimate of JPEG XL; never for drawings, small images or 16 bits; with more
    effort only further below."""
    best = len(encode_fallback(CROP))
    hopeless = mode_decision.fallback_hopeless
    assert hopeless(int(0.9 * best), [CROP]) and not hopeless(int(0.96 * best), [CROP])
    assert not hopeless(int(0.9 * best), [CROP], (7, 9)) and hopeless(int(0.85 * best), [CROP], [9])
    assert not hopeless(1, [CROP, np.zeros((200, 200, 3), np.uint8)])
    assert not hopeless(1, [CROP.astype(np.uint16)]) and not hopeless(1, [CROP[:90, :90]])


def test_large_photographs_are_judged_closer(monkeypatch):
    """Where each image is large, the estimate of JPEG XL is trusted more; of several, their sum."""
    estimate = photographs.estimate_of_jxl([CROP])()
    hopeless = mode_decision.fallback_hopeless
    for large, least, most in ((2**30, 0.91, 0.93), (CROP.shape[0] * CROP.shape[1], 0.94, 0.96)):
        monkeypatch.setattr(mode_decision, "LARGE", large)
        assert hopeless(int(least * estimate), [CROP])
        assert not hopeless(int(most * estimate), [CROP])
        assert hopeless(int(2 * least * estimate), [CROP, CROP])
    assert not hopeless(int(0.94 * 2 * estimate), [CROP, CROP[:99]])


def test_the_estimate_is_that_of_its_parts(monkeypatch):
    """Bands no larger than ESTIMATE_MOST; an image in several strips; an estimate begun before."""
    whole = photographs.estimate_of_jxl([CROP])()
    monkeypatch.setattr(photographs, "ESTIMATE_SHARE", 1 / 2)
    monkeypatch.setattr(photographs, "ESTIMATE_MOST", CROP.shape[0] * CROP.shape[1] / 8)
    assert photographs.estimate_of_jxl([CROP])() == whole
    with threads(2) as beside:
        begun = photographs.estimate_of_jxl([CROP], beside)
        assert begun() == whole
    assert mode_decision.fallback_hopeless(9 * len(CROP), [CROP], (7,), lambda: 10.0**6)
    monkeypatch.setattr("bitsback.codecs.fallback.jxl.STRIP", 50 * CROP.shape[1])
    assert whole < photographs.estimate_of_jxl([CROP])() < 1.2 * whole


def test_colours_of_bands_are_counted():
    """As np.unique counts rows of samples: with alpha, of gray, of bands of one row."""
    rng = np.random.default_rng(0)
    for shape in ((40, 30, 3), (7, 9, 4), (50, 40, 2), (1, 300, 3)):
        samples = rng.integers(0, 3, shape, dtype=np.uint8) * 100
        expected = len(np.unique(samples.reshape(-1, shape[2]), axis=0))
        assert photographs._colours(samples) == expected


def test_prior_hopeless(photograph, monkeypatch):
    """Judged by crops of a large drawing; never of photographs, nor of images hardly larger than
    the crops."""
    drawing = images(photograph)["palette"]
    monkeypatch.setattr(mode_decision, "CROP_SIDE", 24)
    bits = lambda crops: np.full(len(crops), 8.0 * 2000)  # noqa: E731
    shapes = []
    trial = lambda samples: shapes.append(samples.shape) or bytes(1000)  # noqa: E731
    assert mode_decision.prior_hopeless(drawing, bits, trial) and shapes == [(24, 24, 3)] * 4
    assert not mode_decision.prior_hopeless(drawing, bits, lambda samples: bytes(1800))
    assert not mode_decision.prior_hopeless(CROP, bits, trial)
    assert not mode_decision.prior_hopeless(drawing[:80], bits, trial)


def test_prior_likely(tiny_model, photograph):
    """Photographs are likely untried; noise and drawings only if a trial of the prior beats the
    fallback codec, which random weights do not.
    """
    rng = np.random.default_rng(0)
    drawing = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    images = photograph(64, 64), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), drawing
    assert mode_decision.prior_likely(
        [ImageData("RGB", pixels) for pixels in images],
        lambda crops: prior_bits(crops, tiny_model),
        encode_fallback,
    ) == [True, False, False]
