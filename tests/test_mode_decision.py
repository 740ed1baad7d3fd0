"""mode_decision.py: coders that are left out never cost bytes against the best WebP and PNG."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import (
    mode_decision,
)
from bitsback.codecs.fallback import codec, webp
from bitsback.codecs.fallback.codec import decode_fallback, encode_fallback
from bitsback.codecs.fallback.webp import BEST, GOOD, webp_size
from bitsback.codecs.image import ImageData
from bitsback.codecs.prior_trial import prior_bits

PROMISED = 32  # bytes
CROP = np.array(Image.open(Path(__file__).parent / "images" / "kodim23_crop.png"))[100:200, 100:228]


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    """As if an image of 10000 pixels were a large one."""
    monkeypatch.setattr(mode_decision, "SAMPLE_PIXELS", 2500)


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
    assert samples.shape[0] * samples.shape[1] >= 4 * mode_decision.SAMPLE_PIXELS
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


def test_slow_coders_are_left_out_of_photographs_only(photograph, monkeypatch):
    """Of a photograph PNG and differences code a part, the best WebP nothing; of a drawing all
    code all.
    """
    seen = []
    for module in (codec, mode_decision):
        monkeypatch.setattr(
            module, "encode_png", lambda samples, bits: seen.append(samples.size) or bytes(10**6)
        )
        monkeypatch.setattr(
            module, "encode_differences", lambda samples: seen.append(samples.size) or bytes(10**6)
        )
    encode = webp.encode_webp
    monkeypatch.setattr(
        webp,
        "encode_webp",
        lambda image, **effort: (effort == BEST and seen.append("best")) or encode(image, **effort),
    )
    encode_fallback(images(photograph)["kodim23"])
    assert len(seen) == 2 and max(seen) <= 3 * mode_decision.SAMPLE_PIXELS
    encode_fallback(images(photograph)["palette"])
    assert "best" in seen and seen[2] > 3 * mode_decision.SAMPLE_PIXELS


def test_fallback_hopeless(photograph, monkeypatch):
    """Below HOPELESS_QUICK of a quick WebP, or HOPELESS_GOOD of good ones of a large image; never
    for drawings, 16 bits, or what WebP cannot store.
    """
    photo, quick = CROP, webp_size(CROP)
    assert mode_decision.fallback_hopeless(
        int(0.92 * quick), [photo]
    ) and not mode_decision.fallback_hopeless(int(0.95 * quick), [photo])
    assert not mode_decision.fallback_hopeless(
        1, [photo, np.zeros((200, 200, 3), np.uint8)]
    ) and not mode_decision.fallback_hopeless(1, [photo.astype(np.uint16)])
    assert not mode_decision.fallback_hopeless(1, [np.zeros((1, 20000, 3), np.uint8)])
    monkeypatch.setattr(webp, "STRIP", 6400)
    good = webp_size(photo, GOOD)
    assert 0.93 * webp_size(photo) < 0.97 * good
    assert mode_decision.fallback_hopeless(
        int(0.97 * good), [photo]
    ) and not mode_decision.fallback_hopeless(int(0.98 * good), [photo])


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
