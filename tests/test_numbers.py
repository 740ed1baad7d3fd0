"""LEB128 numbers of a file, and the Reader that takes them off the front."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.errors import DamagedFile


@pytest.mark.parametrize(
    "value, data",
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (2**14, b"\x80\x80\x01")],
)
def test_bytes_of_a_number(value, data):
    assert number(value) == data and Reader(data).number(value) == value


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_numbers_are_read_back_one_after_another(values):
    reader = Reader(b"".join(map(number, values)))
    assert [reader.number(2**63) for _ in values] == values
    assert reader.position == reader.end


@given(st.integers(-(2**40), 2**40))
def test_signed_numbers(value):
    """0, -1, 1, -2, 2 ... are stored as 0, 1, 2, 3, 4 ..."""
    zigzag = 2 * value if value >= 0 else -2 * value - 1
    assert Reader(number(zigzag)).signed(2**40) == value


@given(st.integers(0, 2**30), st.integers(0, 2**30))
def test_a_number_above_its_limit_is_damage(value, limit):
    if value <= limit:
        assert Reader(number(value)).number(limit) == value
        return
    with pytest.raises(DamagedFile, match="out of range"):
        Reader(number(value)).number(limit)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff"])
def test_a_number_cut_short_is_damage(data):
    with pytest.raises(DamagedFile, match="cut short"):
        Reader(data).number(2**63)


def test_a_number_without_end_is_damage():
    """Zeros with the top bit set stay below any limit: the length is bounded too."""
    with pytest.raises(DamagedFile, match="out of range"):
        Reader(b"\x80" * 1000).number(2**63)


def test_take_between_position_and_end():
    reader = Reader(b"abcdef", 1, 5)
    assert reader.take(0) == b"" and reader.take(3) == b"bcd"
    with pytest.raises(DamagedFile, match="cut short"):
        reader.take(2)
    assert reader.take(1) == b"e"
