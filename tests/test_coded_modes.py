"""Files of images of every mode: alpha and metadata are credit, gray is one channel."""

from dataclasses import replace

import numpy as np
import pytest

from bitsback.codecs import (
    decode,
    decode_image,
    decoder,
    encode_image,
    mode_decision,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.fallback.start import fallback_parts
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import MODES, ImageData, same
from bitsback.codecs.segment_layout import turned
from bitsback.errors import DamagedFile, UnsupportedImage
from tests.image_modes import EXTRAS, forced, of_mode


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_round_trips(tiny_model, photograph, mode):
    """Samples, look and metadata of every mode, at a size at which the prior is tried."""
    image = of_mode(mode, 50, 52, photograph)
    data = encode_image(image, model=tiny_model, verify=True)
    back = decode_image(data, model=tiny_model)
    assert same(back, image) and same(
        decode_image(encode_image(image.stripped(), model=tiny_model), model=tiny_model),
        image.stripped(),
    )
    header = container.read_header(data)
    assert header.entries[0].mode == mode and header.metadata
    if mode != "RGB":
        with pytest.raises(UnsupportedImage, match="mode"):
            decode(data, model=tiny_model)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_alpha_and_metadata_are_credit(tiny_model, photograph, monkeypatch, mode):
    """Under the prior, alpha and metadata lie at the bottom of the stack: they add their bytes
    and no more.
    """
    image = of_mode(mode, 64, 48, photograph)
    data = forced([image], tiny_model, monkeypatch)
    assert same(decode_image(data, model=tiny_model), image)
    header, payload = container.read(data)
    parts = len(metadata.pack([image])) + (
        len(encode_fallback(image.alpha)) if image.alpha is not None else 0
    )
    block = len(fallback_parts([turned(image.colour, header.flips)], header.start))
    assert parts + block < header.credit_bytes <= parts + block + 4  # lengths of two or three parts
    assert (
        0 <= 8 * len(payload) - header.net_bits - 8 * header.credit_bytes < 32
    )  # the padding to whole words


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_equal_colours_are_one_channel(tiny_model, photograph, monkeypatch, mode):
    """A gray photograph stored as RGB is one channel under the prior, half the bytes at most; one
    pixel that differs is noticed.
    """
    image = of_mode(mode, 64, 48, photograph)
    equal = image.samples.copy()
    equal[..., :3] = equal[..., :1]
    gray = ImageData(mode, equal, image.look, EXTRAS)
    data, full = (forced([one], tiny_model, monkeypatch) for one in (gray, image))
    header = container.read_header(data)
    assert (
        header.entries[0].gray_as_rgb
        and header.sizes == [(64, 48, 1)]
        and not container.read_header(full).entries[0].gray_as_rgb
    )
    assert (
        same(decode_image(data, model=tiny_model), gray)
        and header.net_bits < 0.5 * container.read_header(full).net_bits
    )
    equal[63, 47, 2] ^= 1
    assert not ImageData(mode, equal).gray_as_rgb
    with pytest.raises(DamagedFile):  # the same words said to be of three channels
        decode_image(
            container.write(
                replace(header, entries=(replace(header.entries[0], gray_as_rgb=False),)),
                container.read(data)[1],
            ),
            model=tiny_model,
        )


def test_gray_is_not_tried_where_it_was_not_trained_for(tiny_model, photograph, monkeypatch):
    """A model that says so leaves one channel to fallback codec; colours pass it as before."""
    monkeypatch.setitem(tiny_model.description["training"], "grey", False)
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    colours, gray = photograph(64, 64), of_mode("L", 64, 64, photograph)
    for image, under in (
        (ImageData("RGB", colours), True),
        (gray, False),
        (ImageData("RGB", np.repeat(colours[..., :1], 3, 2)), False),
    ):
        data = encode_image(image, model=tiny_model)
        assert bool(container.read_header(data).model) == under and same(
            decode_image(data, model=tiny_model), image
        )


def test_fallback_parts_have_no_form_of_equal_colours(photograph):
    """The form belongs to the prior: without a stack it is damage."""
    header, payload = container.read(encode_image(of_mode("RGB", 9, 9, photograph)))
    assert not header.model
    with pytest.raises(DamagedFile, match="fallback parts"):
        container.read(
            container.write(
                replace(header, entries=(replace(header.entries[0], gray_as_rgb=True),)), payload
            )
        )


def test_altered_fallback_parts_under_the_prior_are_damage(tiny_model, photograph, monkeypatch):
    """A form, a mask of metadata or a credit that is not the file's, behind a right CRC."""
    header, payload = container.read(
        forced([of_mode("RGBA", 56, 48, photograph)], tiny_model, monkeypatch)
    )
    entry = header.entries[0]
    changes = [
        {"entries": (replace(entry, mode=mode),)}
        for mode in ("RGB", "CMYK", "L", "LA", "RGBX", "RGBa")
    ]
    changes += [
        {"metadata": header.metadata ^ 8},
        {"metadata": 0},
        {"credit_bytes": header.credit_bytes - 4},
        {"digest": bytes(8)},
    ]
    for change in changes:
        with pytest.raises(DamagedFile):
            decode_image(container.write(replace(header, **change), payload), model=tiny_model)
            pytest.fail(f"decoded with {change}")


@pytest.mark.parametrize("mode", ["P", "CMYK", "I;16", "F", "1"])
def test_altered_fallback_files_are_damage_never_wrong_pixels(photograph, mode):
    """Each byte inverted behind a right CRC: DamagedFile or the very same image; another mode of
    the same samples: DamagedFile.
    """
    image = of_mode(mode, 9, 7, photograph)
    header, payload = container.read(encode_image(image))
    for position in range(len(payload)):
        altered = payload[:position] + bytes([payload[position] ^ 255]) + payload[position + 1 :]
        try:
            assert same(decode_image(container.write(header, altered)), image)
        except DamagedFile:
            pass
    other = {"P": "L", "CMYK": "RGBX", "I;16": "I;16B", "F": "I", "1": "L"}[mode]
    with pytest.raises(DamagedFile):
        decode_image(
            container.write(
                replace(header, entries=(replace(header.entries[0], mode=other),)), payload
            )
        )


def test_an_archive_chooses_for_each_image(tiny_model, photograph, monkeypatch):
    """Images that the prior does not code come first, by the fallback codec; the others share the
    stack; all come back.
    """
    flat = np.zeros((160, 160, 3), np.uint8)
    flat[40:90, 30:140] = (200, 0, 0)
    images = [
        of_mode("RGB", 24, 24, photograph),
        of_mode("P", 20, 20, photograph),
        ImageData("RGB", flat),
        of_mode("RGBA", 40, 32, photograph),
        of_mode("F", 5, 5, photograph),
        of_mode("RGB", 40, 32, photograph),
        of_mode("L", 40, 32, photograph),
        of_mode("LA", 40, 32, photograph),
    ]
    monkeypatch.setattr(mode_decision, "prior_likely", lambda images, *_: [True] * len(images))
    data = forced(images, tiny_model, monkeypatch, archive=True)
    header, back = decoder.decode_images(data, model=tiny_model)
    assert header.fallback_count == 3 and [e.mode for e in header.entries] == [
        "P",
        "RGB",
        "F",
        "RGB",
        "L",
        "LA",
        "RGBA",
        "RGB",
    ]
    assert all(same(a, b) for a, b in zip(back, [images[i] for i in (1, 2, 4, 0, 6, 7, 3, 5)]))
    decoder.check(data, images, model=tiny_model)
