"""The stack: pushes and pops are mirrors, credit returns, and an empty stack is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.gaussian_tables import SCALES
from bitsback.ans.stack import PRECISION, Stack
from bitsback.errors import DamagedFile, StackEmpty
from tests.laws import check_codec, credit

WORD_BITS = 32  # the coder keeps one word back: its state is never below 2^32

EMPTY_CREDIT = pytest.mark.xfail(
    strict=True,
    raises=StackEmpty,
    reason="a stack without credit starts below the floor of "
    "`_check`: its first pushes cannot be popped again",
)

uniforms = st.integers(2, 2**24).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), max_size=12))
)
normals = st.tuples(
    st.integers(0, SCALES - 1),
    st.lists(st.tuples(st.integers(-2000, 2000), st.integers(-40, 40)), max_size=12),
)


class Coding:
    """One push of a sequence: uniform, or Gaussian around given means."""

    def __init__(self, gaussians, drawn):
        kind, numbers = drawn
        self.gaussians = gaussians
        if kind == "uniform":
            self.size, values = numbers
            self.values = np.array(values, np.int32)
        else:
            self.size, pairs = None, np.array(numbers[1], np.int32).reshape(-1, 2)
            self.mean32, self.values = pairs[:, 0].copy(), (pairs[:, 0] >> 5) + pairs[:, 1]
            self.scale = np.full(len(pairs), numbers[0], np.int32)

    def push(self, stack, values):
        if self.size:
            stack.push_uniform(values, self.size)
        else:
            self.gaussians.push(stack, values, self.mean32, self.scale)

    def pop(self, stack):
        if self.size:
            return stack.pop_uniform(len(self.values), self.size)
        return self.gaussians.pop(stack, self.mean32, self.scale)


codings = st.lists(
    st.one_of(st.tuples(st.just("uniform"), uniforms), st.tuples(st.just("gaussian"), normals)),
    max_size=8,
)


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


@pytest.mark.parametrize("size", [2, 3, 255, 256, 1000, 2**16, 2**24 - 1, 2**24])
def test_uniform_obeys_the_laws_and_costs_log2_of_its_size(size):
    """push_uniform and pop_uniform: 2,000 symbols cost log2(size) each within 0.1 %."""
    values = np.random.default_rng(size).integers(0, size, 2000).astype(np.int32)
    values[:2] = 0, size - 1
    check_codec(
        lambda s, v: s.push_uniform(v, size),
        lambda s: s.pop_uniform(2000, size),
        credit(8000),
        values,
    )
    stack = credit(100)
    before = stack.size_bits
    stack.push_uniform(values, size)
    assert stack.size_bits - before == pytest.approx(2000 * np.log2(size), rel=1e-3)


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
    stack = Stack(data)
    assert stack.credit(length) == data
    values = np.arange(50, dtype=np.int32)
    stack.push_uniform(values, 64)
    gaussians.push(stack, values, values << 5, np.full(50, 70, np.int32))
    stack = Stack.from_words(stack.to_words())
    gaussians.pop(stack, values << 5, np.full(50, 70, np.int32))
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
    last = stack.copy()
    with pytest.raises(StackEmpty):
        while True:
            popped.append(stack.pop_uniform(1, size))
            last.restore(stack)
    gave = held - last.size_bits
    assert gave <= held
    assert last.size_bits <= 2 * WORD_BITS  # so at least all but two words came out
    assert (
        last.size_bits < WORD_BITS + PRECISION + 1
    )  # and no pop that could be afforded was refused
    for value in reversed(popped):
        last.push_uniform(value, size)
    assert last.to_words() == start


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


def test_copy_and_restore():
    """A copy is another stack; restore takes back all that was done since."""
    stack = credit(100)
    before = stack.to_words()
    saved = stack.copy()
    stack.pop_uniform(20, 1000)
    stack.push_uniform(np.arange(300, dtype=np.int32), 300)
    assert saved.to_words() == before != stack.to_words()
    stack.restore(saved)
    assert stack.to_words() == before
    stack.push_uniform(np.arange(7, dtype=np.int32), 300)
    assert saved.to_words() == before


@given(data=st.binary(max_size=64))
def test_garbage_words_are_damage_or_a_stack(gaussians, data):
    """from_words on any bytes: DamagedFile, or a stack of these words that pops or runs dry."""
    try:
        stack = Stack.from_words(data)
    except DamagedFile:
        assert len(data) % 4 or not data or data[-4:] == bytes(4)
        return
    assert stack.to_words() == data
    mean32 = np.arange(-60, 60, 7, dtype=np.int32)
    scale = np.full(len(mean32), 64, np.int32)
    try:
        values = gaussians.pop(stack, mean32, scale)
    except StackEmpty:
        assert len(data) <= 4 * (
            2 + 18 * 22 // 32
        )  # 18 symbols, 22 bits each at the most, escapes included
        return
    gaussians.push(stack, values, mean32, scale)
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
