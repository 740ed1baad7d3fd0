"""Encoder: the model asked for, opened once and only when needed."""

import pickle
from dataclasses import replace

import click
import numpy as np
import pytest

import bitsback.codecs
from bitsback.cli.devices import torch_devices
from bitsback.codecs import (
    Encoder,
    decode,
    decode_image,
    decoder,
    encode,
    encode_image,
    mode_decision,
    prior_codec,
    read_header,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.checksums import image_check
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.image import ImageData, same
from bitsback.coder.model import Model
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS
from bitsback.errors import BitsbackError, UnsupportedImage, VerifyFailed, WrongModel
from bitsback.integer import installed
from tests.test_fallback_codec import drawn
from tests.test_round_trip import fallback_file


def archived(encoder, arrays, **options):
    images = [ImageData("RGB", pixels) for pixels in arrays]
    entries = tuple(
        Entry(image.width, image.height, str(i), check=image_check(image.samples))
        for i, image in enumerate(images)
    )
    return encoder.encode_many(images, entries, **options), images


def test_the_functions_are_wrappers(tiny_model, photograph):
    """Same bytes by Encoder, encode and encode_image; an array is the RGB image of a PNG."""
    pixels = photograph(64, 64)
    data = Encoder(tiny_model).encode(pixels)
    assert data == Encoder(tiny_model.path, tuning=0).encode(ImageData("RGB", pixels, source="PNG"))
    assert data == encode(pixels, model=tiny_model)
    assert data == encode_image(ImageData("RGB", pixels, source="PNG"), model=tiny_model)


def test_public_names():
    """All are found, though imported late; others are an AttributeError."""
    for name in bitsback.codecs.__all__:
        assert getattr(bitsback.codecs, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'encode_many'"):
        bitsback.codecs.encode_many


def test_a_model_is_opened_once_and_late(tiny_model, photograph, monkeypatch):
    """A small image needs none; the first large one opens it."""
    opened, open_model = [], Model.open
    monkeypatch.setattr(
        Model, "open", lambda *arguments: opened.append(arguments) or open_model(*arguments)
    )
    encoder = Encoder(tiny_model.path, verify=True)
    encoder.encode(photograph(20, 20))
    archived(encoder, [np.zeros((20, 20, 3), np.uint8)])
    assert not opened
    for seed in range(2):
        encoder.encode(photograph(64, 64, seed))
    archived(encoder, [photograph(64, 64)])
    assert opened == [(tiny_model.path,)]
    assert encoder.open_model() is encoder.open_model()


@pytest.mark.parametrize("effort", EFFORTS)
def test_efforts(effort, tiny_model):
    """An effort sets model and tuning, unless these are given; an unknown one is a ValueError."""
    encoder = Encoder(effort=effort)
    assert encoder.tuning == EFFORTS[effort].tuning
    assert encoder.open_model().id == Model.open(EFFORTS[effort].model).id
    assert Encoder(tiny_model, effort=effort, tuning=3).open_model() is tiny_model
    assert Encoder(tiny_model, effort=effort, tuning=3).tuning == 3
    with pytest.raises(ValueError, match="'huge'.*" + effort):
        Encoder(effort="huge")


def entry(name="a", width=8, mode="L"):
    return container.Entry(width, 8, name, mode=mode)


@pytest.mark.parametrize(
    "entries, message",
    [
        ((), "2 images and 0 entries"),
        ((entry(),), "2 images and 1 entries"),
        ((entry(), entry()), "one name"),
        ((entry(), entry("b", 7)), "b: an entry of 7x8, L, for an image of 8x8, L"),
        ((entry(), entry("b", mode="RGB")), "RGB, for an image"),
        ((entry(), entry("\ud800")), "not a name"),
        ((entry(), entry("../b")), "not a name"),
        ((entry(), entry("")), "not a name"),
        ((entry(), entry("a/")), "not a plain path, such as 'a'"),  # one path for two images
        ((entry(), entry("./a")), "not a plain path"),
        ((entry(), entry("b//a")), "not a plain path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_entries_that_are_not_the_images(entries, message):
    """One clear error before any work; checks are the encoder's affair, not the caller's."""
    images = [ImageData("L", np.full((8, 8), value, np.uint8)) for value in (1, 2)]
    with pytest.raises(UnsupportedImage, match=message):
        Encoder().encode_many(images, entries)


def test_entries_that_are_the_images():
    """Two images of two names; of none there is no file."""
    images = [ImageData("L", np.full((8, 8), value, np.uint8)) for value in (1, 2)]
    with pytest.raises(UnsupportedImage, match="0 images"):
        Encoder().encode_many([], ())
    _, back = decode_images(Encoder().encode_many(images, (entry(), entry("b"))))
    assert sorted(int(image.samples[0, 0]) for image in back) == [1, 2]


@pytest.mark.parametrize("tuning", [-1, "x", 1.5])
def test_tuning_that_is_none(tuning):
    """A ValueError at once, not when an image needs it."""
    with pytest.raises(ValueError, match="not a number of steps"):
        Encoder(tuning=tuning)


def test_tuning_of_numpys_integers():
    assert Encoder(tuning=np.int64(2)).tuning == 2


def test_efforts_by_number():
    """Numbers and names in any case are aliases."""
    assert Encoder(effort=9).tuning == Encoder(effort="MAX").tuning == EFFORTS["max"].tuning
    assert Encoder(effort="9").tuning > 0 == Encoder(effort=1).tuning


def test_bias_updates_that_do_not_pay_are_left_out(tiny_model, photograph, monkeypatch):
    """The encoder codes with them and without, and keeps the smaller file."""
    size = sum(len(layer.shift) for layer in tiny_model.layers.values())
    for scale, kept in ((0, False), (40, False)):
        updates = np.full(size, scale, np.int32)
        found = lambda model, images, steps, **_: updates if steps else None  # noqa: B023, E731
        monkeypatch.setattr(prior_codec, "tune", found)
        monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
        pixels = photograph(64, 64)
        data, without = (Encoder(tiny_model, tuning=n).encode(pixels) for n in (1, 0))
        header = container.read_header(data)
        assert header.model and bool(header.section(Tag.BIAS_UPDATES)) == kept
        assert data == without and np.array_equal(decode(data, model=tiny_model), pixels)


def test_defaults(tiny_model):
    """Nothing given: the shipped default model, tuned as the default effort says."""
    assert Encoder().tuning == EFFORTS[DEFAULT_EFFORT].tuning
    assert Encoder().open_model().id == Model.open().id


def test_many_images_are_an_archive(tiny_model, photograph):
    """Of one image too; they come back by name, and progress rises."""
    for count in (1, 3):
        arrays, shares = [photograph(40, 48, seed) for seed in range(count)], []
        data, images = archived(Encoder(tiny_model), arrays, progress=shares.append)
        header, back = decode_images(data, model=tiny_model)
        assert header.archive and all(
            same(image, ImageData("RGB", images[int(entry.name)].samples, source="PNG"))
            for entry, image in zip(header.entries, back)
        )
        assert all(a < b for a, b in zip(shares, shares[1:]))
        with pytest.raises(UnsupportedImage, match="archive"):
            decode_image(data, model=tiny_model)


def test_verification(tiny_model, photograph, monkeypatch):
    """verify=True decodes what was made, of one image and of many; else nothing is decoded."""

    monkeypatch.setattr(decoder, "_is_held", lambda image, given: False)
    pixels = photograph(20, 20)
    for verify in (False, True):
        encoder = Encoder(tiny_model, verify=verify)
        for make in (lambda: encoder.encode(pixels), lambda: archived(encoder, [pixels])):
            if verify:
                with pytest.raises(VerifyFailed):
                    make()
            else:
                make()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.int32),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.ma.masked_array(np.zeros((4, 4, 3), np.uint8), mask=True),
        [[[1, 2, 3]]],
        None,
    ],
    ids=lambda p: f"{getattr(p, 'dtype', type(p).__name__)}{getattr(p, 'shape', '')}",
)
def test_other_arrays_are_refused(tiny_model, pixels):
    """Anything but (H, W, 3) uint8 with pixels in it is UnsupportedImage."""
    with pytest.raises(UnsupportedImage):
        encode(pixels, model=tiny_model)


def test_headers_of_any_buffer(photograph):
    data = encode(photograph(9, 11))
    for buffer in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert read_header(buffer) == read_header(data)


def test_a_model_that_is_none_is_an_error(tmp_path, photograph):
    """A name that is no model, and a file that is not one: WrongModel, which names it."""
    (tmp_path / "text.safetensors").write_text("hello")
    for name in (tmp_path / "text.safetensors", tmp_path / "nowhere", "no-such-model"):
        with pytest.raises(WrongModel, match=str(name).rsplit("/", 1)[-1]):
            encode(photograph(64, 64), model=name)


def test_fallback_files_need_no_model(photograph, tmp_path, monkeypatch):
    """A small image is coded and decoded where no model is at hand."""
    pixels = photograph(20, 30)
    monkeypatch.setattr(installed, "MODELS", tmp_path)
    for options in ({}, {"effort": "fast"}):
        assert np.array_equal(decode(encode(pixels, **options), model="no-such-model"), pixels)


def test_a_wrong_model_or_device_is_an_error_for_small_images_too(photograph):
    """Which need neither: else the error came with the first large one."""
    for options in (
        {"model": "no-such-model"},
        {"model": 3},
        {"device": "xx"},
        {"device": "cuda:99"},
    ):
        with pytest.raises(BitsbackError, match=str(*options.values())):
            encode(photograph(20, 30), **options)


@pytest.mark.parametrize("kind", ["tiles", "ramp", "photograph"])
def test_a_prior_larger_than_the_fallback_codec_is_not_kept(
    tiny_model, photograph, monkeypatch, kind
):
    """A byte more than fallback codec, and that is taken; far fewer, and the prior is."""
    pixels = drawn(photograph)[kind].astype(np.uint8)
    best, more = len(fallback_file(pixels)), 1

    def pretended(images, header, model, *_):
        full = replace(header, model=model.id[:16], segments=((1, 128),), top=(0,) * 6)
        return full, bytes(best + more - len(container.write(full, b"")))

    monkeypatch.setattr(prior_codec, "encode_stack", pretended)
    assert encode(pixels, model=tiny_model) == fallback_file(pixels)
    more = -best // 4
    assert len(encode(pixels, model=tiny_model)) == best + more


def test_drawings_are_not_tried(monkeypatch):
    """Few colours in many pixels: no time goes to the prior, not even a model is opened."""
    monkeypatch.setattr(Model, "open", lambda *_, **__: pytest.fail("a model was opened"))
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[::7, :, 1] = 255
    assert np.array_equal(decode(encode(pixels)), pixels)


def test_encoders_travel_to_other_processes(tiny_model, photograph):
    """Also after their model was opened, which is opened again there."""
    made = Encoder(tiny_model, effort="fast", tuning=3, verify=True)
    made.open_model()
    there = pickle.loads(pickle.dumps(made))
    assert there.options == made.options and there.open_model().id == tiny_model.id
    assert there.encode(photograph(9, 11)) == made.encode(photograph(9, 11))


@pytest.mark.parametrize("device", ["hpu", "privateuseone", "xla", "nonsense"])
def test_devices_that_are_not_here(device, prior_file, tiny_model, photograph):
    """Whatever torch raises for them: to the encoder, to the decoder, and to the commands."""
    with pytest.raises(BitsbackError, match="no such device"):
        Encoder(device=device)
    with pytest.raises(BitsbackError, match="no such device"):
        decode(prior_file(photograph(64, 64)), model=tiny_model, device=device)
    with pytest.raises(click.UsageError, match=f"--device {device}"):
        torch_devices(device)
