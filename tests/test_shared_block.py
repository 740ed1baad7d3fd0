"""Settings that threads share, and processes forked while a thread has changed them."""

import multiprocessing
import warnings
from contextlib import ExitStack, contextmanager

import pytest

from bitsback.codecs.formats.image_files import read_image
from bitsback.shared_block import SharedBlock, without_warnings
from tests.test_conventions import MODULES, relative
from tests.test_locks import FORK, another_thread_in, in_a_child

SETTINGS = {"inside": 0}


@contextmanager
def counted():
    SETTINGS["inside"] += 1
    yield
    SETTINGS["inside"] -= 1


def test_overlapping_blocks():
    """The first in changes the settings, the last out restores them, whoever began."""
    block = SharedBlock(counted)
    with ExitStack() as other:
        with block, block:
            other.enter_context(another_thread_in(block))
            assert SETTINGS["inside"] == 1
        assert SETTINGS["inside"] == 1
    assert SETTINGS["inside"] == 0 and not block._inside
    with pytest.raises(ZeroDivisionError), block:
        1 / 0
    assert SETTINGS["inside"] == 0


@pytest.mark.skipif(not FORK, reason="no fork here")
def test_a_forked_process_has_its_own_settings():
    """They are restored there where another thread had changed them, and stay where its own had."""
    block = SharedBlock(counted)

    def child(inside):
        assert SETTINGS["inside"] == inside
        with block:
            assert SETTINGS["inside"] == 1

    with another_thread_in(block):
        assert in_a_child(child, 0)
        with block:
            assert in_a_child(child, 1)
    assert SETTINGS["inside"] == 0 and multiprocessing.active_children() == []


def test_warnings_after_threads(inputs):
    """Of a reader in two threads, of which the first ends last: warnings are as before."""
    before = list(warnings.filters)
    with ExitStack() as other, without_warnings():
        other.enter_context(another_thread_in(without_warnings()))
        read_image(inputs / "a.png", "a.png")
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard")


def test_no_block_of_warnings_is_a_thread_of_its_own():
    """The library has none but the shared one."""
    users = [relative(m) for m in MODULES if "catch_warnings" in m.read_text("utf-8")]
    assert users == ["bitsback/shared_block.py"]
