"""Names of the images of an archive."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.codecs.bitstream.names import is_name


@given(st.binary(max_size=12))
def test_every_name_of_a_file_is_one(data):
    """As os.fsdecode makes it: bytes that are not UTF-8 become U+DC80 to U+DCFF."""
    name = data.decode(errors="surrogateescape")
    assert is_name(name) and name.encode(errors="surrogateescape") == data


@given(st.text(max_size=12))
def test_every_unicode_text_is_one(text):
    assert is_name(text)


@pytest.mark.parametrize("name", ["\ud800", "a\udfff", "\udc7f", "\udd00"])
def test_other_surrogates_are_none(name):
    assert not is_name(name)


def test_escapes_that_add_up_to_utf8_are_none():
    """Or two names would be those of one file."""
    escaped = "".join(chr(0xDC00 + byte) for byte in "\u00e4".encode())
    assert os.fsencode(escaped) == os.fsencode("\u00e4")
    assert not is_name(escaped) and is_name(escaped[:1])
