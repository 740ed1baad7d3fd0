"""Which samples are like noise, on which WebP's slow efforts are in vain."""

import numpy as np
import pytest

from bitsback.codecs import image
from bitsback.codecs.fallback import codec, webp
from bitsback.codecs.fallback.noise import like_noise

RNG = np.random.default_rng(8)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def quick(samples):
    return min(map(len, webp.webp_streams(samples, webp.QUICK)))


@pytest.mark.parametrize("shape", [(128, 129), (75, 75, 3), (70, 70, 4), (8192, 2)])
def test_uniform_noise(shape):
    """No effort makes it smaller than it is stored."""
    samples = noise(*shape)
    assert like_noise(samples, quick(samples))
    stored = len(codec.encode_fallback(samples))
    assert stored <= samples.size + 10
    assert stored < min(map(len, webp.webp_streams(samples, webp.GOOD, webp.BEST)))


def test_what_is_not_noise(monkeypatch):
    """Noise that repeats, once and anywhere; that is not uniform; few samples."""
    samples = noise(130, 128, 3)
    samples[100:103] = samples[3:6]
    assert not like_noise(samples, samples.size)
    monkeypatch.setattr(image, "STRIP", 4000)  # compared across strips
    assert not like_noise(samples, samples.size)
    samples[100:103] = noise(3, 128, 3)
    assert like_noise(samples, samples.size)
    normal = RNG.normal(128, 60, samples.shape).clip(0, 255).astype(np.uint8)
    assert not like_noise(normal, quick(normal))
    assert not like_noise(noise(60, 60, 3), 2**62)


def test_slow_efforts_are_left_out(monkeypatch):
    """Of noise; a tile of noise that is repeated is coded as one."""
    tried, encode = [], webp.encode_webp
    monkeypatch.setattr(
        webp, "encode_webp", lambda one, **effort: tried.append(effort) or encode(one, **effort)
    )
    samples = noise(80, 80, 3)
    data = codec.encode_fallback(samples)
    assert all(effort == webp.QUICK for effort in tried) and tried
    assert np.array_equal(codec.decode_fallback(data, samples.shape), samples)
    assert len(data) <= samples.size + 100
    tile = noise(40, 41, 3)
    assert len(codec.encode_fallback(np.tile(tile, (3, 3, 1)))) < tile.size * 1.2
    assert webp.BEST in tried
