"""Files whose payload lies, under a correct checksum: one clear error each, and bounded work."""

import dataclasses
import time

import numpy as np
import pytest

from bitsback.ans.lanes import Lanes
from bitsback.codecs import decoder, prior_codec, segments
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.errors import DamagedFile
from bitsback.integer.network import IntegerExperts

NO_STACK = "not the words of a stack"
TOO_EARLY = "the words end too early"
NO_PIXELS = "the words decode to values that are no pixels"
NO_FREQUENCY = "a value lies where its distribution has no frequency"
NOT_CLOSED = "the lanes do not end where they began"
NO_CREDIT = "the stack does not end where it began"
NO_CHECKSUM = "the pixels do not match their checksum"
# A wrong symbol is found out by one of these, whichever comes first
WRONG_SYMBOLS = {TOO_EARLY, NO_PIXELS, NO_FREQUENCY, NOT_CLOSED}


def coded(pixels, model):
    """(Header, payload) under the prior."""
    header = Header((Entry(pixels.shape[1], pixels.shape[0]),), pixel_digest([pixels]))
    return prior_codec.encode_stack([pixels], header, model)


def error_of(header, payload, model):
    """The message of the DamagedFile that a file of this payload raises."""
    with pytest.raises(DamagedFile) as caught:
        decoder.decode(container.write(header, payload), model=model)
    return str(caught.value)


@pytest.fixture(scope="module", params=[1, 5], ids=["one lane", "five lanes"])
def lanes(request):
    """How many lanes the file below ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SAMPLES_PER_LANE", 3 * (72 * 88 - 8 * 8) // request.param)
        yield request.param


@pytest.fixture(scope="module")
def file(lanes, tiny_model, photograph):
    """(Header, payload, bytes of the closing): several segments after a start of 8x8 pixels."""
    header, payload = coded(photograph(72, 88), tiny_model)
    message = Lanes.from_bytes(payload, lanes)
    assert len(header.segments) > 1 and header.start[1:] == (8, 8)
    assert np.array_equal(
        decoder.decode(container.write(header, payload), model=tiny_model), photograph(72, 88)
    )
    return header, payload, len(payload) - 4 * message.count


@pytest.mark.parametrize("many", [1, 3])
def test_a_lane_that_does_not_end_where_it_began(lanes, tiny_model, photograph, monkeypatch, many):
    """An encoder that pushed more than the segments: all pixels come out, and a lane holds more."""
    widen = Lanes.widen

    def and_push(self, lanes):
        first = not len(self)
        widen(self, lanes)
        if first:
            self.push_uniform(np.arange(many), 20)

    with monkeypatch.context() as patch:
        patch.setattr(Lanes, "widen", and_push)
        header, payload = coded(photograph(72, 88), tiny_model)
    assert error_of(header, payload, tiny_model) == NOT_CLOSED


def test_payloads_that_end_early(file, tiny_model):
    """Inside the closing; between words and inside them."""
    header, payload, closing = file
    words = [*range(closing, len(payload), 4 * 331)][1:]
    for length in [
        *range(0, closing, 5),
        closing - 1,
        *words,
        *(n + i for n in words for i in (1, 3)),
    ]:
        found = error_of(header, payload[:length], tiny_model)
        if length < header.credit_bytes:  # which lies in it
            assert found == "a number in the header is out of range"
        elif length in words:
            assert found in WRONG_SYMBOLS, (length, found)
        else:
            assert found == NO_STACK, (length, found)
    zero = dataclasses.replace(header, credit_bytes=0)
    for length in range(closing):
        assert error_of(zero, payload[:length], tiny_model) == NO_STACK


def test_words_missing_or_added_below_all_others(file, tiny_model):
    """The credit is another, though every segment decodes to its pixels."""
    header, payload, closing = file
    head, words = payload[:closing], payload[closing:]
    assert error_of(header, head + words[:-4], tiny_model) == NO_CREDIT
    assert error_of(header, head + words + bytes(4), tiny_model) == NO_CREDIT
    few = error_of(header, head + words[: -(header.credit_bytes & ~3)], tiny_model)
    assert few in {TOO_EARLY, NO_CREDIT}


def test_closings_that_lie(file, lanes, tiny_model):
    """Each bit of the exponents, which then claim other lengths, and bits of the states."""
    header, payload, closing = file
    found = set()
    for bit in [*range(5 * lanes), *range(5 * lanes, 8 * closing, 3), 8 * closing - 1]:
        altered = bytearray(payload)
        altered[bit // 8] ^= 0x80 >> bit % 8
        message = error_of(header, bytes(altered), tiny_model)
        assert message in WRONG_SYMBOLS | {NO_STACK}, (bit, message)
        found.add(message)
    assert NO_STACK in found and found & WRONG_SYMBOLS


@pytest.mark.parametrize("state", [2**31, 2**32, 2**63 - 1])
def test_states_that_no_encoder_left(file, lanes, tiny_model, state):
    """In every lane, well closed, above the words of the file."""
    header, payload, _ = file
    message = Lanes.from_bytes(payload, lanes)
    message.state[:] = state
    assert error_of(header, message.to_bytes(), tiny_model) in WRONG_SYMBOLS


def test_another_number_of_lanes(file, lanes, tiny_model):
    """It follows from the header's sizes: a closing of more or fewer lanes is another message."""
    header, payload, _ = file
    message = Lanes.from_bytes(payload, lanes)
    message.widen(lanes + 1)
    assert error_of(header, message.to_bytes(), tiny_model) in WRONG_SYMBOLS | {NO_STACK}


def test_words_of_noise(file, lanes, tiny_model):
    """Random words under a good closing, and random bytes for all: never other pixels."""
    header, payload, closing = file
    rng = np.random.default_rng(lanes)
    for _ in range(4):
        noise = rng.bytes(len(payload))
        assert error_of(header, payload[:closing] + noise[closing:], tiny_model) in WRONG_SYMBOLS
        assert error_of(header, noise, tiny_model) in WRONG_SYMBOLS | {NO_STACK}


@pytest.mark.parametrize("size", [0, 3, 40, 2000, 40_000])
def test_few_bytes_claim_a_large_image(tiny_model, monkeypatch, size):
    """Hundreds of lanes, millions of pixels: refused before the network sees any of them."""
    monkeypatch.setattr(IntegerExperts, "trunk", lambda *_: pytest.fail("the network was asked"))
    header = Header(
        (Entry(2**14, 2**14),),
        bytes(8),
        model=tiny_model.id[:16],
        segments=((1, 128),) * 128,
        lanes=LaneRule(1024, 4096),
        top=(0, 64) * 3,
    )
    most = header.lanes.count(3 * 2**28)
    assert most == 4096
    sizes = [bytes(size), b"\xff" * size, np.random.default_rng(size).bytes(size)]
    begin = time.perf_counter()
    for payload in sizes:
        message = error_of(header, payload, tiny_model)
        assert message in {NO_STACK, "the words are too few for the pixels they claim"}
    assert time.perf_counter() - begin < 5


def test_the_most_lanes_over_no_words(tiny_model):
    """4,096 states that are well closed, and nothing below: one error, in bounded time."""
    message = Lanes()
    message.state = np.full(4096, 2**63 - 1)
    header = Header(
        (Entry(2**14, 2**14),),
        bytes(8),
        model=tiny_model.id[:16],
        segments=((1, 128),) * 128,
        lanes=LaneRule(1024, 4096),
        top=(0, 64) * 3,
    )
    begin = time.perf_counter()
    found = error_of(header, message.to_bytes(), tiny_model)
    assert found == "the words are too few for the pixels they claim"
    assert time.perf_counter() - begin < 5
