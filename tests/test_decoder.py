"""decoder.py: altered files never decode to wrong pixels; a file needs its own model."""

from dataclasses import replace

import numpy as np
import pytest

from bitsback.codecs import (
    Encoder,
    decode,
    decode_image,
    decoder,
    encode,
    encode_image,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.decoder import check
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import ENCODER_MAX_PIXELS
from bitsback.coder.chain import Chain
from bitsback.errors import (
    BitsbackError,
    DamagedFile,
    NotOurFile,
    UnsupportedImage,
    VerifyFailed,
    WrongModel,
)
from tests.image_modes import of_mode


def test_a_file_names_its_model(tiny_model, other_model, prior_file, photograph):
    """Decoded with another model, or with none and its own not shipped: WrongModel with the id."""
    data = prior_file(photograph(64, 64))
    for wrong in (other_model, other_model.path, str(other_model.path), None):
        with pytest.raises(WrongModel, match=tiny_model.id[:16]):
            decode(data, model=wrong)


def test_a_model_is_given_as_model_or_path(tiny_model, prior_file, photograph):
    """A Model, a Path or a str of one decode the same."""
    pixels = photograph(48, 48)
    data = prior_file(pixels)
    for model in (tiny_model, tiny_model.path, str(tiny_model.path)):
        assert np.array_equal(decode(data, model=model), pixels)
        assert np.array_equal(decode(encode(pixels, model=model), model=model), pixels)


@pytest.fixture(scope="module")
def parts(prior_file, photograph):
    """(Header, payload) of one file under the prior."""
    return container.read(prior_file(photograph(56, 48, 5)))


def test_altered_words_are_damage_never_wrong_pixels(tiny_model, parts):
    """Words altered anywhere, behind a right CRC: DamagedFile and nothing else."""
    header, payload = parts
    positions = [
        0,
        3,
        4,
        30,
        *range(100, len(payload), len(payload) // 14),
        *range(len(payload) - 4, len(payload)),
    ]
    foreign = []
    for position in positions:
        altered = bytearray(payload)
        altered[position] ^= 1 << position % 8
        try:
            decode(container.write(header, bytes(altered)), model=tiny_model)
            foreign.append((position, "pixels"))
        except DamagedFile:
            pass
        except Exception as error:
            foreign.append((position, repr(error)))
    assert not foreign


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 40, 200, 800])
def test_missing_words_are_damage(tiny_model, parts, cut):
    """Words cut off at either end of the stack, or all of them, behind a right CRC."""
    header, payload = parts
    for words in (payload[:cut], payload[len(payload) - cut :]):
        with pytest.raises(DamagedFile):
            decode(container.write(header, words), model=tiny_model)


@pytest.mark.parametrize("extra", [b"\1\0\0\0", bytes(4), b"\xff" * 12, b"abc"])
def test_added_words_are_damage(tiny_model, parts, extra):
    """Words added at either end, behind a right CRC, are DamagedFile."""
    header, payload = parts
    for words in (payload + extra, extra + payload):
        with pytest.raises(DamagedFile):
            decode(container.write(header, words), model=tiny_model)


def test_altered_headers_are_damage(tiny_model, parts):
    """Each number of the header that decoding uses, altered within its range behind a right
    CRC: DamagedFile, never wrong pixels.
    """
    header, payload = parts
    (first, *rest), (width, height) = header.segments, (header.width, header.height)
    top = list(header.top)
    other_tops = [(top[0] + 1, *top[1:]), (top[0], top[1] - 1, *top[2:]), (0, 0) * 3]
    plans = [
        (),
        ((1, height - header.start[1]),),
        (*rest, first),
        ((0, 1),),
        ((1, 2**20),),
        ((0, 2),),
        ((3 - first[0], first[1]), *rest),
    ]
    sizes = [(height, width), (width, height + 8), (1, 1)]
    changes = [
        {"digest": bytes(8)},
        *({"credit_bytes": n} for n in (header.credit_bytes + 4, header.credit_bytes - 4, 0)),
        *({"start": start} for start in ((0, 0, 0), (0, 16, 16), (0, 8, 16), (1, 0, 0))),
        *({"top": other} for other in other_tops),
        *({"flips": flips} for flips in range(4) if flips != header.flips),
        *({"segments": plan} for plan in plans if plan != header.segments),
        *({"entries": (container.Entry(*size),)} for size in sizes),
    ]
    for change in changes:
        with pytest.raises(DamagedFile):
            decode(container.write(replace(header, **change), payload), model=tiny_model)
            pytest.fail(f"decoded with {change}")


def test_altered_fallback_parts_are_damage(photograph):
    """Each byte of a fallback payload altered, behind a right CRC: DamagedFile, or the very same
    pixels (bytes no pixel depends on).
    """
    pixels = photograph(9, 11)
    header, payload = container.read(encode(pixels))
    outcomes = {"damage": 0, "same": 0}
    for position in range(len(payload)):
        altered = bytearray(payload)
        altered[position] ^= 255
        try:
            assert np.array_equal(decode(container.write(header, bytes(altered))), pixels)
            outcomes["same"] += 1
        except DamagedFile:
            outcomes["damage"] += 1
    assert outcomes["damage"] > 0.9 * len(payload)


@pytest.mark.parametrize("width, height", [(12, 9), (11, 10), (2**20, 2**10), (1, 1)])
def test_a_fallback_file_of_another_size_is_damage(photograph, width, height):
    """A size that is not the payload's is an error before the pixels are unpacked: DamagedFile, or
    UnsupportedImage for more than Pillow's limit."""
    header, payload = container.read(encode(photograph(9, 11)))
    with pytest.raises((DamagedFile, UnsupportedImage)):
        decode(container.write(replace(header, entries=(container.Entry(width, height),)), payload))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"\0",
        b"\0/aaaa",
        b"\1",
        b"\1abc",
        b"\5",
        b"\5\0",
        b"\5\x08",
        b"\5\x08\x01",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_impossible_fallback_parts_are_damage(photograph, payload):
    """Bytes that Pillow cannot read end in DamagedFile."""
    header, _ = container.read(encode(photograph(9, 11)))
    with pytest.raises(DamagedFile):
        decode(container.write(header, payload))


def test_foreign_bytes_are_not_ours():
    """decode of a PNG, of text and of nothing is NotOurFile."""
    for data in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(NotOurFile):
            decode(data)


def test_bytes_in_any_object(photograph):
    """bytes, bytearray, memoryview and arrays of bytes; a path or None is a TypeError."""
    pixels = photograph(9, 7)
    data = encode(pixels)
    for given in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        back = decode(given)
        assert np.array_equal(back, pixels) and back.flags.writeable
        assert np.array_equal(decode_image(given).samples, pixels)
    for wrong in ("x.bbk", None, 5):
        with pytest.raises(TypeError, match="bytes-like"):
            decode(wrong)


def test_a_segment_larger_than_any_encoder_makes_is_damage(tiny_model, monkeypatch):
    """A segment far above ENCODER_MAX_PIXELS is refused before memory for it is allocated."""
    monkeypatch.setattr(Chain, "pop", lambda *_: pytest.fail("decoding was begun"))
    header = container.Header(
        (container.Entry(2**15, 2**12),),
        bytes(8),
        model=tiny_model.id[:16],
        start=(0, 0, 0),
        segments=((1, 2**12),),
        top=(0, 64) * 3,
    )
    assert 2**27 > 16 * ENCODER_MAX_PIXELS
    with pytest.raises(DamagedFile):
        decode(container.write(header, bytes(range(1, 33))), model=tiny_model)


def test_a_decoder_that_errs_is_noticed(photograph, monkeypatch):
    """verify: another image, or none, out of the bytes just made is VerifyFailed."""
    image, cut = of_mode("L", 9, 9, photograph), encode(photograph(3, 3))[:-1]
    with monkeypatch.context() as patch:
        patch.setattr(
            decoder,
            "decode_images",
            lambda data, **_: (None, [ImageData("L", image.samples ^ 1)]),
        )
        with pytest.raises(VerifyFailed, match="another image"):
            encode_image(image, verify=True)
    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "_smallest_file", lambda *_: cut)
        with pytest.raises(VerifyFailed, match="does not decode"):
            encode_image(image, verify=True)


@pytest.mark.parametrize(
    "metadata",
    [{"dpi": [72, 72]}, {"chromaticity": [1.0] * 8}, {"dpi": (float("nan"), 72.0)}],
)
def test_verify_takes_lists_for_the_tuples_of_a_file(metadata):
    """They are what was given; other numbers are not."""
    samples = np.arange(30, dtype=np.uint8).reshape(5, 6)
    data = encode_image(ImageData("L", samples, metadata=metadata), verify=True)
    stored = {key: tuple(map(float, value)) for key, value in metadata.items()}
    assert repr(decode_image(data).metadata) == repr(stored)
    with pytest.raises(VerifyFailed):
        check(data, [ImageData("L", samples, metadata={"dpi": [72, 73]})])


@pytest.mark.parametrize("device", ["cuda:99", "no device", None])
def test_a_device_that_is_not_here(device):
    """It is an error also where a file needs none."""
    data = encode(np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(BitsbackError, match="no such device"):
        decode(data, device=device)
