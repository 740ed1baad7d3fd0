"""benchmarks.deep: the images that it makes, and the sums of its table."""

import numpy as np
import pytest

pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
deep = pytest.importorskip("benchmarks.deep")


def test_light_and_back():
    """sRGB's black, white and middle; the two functions undo one another."""
    levels = np.arange(256, dtype=np.uint8)
    light = deep.linear_light(levels)
    assert light[0] == 0 and light[255] == 1 and abs(light[128] - 0.2158605) < 1e-6
    assert np.abs(deep.encoded(light) * 255 - levels).max() < 1e-4


def test_flat_images_stay():
    """One colour, at half the size, 257 times as large; of odd sides the last are dropped."""
    pixels = np.broadcast_to(np.array([0, 77, 255], np.uint8), (9, 13, 3))
    halved = deep.halved(pixels)
    assert halved.shape == (4, 6, 3) and halved.dtype == np.uint16
    assert (halved == np.array([0, 77 * 257, 65535])).all()


def test_depths_are_those_of_their_names(photograph):
    """The four kinds of one photograph."""
    made = dict(deep.kinds(photograph(96, 64)))
    bits = {name: image.depth.bits for name, image in made.items()}
    assert bits == {
        "16 bits": 16,
        "12 bits on top": 12,
        "10 bits below": 10,
        "gray, 16 bits": 16,
    }


def test_table():
    """Rates and ratios of two images of one class, one of which JPEG XL codes in fewer bytes."""
    one = {"kind": "16 bits", "class": 8.0, "samples": 80, "PNG": 200, "told": 100}
    results = [one | {"bitsback": 90, "JPEG XL e9": 100}, one | {"bitsback": 120, "JPEG XL e9": 60}]
    rows = deep.report(results).splitlines()
    assert len(rows) == 4 and rows[2] == (
        "| 16 bits | under 9 | 2 | 10.500 | 8.000 | 10.000 | 20.000 | 1.312 | 1.050 | 0.938 | 1 |"
    )
