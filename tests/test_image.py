"""image.py: samples must fit the mode; two images are the same only if every bit is."""

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.image import MODES, ImageData, joined, same, shape_of
from bitsback.errors import UnsupportedImage


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_its_samples(mode):
    """The mode's shape and dtype are accepted; other dtypes, more channels and empty images are
    not.
    """
    dtype, channels = MODES[mode]
    good = np.zeros(shape_of(mode, 3, 5), dtype)
    assert (ImageData(mode, good).height, ImageData(mode, good).width) == (3, 5)
    for bad in (
        good.astype("f8"),
        np.zeros((3, 5, channels + 1), dtype),
        np.zeros(shape_of(mode, 0, 5), dtype),
        np.zeros(5, dtype),
    ):
        with pytest.raises(UnsupportedImage, match=f"mode {mode} needs"):
            ImageData(mode, bad)


def test_unknown_modes_and_samples_beyond_the_mode():
    """An unknown mode, and a bilevel image with a sample of 2."""
    with pytest.raises(UnsupportedImage, match="mode X"):
        ImageData("X", np.zeros((2, 2), np.uint8))
    with pytest.raises(UnsupportedImage, match="mode 1"):
        ImageData("1", np.full((2, 2), 2, np.uint8))


@pytest.mark.parametrize("other", [{"look": None}, {"metadata": [("dpi", 1)]}, {"lost": ("",)}])
def test_what_goes_with_samples_and_is_of_another_kind(other):
    """Told when the image is made, not as damage of its file."""
    with pytest.raises(UnsupportedImage):
        ImageData("L", np.zeros((2, 2), np.uint8), **other)


def test_colour_and_alpha_are_split_and_joined():
    """RGBA has three channels under the prior and an alpha plane, LA one; other modes have no
    colour.
    """
    samples = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    image = ImageData("RGBA", samples)
    assert np.array_equal(joined("RGBA", image.colour, image.alpha), samples)
    assert ImageData("RGB", samples[..., :3]).alpha is None and np.array_equal(
        joined("RGB", samples[..., :3], None), samples[..., :3]
    )
    equal = np.repeat(samples[..., :1], 3, 2)
    for image, channels in (
        (ImageData("RGB", equal), 1),
        (ImageData("RGBA", np.dstack([equal, samples[..., 3]])), 1),
        (ImageData("L", samples[..., 0]), 1),
        (ImageData("LA", samples[..., :2]), 1),
        (ImageData("RGBA", samples), 3),
    ):
        assert image.colour.shape == (4, 5, channels) and np.array_equal(
            joined(image.mode, image.colour, image.alpha), image.samples
        )
    assert (
        ImageData("CMYK", samples).colour is None and ImageData("P", samples[..., 0]).colour is None
    )


def test_same_detects_every_difference():
    """Mode, samples, NaN bits, look and metadata count; the source format does not."""
    zeros = np.zeros((2, 3, 3), np.uint8)
    image = ImageData("RGB", zeros, {"transparency": (1, 2, 3)}, {"gamma": 0.5})
    assert same(
        image, ImageData("RGB", zeros.copy(), {"transparency": (1, 2, 3)}, {"gamma": 0.5}, "BMP")
    )
    assert not same(image, image.stripped()) and same(
        image.stripped(), ImageData("RGB", zeros, {"transparency": (1, 2, 3)})
    )
    others = [
        ImageData("HSV", zeros, image.look, image.metadata),
        ImageData("RGB", zeros + np.uint8(1), image.look, image.metadata),
        ImageData("RGB", zeros.reshape(3, 2, 3), image.look, image.metadata),
        ImageData("RGB", zeros, {}, image.metadata),
    ]
    assert not any(same(image, other) for other in others)
    quiet, loud = (np.array([[bits]], "<u4").view("<f4") for bits in (0x7FC00000, 0x7FC00001))
    assert same(ImageData("F", quiet), ImageData("F", quiet.copy())) and not same(
        ImageData("F", quiet), ImageData("F", loud)
    )


@pytest.mark.parametrize(
    "samples", [[[1, 2], [3, 4]], None, b"1234", "1234", Image.new("L", (2, 2))]
)
def test_samples_must_be_an_array(samples):
    """Another type raises UnsupportedImage that names the type."""
    with pytest.raises(UnsupportedImage, match=type(samples).__name__):
        ImageData("L", samples)


def test_what_screens_show():
    """16 bits as the upper 8 of those in use, palettes with alpha, gray and alpha as RGBA."""
    twelve = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    assert np.array_equal(ImageData("I;16", twelve).shown, (twelve >> 4).astype(np.uint8))
    deep = np.full((2, 2, 4), 0xABCD, np.uint16)
    assert np.array_equal(ImageData("RGBA;16", deep).shown, np.full((2, 2, 4), 0xAB, np.uint8))
    faint = ImageData("LA;16", np.dstack([twelve, twelve << 4]))
    assert np.array_equal(faint.shown[0, 3], [12, 12, 12, 12])
    black = np.array([[0, 65535]], np.uint16)
    assert ImageData("I;16", black).shown.tolist() == [[0, 255]]
    indices = np.array([[0, 1, 2]], np.uint8)
    look = {"palette": bytes(range(1, 7)), "palette_alpha": b"\x07\x08"}
    shown = ImageData("P", indices, look).shown
    assert shown.tolist() == [[[1, 2, 3, 7], [4, 5, 6, 8], [0, 0, 0, 255]]]
    assert ImageData("P", indices, {"palette": bytes(900)}).shown.shape == (1, 3, 3)
    assert ImageData("F", np.zeros((2, 2), "<f4")).shown is None


def test_a_palette_is_bytes():
    """UnsupportedImage for another."""
    with pytest.raises(UnsupportedImage, match="palette"):
        ImageData("P", np.zeros((2, 2), np.uint8), {"palette": 5})
