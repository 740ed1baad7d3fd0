"""fallback/webp.py: streams without the green transform, sizes in strips."""

import numpy as np
import pytest

from bitsback.codecs.fallback import webp
from bitsback.codecs.fallback.webp import GOOD, QUICK, webp_size
from tests.test_mode_decision import CROP, images


@pytest.mark.parametrize("alpha", [False, True])
def test_a_stream_without_the_green_transform(photograph, alpha):
    """By its bits it has none; WebP decoders read it; of unrelated colours it is smaller."""
    samples = images(photograph)["with alpha" if alpha else "colours apart"][:96, :96]
    data = webp.encode_without_subtract_green(samples, GOOD)
    assert int.from_bytes(data[5:6], "little") & 7 != 5
    assert np.array_equal(webp.decode_webp(data, samples.shape), samples)
    with_green = samples.copy()
    with_green[..., ::2] += with_green[
        ..., 1:2
    ]  # made of it by a transform that the encoder sees at once
    assert len(data) <= len(webp.encode_webp(webp.to_pillow(with_green), **GOOD))


def test_strips_cost_little(photograph, monkeypatch):
    """The sum over strips is near the whole's size, and each strip small."""
    whole, sizes = webp_size(CROP), []
    monkeypatch.setattr(webp, "STRIP", 6400)
    encode = webp.encode_webp
    monkeypatch.setattr(
        webp,
        "encode_webp",
        lambda image, **effort: sizes.append(image.width * image.height) or encode(image, **effort),
    )
    assert 0.99 * whole < webp_size(CROP, QUICK) < 1.04 * whole
    assert sum(sizes) == CROP.size // 3 and max(sizes) <= 6400 and len(sizes) == 2


@pytest.mark.parametrize("code", [1, 2])
def test_too_little_memory(monkeypatch, code):
    """What libwebp says then becomes Python's error, which ends the work on one file alone."""

    def save(*_, **__):
        raise ValueError(f"encoding error {code}")

    monkeypatch.setattr(webp.Image.Image, "save", save)
    with pytest.raises(MemoryError):
        webp_size(CROP)
