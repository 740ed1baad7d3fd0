"""Archives of images of any modes and sizes."""

import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitsback.codecs import (
    Encoder,
    archive,
    checksums,
    decoder,
    encoder,
    mode_decision,
    photographs,
    prior_codec,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import codec, webp
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.formats.image_files import HOLDS, image_bytes
from bitsback.codecs.image import MODES, ImageData, same, same_samples, shape_of
from tests.test_prior_trial import noise

IN_FILES = {mode: name for name in ("TIFF", "PNG") for mode in HOLDS[name] if mode != "I;16B"}


def drawn(mode, height, width, rng, smooth=False):
    """An ImageData of random samples, or of a slope with some noise."""
    most = {"1": 2, "P": 16}.get(mode, 256)
    values = rng.integers(0, most, shape_of(mode, height, width))
    if smooth:
        values = (
            np.add.outer(np.arange(height), np.arange(width)).reshape(
                height, width, *[1] * (values.ndim - 2)
            )
            + values // 32
        ) % most
    return ImageData(
        mode, values.astype(MODES[mode][0]), {"palette": bytes(range(48))} if mode == "P" else {}
    )


def entries_of(images):
    return tuple(
        container.Entry(
            s.width, s.height, f"{i}.png", check=checksums.image_check(s.samples), mode=s.mode
        )
        for i, s in enumerate(images)
    )


def archived(images, model):
    """Bytes of an archive, decoded and compared."""
    data = Encoder(model).encode_many(images, entries_of(images))
    decoder.check(data, images, model=model)
    header, back = decoder.decode_images(data, model=model)
    for entry, image in zip(header.entries, back):
        assert same(
            image,
            ImageData(
                images[int(entry.name[:-4])].mode,
                images[int(entry.name[:-4])].samples,
                image.look,
                {},
                image.source,
            ),
        )
    return data


def test_every_pair_of_modes(tiny_model):
    """Images of a few pixels, of all modes, two by two, whichever the prior codes."""
    rng = np.random.default_rng(0)
    for modes in itertools.product(MODES, repeat=2):
        archived([drawn(mode, *rng.integers(1, 9, 2), rng) for mode in modes], tiny_model)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(MODES)), st.integers(1, 64), st.integers(1, 64), st.booleans()
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
    st.integers(0, 99),
)
def test_up_to_three_images_of_any_mode_and_size(tiny_model, shapes, wins, seed):
    """Noise and slopes, some under the prior and some not.  wins: whether the prior is taken
    wherever it starts at all.
    """
    rng = np.random.default_rng(seed)
    images = [drawn(mode, height, width, rng, smooth) for mode, height, width, smooth in shapes]
    suit = (lambda images, *_: [True] * len(images)) if wins else mode_decision.prior_likely
    with (
        patch.object(mode_decision, "prior_likely", suit),
        patch.object(mode_decision, "fallback_hopeless", lambda *_: wins),
    ):
        archived(images, tiny_model)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(set(IN_FILES) - {"PA"})), st.integers(1, 64), st.integers(1, 64)
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 99),
)
def test_files_of_any_mode_and_size(tiny_model, tmp_path_factory, shapes, seed):
    """encode_archive of image files, verified: all of them come back."""
    rng, folder, wanted = np.random.default_rng(seed), tmp_path_factory.mktemp("in"), {}
    for i, (mode, *size) in enumerate(shapes):
        image = drawn(mode, *size, rng, i % 2)
        path = folder / f"{i}{'.png' if IN_FILES[mode] == 'PNG' else '.tiff'}"
        path.write_bytes(image_bytes(image, IN_FILES[mode], path)[0])
        wanted[path.name] = image
    data, count = archive.encode_archive([folder], model=tiny_model, verify=True)
    header, back = decoder.decode_images(data, model=tiny_model)
    assert count == len(back) == len(wanted)
    assert all(
        image.mode == wanted[entry.name].mode
        and same_samples(image.samples, wanted[entry.name].samples)
        for entry, image in zip(header.entries, back)
    )


# --- many small ones -------------------------------------------------------------------------


def test_images_of_one_kind_lie_together(tiny_model, photograph, monkeypatch):
    """Gray and coloured ones of one size, by turns: few segments, not one an image."""
    images = [
        ImageData("RGB", photograph(16, 16, i))
        if i % 2
        else ImageData("L", np.ascontiguousarray(photograph(16, 16, i)[..., 1]))
        for i in range(40)
    ]
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    header = container.read_header(archived(images, tiny_model))
    assert header.model and len(header.segments) < 10


def test_a_single_small_image_is_not_tried(tiny_model, photograph, monkeypatch):
    """Whatever model is at hand, no time goes to what cannot start."""
    monkeypatch.setattr(prior_codec, "encode_stack", lambda *_: pytest.fail("the prior was tried"))
    for image in (ImageData("RGB", photograph(40, 40)), ImageData("L", noise(1)[0][..., 0].copy())):
        encoder.encode_image(image, model=tiny_model, verify=True)
        archived([image, drawn("P", 60, 60, np.random.default_rng(1))], tiny_model)


def test_equal_images_are_coded_once(tiny_model, monkeypatch):
    """The fallback codec runs once for each content; metadata and names are stored of each."""
    asked, coder = [], encode_fallback
    monkeypatch.setattr(
        codec,
        "encode_fallback",
        lambda samples, efforts=(7,): asked.append(samples.shape) or coder(samples, efforts),
    )
    (pixels,) = noise(1)
    archived(
        [ImageData("RGB", pixels)] * 30
        + [ImageData("P", pixels[..., 0].copy(), {"palette": bytes(768)})] * 5,
        tiny_model,
    )
    assert sorted(asked) == [(8, 8), (8, 8, 3)]


def test_of_small_images_nothing_is_sure():
    """A 16x16 crop whose best fallback code is far below a quick WebP: it must be tried."""
    pixels = noise(1, (16, 16))[0]
    quick, best = webp.webp_size(pixels), len(encode_fallback(pixels))
    assert photographs.photographic(pixels, quick) and best < 0.9 * quick
    assert not mode_decision.fallback_hopeless(best + 1, [pixels])


def test_the_fallback_codec_stops_where_it_has_lost(tiny_model, photograph, monkeypatch):
    """Once the fallback codes are as long as the prior's whole file, the rest is not coded and the
    prior's file is returned.
    """
    images, asked, coder = (
        [ImageData("RGB", photograph(16, 16, i)) for i in range(12)],
        [],
        encode_fallback,
    )
    monkeypatch.setattr(Encoder, "_with_prior", lambda *_: (bytes(1000), []))
    monkeypatch.setattr(
        codec,
        "encode_fallback",
        lambda samples, efforts=(7,): (
            asked.append(len(coder(samples, efforts))) or bytes(asked[-1])
        ),
    )
    monkeypatch.setattr(mode_decision, "prior_likely", lambda images, *_: [True] * len(images))
    assert Encoder(tiny_model).encode_many(images, entries_of(images)) == bytes(1000)
    assert sum(asked[:-1]) < 1000 <= sum(asked)


def test_an_archive_of_files_that_need_no_prior(tmp_path, tiny_model):
    """One image of a mode that the prior does not code beside a small one of those it does."""
    Image.fromarray(noise(1)[0]).save(tmp_path / "b.png")
    for mode in ("P", "1", "I;16", "CMYK", "F", "RGBA;16"):
        path = tmp_path / f"a{'.png' if IN_FILES[mode] == 'PNG' else '.tiff'}"
        path.write_bytes(
            image_bytes(drawn(mode, 12, 9, np.random.default_rng(0)), IN_FILES[mode], path)[0]
        )
        data, count = archive.encode_archive([tmp_path], model=tiny_model, verify=True)
        assert count == 2 and not container.read_header(data).model
        path.unlink()
