"""fallback/codec.py: samples of every kind come back from the smallest code; damage is found."""

import io
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import (
    decode,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import codec, jxl, webp
from bitsback.codecs.fallback.codec import (
    DIFFERENCES,
    JXL,
    NARROW,
    PNG,
    PNG1,
    PNG2,
    PNG4,
    WEBP,
    FallbackCache,
    decode_fallback,
    encode_fallback,
)
from bitsback.codecs.fallback.webp import webp_size
from bitsback.errors import DamagedFile, UnsupportedImage

RNG = np.random.default_rng(0)


def of(channels, top, height=40, width=33):
    return RNG.integers(
        0, top, (height, width) if channels == 1 else (height, width, channels)
    ).astype(np.uint8)


def coded(method, samples):
    """Samples by one coder, whichever is smallest."""
    if method == WEBP:
        return bytes([WEBP]) + webp.encode_webp(webp.to_pillow(samples), **webp.QUICK)
    if method == DIFFERENCES:
        return bytes([DIFFERENCES]) + codec.encode_differences(samples)
    if method == JXL:
        return bytes([JXL]) + jxl.encode_jxl(samples, jxl.USUAL)
    return bytes([method]) + codec.encode_png(
        samples, codec.PNG_BITS.get(method, 8 * samples.dtype.itemsize)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("method", [WEBP, PNG, DIFFERENCES, JXL])
def test_every_coder_holds_every_number_of_channels(method, channels):
    """Also where the last channel is 0: what an alpha of 0 would hide is kept."""
    samples = of(channels, 256)
    samples[:20, ..., -1] = 0
    back = decode_fallback(coded(method, samples), samples.shape)
    assert np.array_equal(back, samples) and back.flags.writeable and back.flags.c_contiguous
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
    assert back.dtype == samples.dtype and np.array_equal(back, samples) and back.flags.writeable


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


@pytest.mark.parametrize("low, high, narrow", [(0, 2**16, 1), (-1, 9, 0), (0, 2**16 + 9, 0)])
def test_integers_that_fit_two_bytes(low, high, narrow):
    """int32 whose values fit uint16 is coded as that; others are not."""
    samples = RNG.integers(low, high, (9, 7)).astype("<i4")
    samples[0, :2] = low, high - 1
    data = encode_fallback(samples)
    assert (data[0] == NARROW) == bool(narrow)
    assert np.array_equal(decode_fallback(data, (9, 7), "<i4"), samples)
    with pytest.raises(DamagedFile):
        decode_fallback(bytes([NARROW, NARROW]) + data, (9, 7), "<i4")
    with pytest.raises(DamagedFile):
        decode_fallback(bytes([NARROW]) + data, (9, 7), "<u2")


def test_parts_are_coded_without_jpeg_xl(photograph):
    """Side information and start blocks, so that files of photographs decode without imagecodecs,
    though JPEG XL is smaller for a photograph."""
    pixels = photograph(128, 128)
    part, whole = codec.encode_part(pixels), encode_fallback(pixels)
    assert part[0] != JXL and whole[0] == JXL and len(whole) < len(part)
    assert np.array_equal(decode_fallback(part, pixels.shape), pixels)


def test_what_is_not_used_is_not_checked(photograph, monkeypatch):
    """JPEG XL's code is decoded and compared only if it has fewer bytes than are useful."""
    pixels, decoded = photograph(72, 80), []
    right = encode_fallback(pixels)
    assert right[0] == codec.JXL
    exact = codec._exact
    monkeypatch.setattr(codec, "_exact", lambda *args: decoded.append(1) or exact(*args))
    for useful, checks in ((None, 1), (len(right) + 1, 1), (len(right), 0), (0, 0)):
        decoded.clear()
        assert encode_fallback(pixels, useful=useful) == right and len(decoded) == checks
    monkeypatch.setattr(codec, "_exact", lambda *args: False)
    other = encode_fallback(pixels, useful=len(right) + 1)
    assert other[0] != codec.JXL and len(other) > len(right)


def test_damage():
    """Another size, another coder, cut bytes: DamagedFile for each coder."""
    for method, samples in [
        (WEBP, of(3, 256)),
        (PNG, of(4, 256)),
        (PNG4, of(1, 16)),
        (DIFFERENCES, of(2, 256)),
        (JXL, of(3, 256)),
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


@pytest.mark.parametrize("method", [WEBP, PNG, PNG1, DIFFERENCES, JXL])
def test_lying_sizes(method):
    """Ten bytes that claim far more pixels than memory has are refused at once."""
    for shape in [(2**24, 2**24), (2**24, 2**24, 3), (16000, 16000)]:
        with pytest.raises(DamagedFile if method == DIFFERENCES else UnsupportedImage):
            decode_fallback(bytes([method]) + b"\x2f234567890"[:10], shape)


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
def test_fallback_coding_is_its_own_inverse(photograph, kind):
    """decode_fallback(encode_fallback(x)) == x, and a wrong size is DamagedFile."""
    pixels = drawn(photograph)[kind].astype(np.uint8)
    data = encode_fallback(pixels)
    assert np.array_equal(decode_fallback(data, (128, 128, 3)), pixels)
    with pytest.raises(DamagedFile):
        decode_fallback(data, (127, 128, 3))


@pytest.mark.parametrize("size", [(8, 16384), (16384, 2), (1, 20000)])
def test_sides_that_webp_cannot_store(size):
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


def test_fallback_code_is_the_smallest_at_hand(photograph):
    """No image's fallback codec is larger than the quick one that `encode` makes anyway."""
    images = {
        kind: drawn(photograph)[kind].astype(np.uint8)
        for kind in ("coarse ramp", "noisy ramp", "ramp")
    }
    assert [
        kind for kind, pixels in images.items() if len(encode_fallback(pixels)) > webp_size(pixels)
    ] == []


def test_cached_codes_are_those_made_anew():
    """Of every shape and dtype: (H, W, 1) as (H, W), equal bytes of another shape or dtype apart;
    codes of large arrays are not kept.
    """
    cached, rng = FallbackCache(), np.random.default_rng(0)
    block = rng.integers(0, 5, (8, 8, 4), dtype=np.uint8)
    for array in (
        block,
        block.reshape(4, 16, 4),
        block.view("<u2").reshape(8, 16),
        block.view("<i4"),
        block.view("<f4"),
        block[..., 0],
        block[::2, ::-1],
    ):
        assert cached(array) == cached(array) == encode_fallback(array)
    assert cached(block.view("<i4")) == cached(block.view("<i4")[..., 0])
    with (
        patch.object(codec, "CACHED_PIXELS", 63),
        patch.object(codec, "encode_fallback", lambda *_: b"made anew"),
    ):
        assert cached(block) == b"made anew"


@pytest.mark.parametrize("method", [WEBP, PNG, JXL])
def test_more_pixels_than_pillow_trusts(method, monkeypatch):
    """Twice its limit is decoded, more is refused with the numbers, and what is encoded under the
    same limit decodes: the differences have none.
    """
    samples = of(3, 256)
    code, pixels = coded(method, samples), samples.shape[0] * samples.shape[1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2)
    assert np.array_equal(decode_fallback(code, samples.shape), samples)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    with pytest.raises(UnsupportedImage, match=f"33x40 pixels .* {pixels // 2 - 1}"):
        decode_fallback(code, samples.shape)
    for encode in (encode_fallback, codec.encode_part):
        assert np.array_equal(decode_fallback(encode(samples), samples.shape), samples)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert np.array_equal(decode_fallback(code, samples.shape), samples)


@pytest.mark.parametrize("method", [WEBP, PNG, DIFFERENCES, JXL])
def test_too_little_memory_is_no_damage(method, monkeypatch):
    """It is told as what it is."""
    samples = of(3, 256)
    code = coded(method, samples)

    def fail(*_, **options):
        raise MemoryError

    for place in ("PIL.Image.open", "imagecodecs.jpegxl_decode", "zlib.decompressobj"):
        monkeypatch.setattr(place, fail)
    monkeypatch.setattr("lzma.LZMADecompressor", fail)
    with pytest.raises(MemoryError):
        decode_fallback(code, samples.shape)
