"""plain.py: samples of every kind come back, the result is the smallest at hand, and each coder's bytes are checked."""

import io

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.fallback import codec
from bitsback.codecs.fallback.codec import (
    DIFFERENCES,
    PNG,
    PNG1,
    PNG2,
    PNG4,
    QUICK,
    WEBP,
    decode_fallback,
    encode_fallback,
)
from bitsback.errors import DamagedFile

RNG = np.random.default_rng(0)


def of(channels, top, height=40, width=33):
    return RNG.integers(
        0, top, (height, width) if channels == 1 else (height, width, channels)
    ).astype(np.uint8)


def coded(method, samples):
    """Samples by one coder, whichever is smallest."""
    if method == WEBP:
        return bytes([WEBP]) + codec._encode_webp(codec._webp_image(samples), **QUICK)
    if method == DIFFERENCES:
        return bytes([DIFFERENCES]) + codec.encode_differences(samples)
    return bytes([method]) + codec._encode_png(
        samples, codec.PNG_BITS.get(method, 8 * samples.dtype.itemsize)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("method", [WEBP, PNG, DIFFERENCES])
def test_every_coder_holds_every_number_of_channels(method, channels):
    """Also where the last channel is 0: what an alpha of 0 would hide is kept."""
    samples = of(channels, 256)
    samples[:20, ..., -1] = 0
    assert np.array_equal(decode_fallback(coded(method, samples), samples.shape), samples)
    samples[..., -1] = 255
    assert np.array_equal(decode_fallback(coded(method, samples), samples.shape), samples)


@pytest.mark.parametrize("method, top", [(PNG1, 2), (PNG2, 4), (PNG4, 16)])
@pytest.mark.parametrize("width", [1, 7, 8, 33])
def test_several_samples_in_a_byte(method, top, width):
    """Indices and bilevel images of widths that fill bytes and that do not."""
    samples = of(1, top, width=width)
    assert np.array_equal(decode_fallback(coded(method, samples), samples.shape), samples)


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i4", "<f4"])
@pytest.mark.parametrize("shape", [(1, 1), (9, 7), (9, 7, 2), (9, 7, 3), (1, 1, 4)])
def test_every_dtype_comes_back(dtype, shape):
    """The choice among the coders is its own inverse."""
    samples = RNG.integers(0, 200, shape).astype(dtype)
    back = decode_fallback(encode_fallback(samples), shape, dtype)
    assert back.dtype == samples.dtype and np.array_equal(back, samples)


@pytest.mark.parametrize(
    "mode, top",
    [
        ("1", 2),
        ("L", 256),
        ("L", 3),
        ("LA", 256),
        ("RGB", 256),
        ("RGB", 4),
        ("RGBA", 256),
        ("I;16", 256),
    ],
)
def test_never_larger_than_png_or_webp(mode, top):
    """At most as many bytes as Pillow's best files, which have wrapping around the same stream."""
    channels = {"1": 1, "I;16": 1}.get(mode, len(mode))
    samples = of(channels, top)
    if mode == "1":
        image = Image.fromarray(samples.astype(bool))
    elif mode == "I;16":
        samples = samples.astype(np.uint16) * 257
        image = Image.fromarray(samples)
    else:
        image = Image.fromarray(samples)
    options = [{"format": "PNG", "optimize": True}]
    options += [
        {"format": "WEBP", "lossless": True, "exact": True, "quality": 100, "method": 6}
    ] * (mode in ("RGB", "RGBA"))
    for chosen in options:
        out = io.BytesIO()
        image.save(out, **chosen)
        assert len(encode_fallback(samples)) < len(out.getvalue())


def test_damage():
    """Another size, another coder, cut bytes: DamagedFile for each coder."""
    for method, samples in [
        (WEBP, of(3, 256)),
        (PNG, of(4, 256)),
        (PNG4, of(1, 16)),
        (DIFFERENCES, of(2, 256)),
    ]:
        data = coded(method, samples)
        height, width = samples.shape[:2]
        for bad, shape in [
            (data, (height + 1, *samples.shape[1:])),
            (data, (height, width + 2, *samples.shape[2:])),
            (data[: len(data) // 2], samples.shape),
            (data[:3], samples.shape),
            (bytes([9]) + data[1:], samples.shape),
            (b"", samples.shape),
        ]:
            with pytest.raises(DamagedFile):
                decode_fallback(bad, shape)
    with pytest.raises(DamagedFile):
        decode_fallback(coded(WEBP, of(1, 256)), (40, 33), "<u2")


@pytest.mark.parametrize("method", [WEBP, PNG, PNG1, DIFFERENCES])
def test_lying_sizes(method):
    """Ten bytes that claim far more pixels than memory has are refused at once."""
    for shape in [(2**24, 2**24), (2**24, 2**24, 3), (16000, 16000)]:
        with pytest.raises(DamagedFile):
            decode_fallback(bytes([method]) + b"\x2f234567890"[:10], shape)
