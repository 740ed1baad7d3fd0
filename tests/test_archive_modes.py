"""Archives of images of any modes and sizes, and what many small ones take: the network sees those of one size together."""

import itertools
import lzma
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitsback.ans.stack import Stack
from bitsback.codecs import archive, prior_codec, suits, whole_file
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import codec, differences
from bitsback.codecs.fallback.codec import Remembered, encode_fallback
from bitsback.codecs.formats.image_files import HOLDS, image_bytes
from bitsback.codecs.image import MODES, ImageData, same, same_samples, shape_of
from bitsback.codecs.rivals import surely_smaller
from bitsback.codecs.segments import planes
from bitsback.coder.context import no_context
from bitsback.coder.top import Top

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
            s.width, s.height, f"{i}.png", check=whole_file.image_check(s.samples), mode=s.mode
        )
        for i, s in enumerate(images)
    )


def archived(images, model):
    """Bytes of an archive, decoded and compared."""
    data = whole_file.encode_images(images, entries_of(images), archive=True, model=model)
    whole_file.check(data, images, model=model)
    header, back = whole_file.decode_images(data, model=model)
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
    """Images of a few pixels, of all modes, two by two, whatever of it suits the prior."""
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
    """Noise and slopes: what the prior suits, with and without company that it does not.  wins: whether the prior is taken where it starts at all."""
    rng = np.random.default_rng(seed)
    images = [drawn(mode, height, width, rng, smooth) for mode, height, width, smooth in shapes]
    suit = (lambda images, *_: [True] * len(images)) if wins else suits.suit_prior
    with (
        patch.object(whole_file, "suit_prior", suit),
        patch.object(whole_file, "surely_smaller", lambda *_: wins),
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
    header, back = whole_file.decode_images(data, model=tiny_model)
    assert count == len(back) == len(wanted)
    assert all(
        image.mode == wanted[entry.name].mode
        and same_samples(image.samples, wanted[entry.name].samples)
        for entry, image in zip(header.entries, back)
    )


# --- many small ones -------------------------------------------------------------------------


def noise(count, size=(8, 8), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8))


def trunks(model, monkeypatch):
    """A list of the numbers of images that the network is asked at once, from now on."""
    network, asked = model.chain().network, []
    trunk = network.trunk
    monkeypatch.setattr(network, "trunk", lambda index, y: asked.append(len(y)) or trunk(index, y))
    return asked


def test_small_images_are_tried_together(tiny_model, monkeypatch):
    """Forty images of noise pass the network once a level, not forty times; those of another size once more."""
    asked = trunks(tiny_model, monkeypatch)
    images = [ImageData("RGB", pixels) for pixels in noise(40) + noise(3, (5, 9))]
    assert suits.suit_prior(images, tiny_model, "cpu") == [False] * 43
    assert sorted(asked) == [3] * len(tiny_model.levels) + [40] * len(tiny_model.levels)


def test_a_batch_is_no_larger_than_one_trial(tiny_model, monkeypatch):
    """Memory: images of many pixels in several batches, with the answers of one at a time."""
    images = [ImageData("RGB", pixels) for pixels in noise(5, (16, 16))]
    one_by_one = [suits.suit_prior([image], tiny_model, "cpu")[0] for image in images]
    monkeypatch.setattr(suits, "TRIAL", 24)
    asked = trunks(tiny_model, monkeypatch)
    assert suits.suit_prior(images, tiny_model, "cpu") == one_by_one and sorted(set(asked)) == [
        1,
        2,
    ]


def test_bits_of_a_trial_are_what_the_stack_grows_by(tiny_model, photograph):
    """Of one image and of several, but for what other random bits make of it; each its own."""
    crops = np.stack([photograph(24, 16), noise(1, (24, 16))[0], np.full((24, 16, 3), 9, np.uint8)])
    for some in (crops[:1], crops):
        x = planes(some)
        stack = Stack(np.random.default_rng(0).bytes(len(tiny_model.levels) * x.size + 64))
        before = stack.size_bits
        tiny_model.chain().push(stack, x, Top.fitted(list(some), tiny_model.levels), no_context(x))
        bits = suits.prior_bits(some, tiny_model, "cpu")
        assert abs(bits.sum() / (stack.size_bits - before) - 1) < 0.06
    alone = [suits.prior_bits(crop[None], tiny_model, "cpu")[0] for crop in crops]
    assert np.allclose(bits, alone, rtol=0.06) and max(alone) > 1.5 * min(alone)


def test_images_of_one_kind_lie_together(tiny_model, photograph, monkeypatch):
    """Gray and coloured ones of one size, by turns: few segments, not one an image."""
    images = [
        ImageData("RGB", photograph(16, 16, i))
        if i % 2
        else ImageData("L", np.ascontiguousarray(photograph(16, 16, i)[..., 1]))
        for i in range(40)
    ]
    monkeypatch.setattr(whole_file, "surely_smaller", lambda *_: True)
    header = container.read_header(archived(images, tiny_model))
    assert header.model and len(header.segments) < 10


def test_a_single_small_image_is_not_tried(tiny_model, photograph, monkeypatch):
    """Whatever model is at hand, no time goes to what cannot start."""
    monkeypatch.setattr(prior_codec, "encode_stack", lambda *_: pytest.fail("the prior was tried"))
    for image in (ImageData("RGB", photograph(40, 40)), ImageData("L", noise(1)[0][..., 0].copy())):
        whole_file.encode_image(image, model=tiny_model, verify=True)
        archived([image, drawn("P", 60, 60, np.random.default_rng(1))], tiny_model)


def test_equal_images_are_coded_once(tiny_model, monkeypatch):
    """Conventional coding of an archive: once for each content; metadata and names are told of each."""
    asked, coder = [], encode_fallback
    monkeypatch.setattr(
        codec,
        "encode_plain",
        lambda samples, patient=True: asked.append(samples.shape) or coder(samples, patient),
    )
    (pixels,) = noise(1)
    archived(
        [ImageData("RGB", pixels)] * 30
        + [ImageData("P", pixels[..., 0].copy(), {"palette": bytes(768)})] * 5,
        tiny_model,
    )
    assert sorted(asked) == [(8, 8), (8, 8, 3)]


def test_what_is_remembered_is_what_would_be_made():
    """Of every shape, dtype and way: (H, W, 1) as (H, W), patience apart, equal bytes of another shape or dtype apart; large arrays are not kept."""
    remembered, rng = Remembered(), np.random.default_rng(0)
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
        for patient in (True, False):
            assert (
                remembered(array, patient)
                == remembered(array, patient)
                == encode_fallback(array, patient)
            )
    assert remembered(block.view("<i4")) == remembered(block.view("<i4")[..., 0])
    with (
        patch.object(codec, "REMEMBERED", 63),
        patch.object(codec, "encode_plain", lambda *_: b"made anew"),
    ):
        assert remembered(block) == b"made anew"


def test_a_small_dictionary_changes_nothing():
    """LZMA with a dictionary as long as the data: the same bytes as with the whole one, which takes twenty times as long to clear."""
    rng = np.random.default_rng(0)
    for length in (1, 192, 4095, 4097, 70000):
        data = np.repeat(rng.integers(0, 40, length, dtype=np.uint8), 3).tobytes()[:length]
        made = lzma.compress(data, lzma.FORMAT_RAW, filters=differences._filters(length))
        assert made == lzma.compress(data, lzma.FORMAT_RAW, filters=differences.FILTERS)
    assert (
        differences._filters(192)[0]["dict_size"] == 4096
        and differences._filters(2**30) == differences.FILTERS
    )


def test_of_small_images_nothing_is_sure():
    """A crop of 16x16 whose best fallback codec is smaller than 0.8 of a quick WebP: it must be tried."""
    pixels = noise(1, (16, 16))[0]
    quick, best = codec.webp_size(pixels), len(encode_fallback(pixels))
    assert codec.photographic(pixels, quick) and best < 0.9 * quick
    assert not surely_smaller(best + 1, [pixels])


def test_conventional_coding_stops_where_it_has_lost(tiny_model, photograph, monkeypatch):
    """Once what is coded is as long as the prior's whole file, the rest need not be coded; the prior's file is what comes out."""
    images, asked, coder = (
        [ImageData("RGB", photograph(16, 16, i)) for i in range(12)],
        [],
        encode_fallback,
    )
    monkeypatch.setattr(whole_file, "_under_prior", lambda *_: (bytes(1000), []))
    monkeypatch.setattr(
        codec,
        "encode_plain",
        lambda samples, patient=True: (
            asked.append(len(coder(samples, patient))) or bytes(asked[-1])
        ),
    )
    monkeypatch.setattr(whole_file, "suit_prior", lambda images, *_: [True] * len(images))
    assert whole_file.encode_images(
        images, entries_of(images), archive=True, model=tiny_model
    ) == bytes(1000)
    assert sum(asked[:-1]) < 1000 <= sum(asked)


def test_an_archive_of_files_that_need_no_prior(tmp_path, tiny_model):
    """One image of a mode that the prior does not code beside small ones of those it does: any of them, by --archive's own way."""
    Image.fromarray(noise(1)[0]).save(tmp_path / "b.png")
    for mode in ("P", "1", "I;16", "CMYK", "F", "RGBA;16"):
        path = tmp_path / f"a{'.png' if IN_FILES[mode] == 'PNG' else '.tiff'}"
        path.write_bytes(
            image_bytes(drawn(mode, 12, 9, np.random.default_rng(0)), IN_FILES[mode], path)[0]
        )
        data, count = archive.encode_archive([tmp_path], model=tiny_model, verify=True)
        assert count == 2 and not container.read_header(data).model
        path.unlink()
