"""No file is more than 32 bytes larger than PNG's, WebP's or JPEG XL's: benchmarks/promise.py in
small, over images of every mode."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import promise
from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.bitstream import block_checks, container
from bitsback.codecs.image import ImageData, same

PHOTOGRAPH = np.array(Image.open(Path(__file__).parent / "images" / "kodim23_crop.png"))


def sources():
    """{name: (H, W, 3) uint8}: a photograph, a drawing, noise, one value, one pixel."""
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return {
        "photograph": PHOTOGRAPH[100:146, 60:107],
        "drawing": np.tile(tile // 64 * 64, (4, 3, 1)),
        "noise": rng.integers(0, 256, (19, 23, 3), dtype=np.uint8),
        "flat": np.full((40, 45, 3), (200, 10, 30), np.uint8),
        "pixel": tile[:1, :1],
    }


@pytest.mark.parametrize("mode", promise.MAKERS)
def test_no_file_is_larger(mode):
    """Each kind of image in the mode, beside whatever codec holds it; and it comes back."""
    for name, pixels in sources().items():
        image = promise.MAKERS[mode](np.ascontiguousarray(pixels), np.random.default_rng(1))
        data, others = encode_image(image), promise.other_sizes(image)
        assert same(decode_image(data), image)
        assert mode == "I" or "JPEG XL" in others or "PNG" in others
        assert len(data) <= min(others.values(), default=2**31) + promise.PROMISED, name


def test_a_large_file_of_the_fallback_codec(monkeypatch):
    """Checksums of blocks would be 4 bytes for each block of it, and of no use."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 120, 3), dtype=np.uint8)
    image = ImageData("RGB", pixels)
    expected = encode_image(image)  # of one block
    monkeypatch.setattr(block_checks, "BLOCK", 12)
    data = encode_image(image)
    assert len(data) > 5 * 2**12 and same(decode_image(data), image)
    assert not container.read_header(data).model and data == expected
    assert len(data) <= min(promise.other_sizes(image).values()) + promise.PROMISED


def test_a_violation_would_be_noticed():
    """Other codecs are measured on the image itself: nothing lossy, nothing without its alpha."""
    rng = np.random.default_rng(2)
    image = promise.MAKERS["RGBA"](PHOTOGRAPH[:40, :40], rng)
    found = promise.other_sizes(image)
    assert set(found) == {"PNG", "WebP", "JPEG XL"} and min(found.values()) > 1500
