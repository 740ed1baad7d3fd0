"""given.py: what callers give an encoder, as it is when they do."""

import numpy as np
import pytest

from bitsback.codecs import Encoder, decode_image, encode
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage


def test_the_message_names_what_was_given_and_the_way_out():
    with pytest.raises(UnsupportedImage, match=r"uint8 of shape \(4, 5\); encode_image"):
        encode(np.zeros((4, 5), np.uint8))
    with pytest.raises(UnsupportedImage, match=r"not uint8 of shape \(5, 0, 3\)"):
        ImageData("RGB", np.zeros((5, 0, 3), np.uint8))


@pytest.mark.parametrize("many", [False, True])
def test_an_image_whose_array_changed_since(tiny_model, photograph, many):
    """What an ImageData remembers of its samples is of then; the file is of now: gray became
    colours, 12 bits 16, and what is no bit is refused.
    """
    frame = np.zeros((24, 24, 3), np.uint8)
    deep = np.zeros((24, 24), np.uint16)
    images = [ImageData("RGB", frame), ImageData("I;16", deep)]
    encoder = Encoder(tiny_model)
    for image in images:
        encoder.encode(image)
    assert images[0].gray_as_rgb and images[1].depth
    frame[...] = photograph(24, 24)
    deep[...] = photograph(24, 24)[..., 0].astype(np.uint16) * 257
    if many:
        entries = tuple(Entry(24, 24, str(i), mode=one.mode) for i, one in enumerate(images))
        back = decode_images(encoder.encode_many(images, entries), model=tiny_model)[1]
    else:
        back = [decode_image(encoder.encode(one), model=tiny_model) for one in images]
    found = {one.mode: one.samples for one in back}
    assert np.array_equal(found["RGB"], frame) and np.array_equal(found["I;16"], deep)
    bits = ImageData("1", np.zeros((8, 8), np.uint8))
    bits.samples[0] = 7
    with pytest.raises(UnsupportedImage, match="0 and 1"):
        encoder.encode(bits)
