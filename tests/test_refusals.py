"""refusals.py: lossy files and files of several images are recognised by their headers."""

import io

import numpy as np
import pytest
from PIL import Image, features

from bitsback.codecs.formats.image_files import read_image
from bitsback.errors import LossySource, UnsupportedImage

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def saved(file_format, mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(out, file_format, **options)
    return out.getvalue()


LOSSY = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"quality": 50}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("JPEG2000", "RGB", {"irreversible": True, "quality_mode": "rates", "quality_layers": [20]}),
    ("AVIF", "RGB", {}),
]
LOSSLESS = [
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGB", {"lossless": True, "xmp": b"x"}),
    ("JPEG2000", "RGB", {}),
    ("JPEG2000", "L", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("PNG", "RGB", {}),
    ("GIF", "P", {}),
]


@pytest.mark.parametrize("file_format, mode, options", LOSSY)
def test_lossy_sources_are_refused_unless_allowed(file_format, mode, options):
    """The error names the option that allows them; with it, pixels are those that Pillow reads."""
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = saved(file_format, mode, **options)
    with pytest.raises(LossySource, match="x.y: .* loss .*--allow-lossy-source"):
        read_image(io.BytesIO(data), "x.y")
    image = read_image(io.BytesIO(data), "x.y", allow_lossy=True)
    assert np.array_equal(image.samples, np.array(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("file_format, mode, options", LOSSLESS)
def test_lossless_sources_are_read(file_format, mode, options):
    """The same formats without loss: the pixels are exact."""
    image = read_image(io.BytesIO(saved(file_format, mode, **options)), "x.y")
    assert image.mode == mode and (
        mode == "P"
        or np.array_equal(image.samples, np.array(Image.fromarray(PIXELS).convert(mode)))
    )


def test_more_pixels_than_pillow_trusts(monkeypatch):
    """Pillow only warns between its limit and twice the limit; here it is an error."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 40 - 1)
    with pytest.raises(UnsupportedImage, match="1279"):
        read_image(io.BytesIO(saved("PNG")), "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 40)
    assert read_image(io.BytesIO(saved("PNG")), "x.png").width == 40


def test_icons_of_several_sizes():
    """Refused, because only one could be stored; an icon of one size is read."""
    with pytest.raises(UnsupportedImage, match="icon of 2 sizes"):
        read_image(io.BytesIO(saved("ICO", sizes=[(16, 16), (32, 32)])), "x.ico")
    assert read_image(io.BytesIO(saved("ICO", sizes=[(16, 16)])), "x.ico").width == 16


def test_postscript_is_refused():
    """It would have to be run to draw an image."""
    with pytest.raises(UnsupportedImage, match="EPS"):
        read_image(
            io.BytesIO(
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
            ),
            "x.eps",
        )


@pytest.mark.parametrize("tail", [b"ANIM\4\0\0\0abcd", b"VP8 \4\0\0\0abcd", b"junk"])
def test_bytes_after_a_webp_are_none_of_its_chunks(tail):
    """They are named as not kept, whatever they look like."""
    data = saved("WEBP", lossless=True)
    image = read_image(io.BytesIO(data + tail), "x.webp")
    assert np.array_equal(image.samples, PIXELS) and image.lost == ("data after the end",)
