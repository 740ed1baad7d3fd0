"""Settings that threads share, and processes forked while a thread has changed them."""

import multiprocessing
import threading
import warnings
from contextlib import contextmanager

import pytest

from bitsback.codecs.formats.image_files import read_image
from bitsback.shared_block import SharedBlock, without_warnings
from tests.test_locks import FORK, in_a_child

SETTINGS = {"inside": 0}


@contextmanager
def counted():
    SETTINGS["inside"] += 1
    yield
    SETTINGS["inside"] -= 1


def test_overlapping_blocks():
    """The first in changes the settings, the last out restores them, whoever began."""
    block, entered, leave = SharedBlock(counted), threading.Event(), threading.Event()

    def overlap():
        with block:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=overlap)
    with block, block:
        thread.start()
        entered.wait()
        assert SETTINGS["inside"] == 1
    assert SETTINGS["inside"] == 1
    leave.set()
    thread.join()
    assert SETTINGS["inside"] == 0 and not block._inside
    with pytest.raises(ZeroDivisionError), block:
        1 / 0
    assert SETTINGS["inside"] == 0


@pytest.mark.skipif(not FORK, reason="no fork here")
def test_a_forked_process_has_its_own_settings():
    """They are restored there where another thread had changed them, and stay where its own had."""
    block, entered, leave = SharedBlock(counted), threading.Event(), threading.Event()

    def overlap():
        with block:
            entered.set()
            leave.wait()

    def child(inside):
        assert SETTINGS["inside"] == inside
        with block:
            assert SETTINGS["inside"] == 1

    thread = threading.Thread(target=overlap)
    thread.start()
    entered.wait()
    try:
        assert in_a_child(child, 0)
        with block:
            assert in_a_child(child, 1)
    finally:
        leave.set()
        thread.join()
    assert SETTINGS["inside"] == 0 and multiprocessing.active_children() == []


def test_warnings_after_threads(inputs):
    """Of a reader in two threads, of which the first ends last: warnings are as before."""
    before, entered, leave = list(warnings.filters), threading.Event(), threading.Event()

    def hold():
        with without_warnings():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    with without_warnings():
        thread.start()
        entered.wait()
        read_image(inputs / "a.png", "a.png")
    leave.set()
    thread.join()
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard")


def test_no_block_of_warnings_is_a_thread_of_its_own():
    """The library has none but the shared one."""
    from tests.test_conventions import MODULES, relative

    users = [relative(m) for m in MODULES if "catch_warnings" in m.read_text("utf-8")]
    assert users == ["bitsback/shared_block.py"]
