"""The stack of bias updates: pushes and pops are mirrors, credit returns, empty is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.gaussian_tables import COLUMNS, FRACTIONS, SCALES
from bitsback.ans.stack import Stack
from bitsback.errors import DamagedFile, StackEmpty

WORD_BITS = 32  # the coder keeps one word back: its state is never below 2^32
PRECISION = 24  # a symbol takes so many bits at most

EMPTY_CREDIT = pytest.mark.xfail(
    strict=True,
    raises=StackEmpty,
    reason="a stack without credit starts below the floor of a state: "
    "its first pushes cannot be popped again",
)

uniforms = st.integers(2, 2**24).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), max_size=12))
)
rows = st.tuples(
    st.integers(0, SCALES * FRACTIONS - 1), st.lists(st.integers(0, COLUMNS - 1), max_size=12)
)
codings = st.lists(
    st.one_of(st.tuples(st.just("uniform"), uniforms), st.tuples(st.just("row"), rows)),
    max_size=8,
)


class Coding:
    """One push of a sequence: uniform numbers, or columns under one row of the table."""

    def __init__(self, gaussians, drawn):
        self.kind, (number, values) = drawn
        self.under = number if self.kind == "uniform" else gaussians.frequencies[number]
        self.values = np.array(values, np.int32)

    def push(self, stack, values):
        (stack.push_uniform if self.kind == "uniform" else stack.push_row)(values, self.under)

    def pop(self, stack):
        pop = stack.pop_uniform if self.kind == "uniform" else stack.pop_row
        return pop(len(self.values), self.under)


def credit(length, seed=0):
    """A stack of random bytes."""
    return Stack(np.random.default_rng(seed).bytes(length))


@given(sequence=codings, data=st.binary(min_size=1, max_size=40))
def test_pops_what_was_pushed_whatever_the_order_of_distributions(gaussians, sequence, data):
    """Last in, first out: all pushes undone in reverse return values, words and credit."""
    stack = Stack(data)
    before, parts = stack.to_words(), [Coding(gaussians, drawn) for drawn in sequence]
    for part in parts:
        part.push(stack, part.values)
    for part in reversed(parts):
        assert np.array_equal(part.pop(stack), part.values)
    assert stack.to_words() == before and stack.credit(len(data)) == data


@given(sequence=codings)
def test_pops_are_undone_by_pushes_whatever_the_order_of_distributions(gaussians, sequence):
    """The other law: what random words gave can be given back, in reverse, to the same words."""
    stack = credit(2000)
    before, parts = stack.to_words(), [Coding(gaussians, drawn) for drawn in sequence]
    drawn = [part.pop(stack) for part in parts]
    for part, values in zip(reversed(parts), reversed(drawn)):
        part.push(stack, values)
    assert stack.to_words() == before


@given(sequence=codings)
def test_words_carry_a_stack_through_a_file(gaussians, sequence):
    """from_words(to_words()) is the same stack: same words, same pops."""
    stack, parts = credit(100), [Coding(gaussians, drawn) for drawn in sequence]
    for part in parts:
        part.push(stack, part.values)
    other = Stack.from_words(stack.to_words())
    assert other.to_words() == stack.to_words() and other.size_bits == stack.size_bits
    for part in reversed(parts):
        assert np.array_equal(part.pop(other), part.values)
    assert other.credit(100) == credit(100).credit(100)


@pytest.mark.parametrize("size", [2, 3, 8, 128, 1000, 2**16, 2**24 - 1, 2**24])
def test_uniform_numbers_cost_log2_of_their_size(size):
    """2,000 symbols cost log2(size) each within 0.1 %, the first and the last value too."""
    values = np.random.default_rng(size).integers(0, size, 2000).astype(np.int32)
    values[:2] = 0, size - 1
    stack = credit(100)
    before, words = stack.size_bits, stack.to_words()
    stack.push_uniform(values, size)
    assert stack.size_bits - before == pytest.approx(2000 * np.log2(size), rel=1e-3)
    assert np.array_equal(stack.pop_uniform(2000, size), values) and stack.to_words() == words


@pytest.mark.parametrize("number", [0, 20, 64, 112])
def test_columns_of_a_row_cost_their_information(gaussians, number):
    """2,000 columns drawn from a row cost -log2 of their frequencies within 0.1 %."""
    row, stack = gaussians.frequencies[number * FRACTIONS + 7], credit(100)
    columns = np.random.default_rng(number).choice(COLUMNS, 2000, p=row / 2**24).astype(np.int32)
    columns[:COLUMNS] = np.arange(COLUMNS)
    before = stack.size_bits
    stack.push_row(columns, row)
    assert stack.size_bits - before == pytest.approx(np.log2(2**24 / row[columns]).sum(), rel=1e-3)
    assert np.array_equal(stack.pop_row(2000, row), columns)


@pytest.mark.parametrize("length", [pytest.param(0, marks=EMPTY_CREDIT), *range(1, 10)])
@pytest.mark.parametrize("fill", ["zeros", "ones", "counted", "trailing zeros", "leading zeros"])
def test_credit_of_every_length_comes_back(gaussians, length, fill):
    """Credit bytes return exactly, zeros at either end included, after pushes and pops."""
    counted = bytes(range(1, length + 1))
    data = {
        "zeros": bytes(length),
        "ones": b"\xff" * length,
        "counted": counted,
        "trailing zeros": counted[: length // 2] + bytes(length - length // 2),
        "leading zeros": bytes(length - length // 2) + counted[: length // 2],
    }[fill]
    stack, row = Stack(data), gaussians.frequencies[70 * FRACTIONS]
    assert stack.credit(length) == data
    values = np.arange(50, dtype=np.int32)
    stack.push_uniform(values, 64)
    stack.push_row(values, row)
    stack = Stack.from_words(stack.to_words())
    stack.pop_row(50, row)
    stack.pop_uniform(50, 64)
    assert stack.credit(length) == data


@pytest.mark.parametrize("length", range(0, 12))
def test_credit_of_another_length_is_damage(length):
    """A credit of another length is DamagedFile, unless only zero padding differs."""
    stack = Stack(b"\x05" * 7)
    if length == 7:
        assert stack.credit(7) == b"\x05" * 7
    elif length == 8:  # the padding of 7 bytes is a zero byte: nothing tells 7 from 8
        assert stack.credit(8) == b"\x05" * 7 + b"\0"
    else:
        with pytest.raises(DamagedFile):
            stack.credit(length)


@pytest.mark.parametrize("symbols", [1, 3, 40])
def test_credit_of_a_stack_that_still_holds_symbols_is_damage(symbols):
    """Anything left above the credit is DamagedFile, never other bytes or another error."""
    stack = Stack(b"\x05" * 8)
    stack.push_uniform(np.arange(symbols, dtype=np.int32), 1000)
    with pytest.raises(DamagedFile):
        stack.credit(8)


@given(length=st.integers(0, 60), seed=st.integers(0, 1000), size=st.integers(2, 2**24))
def test_empty_is_raised_exactly_when_dry(length, seed, size):
    """Pops succeed while more than a word and a symbol is left, and never lose anything."""
    stack = credit(length, seed)
    held, start, popped = stack.size_bits, stack.to_words(), []
    left, words = held, start
    with pytest.raises(StackEmpty):
        while True:
            popped.append(stack.pop_uniform(1, size))
            left, words = stack.size_bits, stack.to_words()
    assert left <= held and left < WORD_BITS + PRECISION + 1  # no pop that it held was refused
    if popped:
        stack = Stack.from_words(words)
    for value in reversed(popped):
        stack.push_uniform(value, size)
    assert not popped or stack.to_words() == start


@given(
    length=st.integers(0, 30),
    seed=st.integers(0, 100),
    count=st.integers(1, 40),
    size=st.sampled_from([2, 10, 256, 2**20]),
)
def test_one_long_pop_is_empty_where_many_short_ones_are(length, seed, count, size):
    """An array pop that runs dry half-way raises, though constriction returns symbols for ever."""

    def outcome(pops):
        stack = credit(length, seed)
        try:
            return np.concatenate(
                [stack.pop_uniform(n, size) for n in pops]
            ).tolist(), stack.to_words()
        except StackEmpty:
            return None

    assert outcome([count]) == outcome([1] * count)


def test_a_new_stack_is_empty():
    """Nothing was put in, so nothing comes out; a pop of no symbols is no pop."""
    stack = Stack()
    assert stack.size_bits == 0 and stack.credit(0) == b""
    assert len(stack.pop_uniform(0, 256)) == 0
    with pytest.raises(StackEmpty):
        stack.pop_uniform(1, 2)


def test_size_bits_grows_and_falls_with_the_words():
    """size_bits is what the message holds: whole words and the bits of the state."""
    stack = Stack(bytes(8))
    assert stack.size_bits == 64
    stack.push_uniform(np.zeros(1000, np.int32), 256)
    assert abs(stack.size_bits - (64 + 8000)) <= 1
    assert 0 <= 8 * len(stack.to_words()) - stack.size_bits < 2 * WORD_BITS


@given(data=st.binary(max_size=64))
def test_garbage_words_are_damage_or_a_stack(gaussians, data):
    """from_words on any bytes: DamagedFile, or a stack of these words that pops or runs dry."""
    try:
        stack = Stack.from_words(data)
    except DamagedFile:
        assert len(data) % 4 or not data or data[-4:] == bytes(4)
        return
    assert stack.to_words() == data
    row = gaussians.frequencies[64 * FRACTIONS]
    try:
        values = stack.pop_row(18, row)
    except StackEmpty:
        assert len(data) <= 4 * (2 + 18 * 22 // 32)  # 18 symbols, 22 bits each at the most
        return
    stack.push_row(values, row)
    assert stack.to_words() == data


@given(data=st.binary(max_size=64))
def test_garbage_words_end_in_damage_or_in_credit(data):
    """credit on any words: DamagedFile, or bytes that make the same words again."""
    try:
        stack = Stack.from_words(data)
        length = max(len(data) - 8, 0)
        found = stack.credit(length)
    except DamagedFile:
        return
    assert Stack(found).to_words() == data
