"""Files of random crops made on a device are the CPU's, and each decodes the other's."""

import numpy as np
import pytest

from bitsback.ans.compiled import HAVE_NUMBA
from bitsback.ans.device_lanes import Kernels
from bitsback.codecs import encoder, segments
from bitsback.codecs.bitstream import container
from bitsback.codecs.decoder import decode_image
from bitsback.codecs.image import same
from bitsback.coder.model import Model
from bitsback.integer.convolution import Reference
from tests.conftest import on_cuda
from tests.crops import COUNT, MODES, cpu_file, crop, under_the_prior

TOGETHER = 5  # crops of a test


@pytest.fixture(scope="module")
def default_model():
    return Model.open()


def test_crops_are_of_all_kinds():
    """Modes, odd sizes, smooth and noisy, with sides from a few pixels up."""
    crops = [crop(number) for number in range(COUNT)]
    assert {image.mode for image in crops} == set(MODES)
    sides = [side for image in crops for side in image.samples.shape[:2]]
    assert min(sides) < 10 and max(sides) > 190 and {side % 8 for side in sides} == set(range(8))
    steps = [np.abs(np.diff(image.colour.astype(int), axis=0)).mean() for image in crops[::3]]
    assert min(steps) < 8 and max(steps) > 15
    assert same(crop(7), crop(7)) and not same(crop(7), crop(10))


@pytest.mark.parametrize("number", [8, 12, 23])
def test_tensors_code_crops_as_the_host_does(short_model, monkeypatch, number):
    """Torch operations on the CPU stand for a device.  Gray, and RGBA, smooth and noisy."""
    monkeypatch.setattr(segments, "SAMPLES_PER_LANE", 96)  # few steps of an operation each
    image = crop(number, 96)
    chain = short_model.chain("cpu", Reference(short_model.layers), Kernels(False, False, False))
    with under_the_prior():
        expected = encoder.encode_image(image, model=short_model)
        monkeypatch.setitem(short_model._chains, "cpu", chain)
        data = encoder.encode_image(image, model=short_model)
    assert container.read_header(data).segments and data == expected
    assert same(decode_image(data, model=short_model), image)


@pytest.mark.parametrize("first", range(0, COUNT, TOGETHER))
@pytest.mark.parametrize("where", [pytest.param("cuda", marks=on_cuda)])
def test_a_hundred_crops(default_model, where, first):
    """The CPU's bytes; the CPU's file decodes on the device, and the device's on the CPU."""
    coded = 0
    for number in range(first, first + TOGETHER):
        image, expected = crop(number), cpu_file(number, default_model)
        with under_the_prior():
            data = encoder.encode_image(image, model=default_model, device=where)
        assert data == expected, f"crop {number}, {image.mode}, {image.samples.shape}"
        assert same(decode_image(expected, model=default_model, device=where), image)
        if HAVE_NUMBA or number == first and image.samples.size < 9000:  # the rest follows
            assert same(decode_image(data, model=default_model), image)
        coded += bool(container.read_header(data).segments)
    assert coded
