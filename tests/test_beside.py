"""beside.py: helpers change neither files nor errors, and end with the work they were begun for."""

import threading
import time

import numpy as np
import pytest
import torch

from bitsback import beside
from bitsback.beside import at_once, helper_count, later, threads
from bitsback.codecs import encoder, mode_decision, prior_codec
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.image import ImageData
from bitsback.errors import MissingPackage
from tests.few_threads import at_most


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("beside")]


def test_results_and_errors():
    """All three ways: once computed, the same result; an error where the result is asked for."""
    with threads(2) as helped:
        for begin in (helped, later, at_once):
            calls = []
            result = begin(lambda a, calls=calls: calls.append(a) or a + 1, 4)
            assert result() == result() == 5 and calls == [4]
        for begin in (helped, later):
            result = begin(int, "no number")
            for _ in range(2):
                with pytest.raises(ValueError, match="no number"):
                    result()
    assert not alive()


def test_what_nobody_asks_for_is_not_done():
    """Without helpers; with them it is dropped if it has not begun when the block ends."""
    calls, begun, hold = [], threading.Event(), threading.Event()
    later(calls.append, 1)
    with threads(0) as begin:
        assert begin is later and not alive()
    with threads(1) as begin:
        first = begin(lambda: begun.set() or hold.wait(10))
        begin(calls.append, 2)
        assert begun.wait(10)
        threading.Timer(0.05, hold.set).start()
    assert not calls and first() and not alive()


def test_errors_and_ctrl_c_end_the_helpers():
    for error in (KeyboardInterrupt, MemoryError):
        done, begun = [], threading.Event()
        with pytest.raises(error), threads(2) as begin:
            begin(lambda: begun.set() or time.sleep(0.05) or done.append(1))  # noqa: B023
            assert begun.wait(10)
            raise error
        assert not alive() and done == [1]


@pytest.mark.parametrize("most", [0, 1])
def test_where_no_thread_can_be_started(most, tiny_model, images, monkeypatch):
    """The file that helpers would have made, by those there are, or by none."""
    right = Encoder(tiny_model).encode(images[0])
    started = at_most(monkeypatch, most, "beside")
    monkeypatch.setattr(beside, "helper_count", lambda: 3)
    with threads(3) as begin:
        assert (begin is later) == (most == 0)
        assert [begin(abs, -i)() for i in range(5)] == [0, 1, 2, 3, 4]
    started.clear()
    assert Encoder(tiny_model).encode(images[0]) == right and not alive()


def test_helpers_only_of_several_threads(monkeypatch):
    """None where torch is told to use one thread."""
    for count, expected in ((1, 0), (2, 1), (4, 3), (16, beside.MOST_HELPERS)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert helper_count() == expected


@pytest.fixture
def images(photograph):
    """One with flat blocks, one with alpha."""
    flat = photograph(64, 72)
    flat[:24, :40] = 255
    alpha = np.dstack([photograph(48, 48, 3), np.full((48, 48), 7, np.uint8)])
    return [ImageData("RGB", flat), ImageData("RGBA", alpha)]


def test_the_files_are_the_same(tiny_model, images, monkeypatch):
    """Of each image, and of an archive of all: what helpers do changes no byte."""
    monkeypatch.setattr(prior_codec, "sharpness_of", lambda *_: 2)
    entries = tuple(
        encoder.dataclasses.replace(encoder._entry(image), name=f"{i}.png")
        for i, image in enumerate(images)
    )
    files = {}
    for count in (0, 3):
        monkeypatch.setattr(beside, "helper_count", lambda count=count: count)
        coder = Encoder(tiny_model)
        files[count] = [coder.encode(image) for image in images]
        files[count].append(coder.encode_many(images, entries))
        assert not alive()
    assert files[0] == files[3]


def test_the_estimate_begins_before_the_prior(tiny_model, photograph, monkeypatch):
    """With helpers JPEG XL is estimated while the prior codes; without them afterwards, if at all.

    An error in a helper is that of the encoder, if the estimate is asked for.
    """
    image, seen, done = ImageData("RGB", photograph(104, 100)), [], threading.Event()
    stack = prior_codec.encode_stack

    def jxl_size(*_):
        seen.append("estimate")
        done.set()
        raise MissingPackage("needs the package imagecodecs")

    def encode_stack(*arguments):
        if count:
            assert done.wait(10)
        seen.append("prior")
        return stack(*arguments)

    monkeypatch.setattr("bitsback.codecs.fallback.jxl.jxl_size", jxl_size)
    monkeypatch.setattr(prior_codec, "encode_stack", encode_stack)
    for count, expected in ((0, ["prior", "estimate"]), (1, ["estimate", "prior"])):
        done.clear()
        seen.clear()
        monkeypatch.setattr(beside, "helper_count", lambda count=count: count)
        with pytest.raises(MissingPackage):
            Encoder(tiny_model).encode(image)
        assert list(dict.fromkeys(seen)) == expected and not alive()
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    assert Encoder(tiny_model).encode(image)
