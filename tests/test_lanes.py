"""Lanes: pushes and pops are mirrors, credit returns, a file's bytes too; what is damage, and dry.

Both implementations of the loops are checked here; test_lanes_numba.py holds one to the other.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import compiled, lanes_numba, lanes_numpy
from bitsback.ans.gaussian_tables import CENTRE, COLUMNS, SCALES, Gaussians, forward_frequencies
from bitsback.ans.lanes import MAX_LANES, Lanes, fastest, random_lanes
from bitsback.ans.stack import Stack
from bitsback.errors import DamagedFile, StackEmpty
from tests.laws import credit

TOTAL = 2**24
FORWARD = Gaussians(forward_frequencies([40, 55, 64, 70]))
KINDS = ("gaussian", "one scale", "end columns", "forward", "each", "uniform")
FAR = 2**16  # beyond all escaped values
many_lanes = st.one_of(st.integers(1, 12), st.sampled_from([64, 257, 1000]))


@pytest.fixture(scope="module", params=[lanes_numpy, lanes_numba], ids=["numpy", "numba"])
def loops(request):
    return request.param


def random_frequencies(n, width, rng):
    """(n, width) int64, each row of sum 2^24; some nearly certain, none 0."""
    weights = rng.random((n, width)) ** rng.integers(1, 40, (n, 1)) + 1e-12
    found = (weights / weights.sum(1, keepdims=True) * (TOTAL - width)).astype(np.int64) + 1
    found[np.arange(n), np.argmax(found, 1)] += TOTAL - found.sum(1)
    return found


class Part:
    """One array of a sequence: what is coded, and under which distributions.

    around: what all means lie about.  Beyond the escaped values every value that random words
    decode to is one that a push escapes exactly where the pop did.
    """

    def __init__(self, gaussians, kind, n, seed, around=0):
        rng = np.random.default_rng(seed)
        self.kind, self.n, self.table = kind, n, (FORWARD if kind == "forward" else gaussians).table
        self.mean32 = (32 * around + rng.integers(-9000, 9000, n)).astype(np.int32)
        floor, far = self.mean32 >> 5, rng.random(n) < rng.choice([0, 0.05, 1])
        self.scale = rng.integers(0, SCALES, n).astype(np.int32)
        self.escapes = kind in ("gaussian", "one scale")
        if kind == "one scale":
            self.scale = self.scale[:1] if n else np.zeros(1, np.int32)
        elif kind == "forward":
            self.scale %= 4
        if kind == "uniform":
            self.bits = int(rng.integers(1, 25))
            self.values = rng.integers(0, 2**self.bits, n).astype(np.int32)
        elif kind == "each":
            width = int(rng.integers(2, 18))
            self.first, self.frequencies = floor, random_frequencies(n, width, rng)
            near = self.first + rng.integers(0, width - 1, n)
            self.values = np.where(far, rng.integers(-(2**15), 2**15, n), near).astype(np.int32)
        elif kind == "forward":
            self.values = (self.mean32 + 16) >> 5  # the nearest: every row has it
        else:
            near = floor + rng.integers(-CENTRE, COLUMNS - CENTRE, n)
            wide = np.where(far & self.escapes, rng.integers(-(2**15), 2**15, n), near)
            if self.escapes and around:  # the end columns are not their own values
                wide = np.clip(wide, floor - CENTRE + 1, floor + COLUMNS - CENTRE - 2)
            self.values = wide.astype(np.int32)

    def push(self, lanes, values):
        if self.kind == "uniform":
            lanes.push_uniform(values, self.bits)
        elif self.kind == "each":
            lanes.push_each(values, self.first, self.frequencies)
        else:
            lanes.push_gaussian(self.table, values, self.mean32, self.scale, self.escapes)

    def pop(self, lanes):
        if self.kind == "uniform":
            return lanes.pop_uniform(self.n, self.bits)
        if self.kind == "each":
            return lanes.pop_each(self.first, self.frequencies)
        return lanes.pop_gaussian(self.table, self.mean32, self.scale, self.escapes)


sequences = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 60), st.integers(0, 2**32)), max_size=6
)


@given(sequence=sequences, data=st.binary(min_size=1, max_size=40), lanes=many_lanes)
def test_pops_what_was_pushed_whatever_the_order_of_arrays(gaussians, loops, sequence, data, lanes):
    """Last in, first out: all pushes undone in reverse return values, bytes and credit."""
    data += bytes(4 * lanes)
    message, parts = Lanes(data, loops), [Part(gaussians, *drawn) for drawn in sequence]
    message.widen(lanes)
    before = message.to_bytes()
    for part in parts:
        part.push(message, part.values)
    for part in reversed(parts):
        values = part.pop(message)
        assert values.dtype == np.int32 and np.array_equal(values, part.values)
    assert message.to_bytes() == before
    message.narrow(0)
    assert message.credit(len(data)) == data


@given(sequence=sequences, lanes=many_lanes)
def test_pops_are_undone_by_pushes_whatever_the_order_of_arrays(gaussians, loops, sequence, lanes):
    """The other law: what random words gave can be given back, in reverse, to the same bytes."""
    message = credit(2000 + 5 * lanes, 0, lanes, loops)
    before, parts = message.to_bytes(), [Part(gaussians, *drawn, FAR) for drawn in sequence]
    drawn = [part.pop(message) for part in parts]
    for part, values in zip(reversed(parts), reversed(drawn)):
        part.push(message, values)
    assert message.to_bytes() == before


@given(sequence=sequences, lanes=many_lanes, size=st.integers(1, 60))
def test_bytes_carry_lanes_through_a_file(gaussians, loops, sequence, lanes, size):
    """from_bytes(to_bytes()) is the same message: same states, words and pops."""
    data = np.random.default_rng(size).bytes(size + 4 * lanes)
    message, parts = Lanes(data, loops), [Part(gaussians, *drawn) for drawn in sequence]
    message.widen(lanes)
    for part in parts:
        part.push(message, part.values)
    other = Lanes.from_bytes(message.to_bytes(), lanes, loops)
    assert np.array_equal(other.state, message.state) and other.size_bits == message.size_bits
    assert other.to_bytes() == message.to_bytes() and other.count == message.count
    for part in reversed(parts):
        assert np.array_equal(part.pop(other), part.values)
    other.narrow(0)
    assert other.credit(len(data)) == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 23, 1000])
def test_arrays_shorter_and_longer_than_a_step(gaussians, loops, kind, n):
    """Each kind of array under five lanes; an empty one changes nothing."""
    message, part = credit(100, 1, 5, loops), Part(gaussians, kind, n, 9)
    before = message.to_bytes()
    part.push(message, part.values)
    assert (message.to_bytes() == before) == (n == 0)
    assert np.array_equal(part.pop(message), part.values) and message.to_bytes() == before


def test_escapes_come_back(gaussians, loops):
    """All values far out, the ends of 16 bits and the columns next to the end columns too."""
    floor = np.array([0, -3, 500, 7] * 6, np.int32)
    offsets = [-31, 32, -30, 31] * 2
    values = np.array([-(2**15), 2**15 - 1, *offsets, *range(100, 1500, 100)], np.int32)
    values = values + np.where(np.abs(values) < 40, floor[: len(values)], 0).astype(np.int32)
    part = Part(gaussians, "gaussian", len(values), 0)
    part.mean32[:] = 32 * floor[: len(values)] + 5
    for lanes in (1, 5, 100):
        message = credit(500, 3, lanes, loops)
        before = message.to_bytes()
        part.push(message, values)
        assert np.array_equal(part.pop(message), values) and message.to_bytes() == before


def push_by_hand(state, words, start, frequency):
    """The formula of ARITHMETIC.md, section 3, in Python's integers."""
    if state >> 39 >= frequency:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return (state // frequency << 24) + state % frequency + start


EDGES = [2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**39, 2**62, 2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize("frequency", [1, 2, 16, 255, 2**12, 2**23, TOTAL - 16, TOTAL - 1, TOTAL])
def test_states_at_the_edges(loops, frequency):
    """States of 2^31 and of 2^63 - 1, and where one gives a word, under extreme frequencies.

    The same integers as by hand; all states stay within bounds, and the pop returns them.
    """
    at = [state for f in (frequency, 1) for state in (f << 39, (f << 39) - 1) if state < 2**63]
    edges = [s for s in EDGES + at if s >= 2**31]
    n, message = len(edges), Lanes(bytes(40), loops)
    for start in {0, (TOTAL - frequency) // 2, TOTAL - frequency}:
        row = np.array([[start, frequency, TOTAL - start - frequency, 0]] * n)
        message.state = np.array(edges)
        before = message.to_bytes()
        message.push_each(np.ones(n, np.int32), np.zeros(n, np.int32), row)
        words = []
        by_hand = [push_by_hand(s, words, start, frequency) for s in reversed(edges)][::-1]
        assert message.state.tolist() == by_hand
        assert message.words[10 : message.count].tolist() == words
        assert all(2**31 <= s < 2**63 for s in by_hand)
        assert (message.pop_each(np.zeros(n, np.int32), row) == 1).all()
        assert message.to_bytes() == before


# How many lanes


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    kind=st.sampled_from(KINDS),
)
def test_lanes_open_with_words_and_close_to_them(gaussians, loops, counts, seed, kind):
    """Widened to ever more lanes, with an array at each number; narrowed the same way back."""
    data = np.random.default_rng(seed).bytes(4 * max(counts) + 3)
    message, done = Lanes(data, loops), []
    for lanes in counts:
        before, held = len(message), message.size_bits
        message.widen(lanes)
        assert len(message) == max(before, lanes) and message.size_bits == held
        part = Part(gaussians, kind, 30 if len(message) else 0, seed)
        if part.n:
            part.push(message, part.values)
        done.append((before, part))
    for before, part in reversed(done):
        if part.n:
            assert np.array_equal(part.pop(message), part.values)
        message.narrow(before)
        assert len(message) == before
    assert message.credit(len(data)) == data


def test_a_lane_opens_as_a_word_above_two_to_the_32(loops):
    """States 2^32 + w, the words in their order; narrowing puts them back where they were."""
    message = Lanes(np.arange(1, 8, dtype="<u4").tobytes(), loops)
    message.widen(2)
    assert message.state.tolist() == [2**32 + 6, 2**32 + 7] and message.count == 5
    message.widen(5)
    assert message.state.tolist() == [2**32 + w for w in (6, 7, 3, 4, 5)] and message.count == 2
    message.narrow(2)
    assert message.words[:5].tolist() == [1, 2, 3, 4, 5] and len(message) == 2
    with pytest.raises(StackEmpty):
        message.widen(8)
    message.widen(7)
    assert message.count == 0 and message.size_bits == 7 * 32


@pytest.mark.parametrize("state", [2**31, 2**32 - 1, 2**33, 2**62, 2**63 - 1])
@pytest.mark.parametrize("lane", range(3))
def test_a_lane_that_did_not_come_back_is_damage(loops, state, lane):
    """What a lane must hold when it is given up is 2^32 and a word: all others are refused."""
    message = credit(40, 0, 3, loops)
    message.state[lane] = state
    with pytest.raises(DamagedFile, match="do not end where they began"):
        message.narrow(0)
    message.narrow(lane + 1)  # those above are as they were opened
    assert len(message) == lane + 1


def test_nothing_is_coded_without_a_lane(gaussians, loops):
    message = Lanes(bytes(40), loops)
    for kind in KINDS:
        part = Part(gaussians, kind, 3, 0)
        for code in (part.pop, lambda message, part=part: part.push(message, part.values)):
            with pytest.raises(ValueError, match="no lane"):
                code(message)


# The bytes of a file


def bits_by_hand(states):
    """The closing, as FORMAT.md and ARITHMETIC.md say it: a string of 0 and 1."""
    exponents = [state.bit_length() - 1 for state in states]
    bits = "".join(f"{e - 31:05b}" for e in exponents)
    bits += "".join(f"{state - 2**e:0{e}b}" for state, e in zip(states, exponents))
    return bits + "0" * (-len(bits) % 8)


@pytest.mark.parametrize("lanes", [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 100, MAX_LANES])
def test_closing_of_any_number_of_lanes(lanes):
    """5 bits of each exponent, 31..62, then the bits below it: as many as by hand, the same."""
    rng, message = np.random.default_rng(lanes), Lanes(b"0123" * 5)
    exponents = (rng.integers(0, 32) + np.arange(lanes)) % 32 + 31
    low = [int.from_bytes(rng.bytes(8), "little") % 2 ** int(e) for e in exponents]
    states = [2 ** int(e) + rest for e, rest in zip(exponents, low)]
    message.state = np.array(states, np.int64)
    data, bits = message.to_bytes(), bits_by_hand(states)
    assert "".join(f"{byte:08b}" for byte in data[:-20]) == bits and data[-20:] == b"0123" * 5
    assert message.size_bits == 160 + sum(s.bit_length() - 1 for s in states)
    assert len(data) == -(-(message.size_bits + 5 * lanes) // 8)
    found = Lanes.from_bytes(data, lanes)
    assert found.state.tolist() == states and found.to_bytes() == data
    assert found.words[: found.count].tobytes() == b"0123" * 5


@pytest.mark.parametrize("exponent", range(31, 63))
def test_closing_at_the_edges_of_every_exponent(exponent):
    """The least and the greatest state of each exponent, as float64 cannot hold them."""
    states = [2**exponent, 2**exponent + 1, 2 ** (exponent + 1) - 1, 2 ** (exponent + 1) - 2]
    message = Lanes()
    message.state = np.array(states)
    assert message.size_bits == 4 * exponent
    assert Lanes.from_bytes(message.to_bytes(), 4).state.tolist() == states


@pytest.mark.parametrize("lanes", [1, 3, 50])
def test_bytes_that_end_early_or_hold_no_whole_words_are_damage(lanes):
    """Every length but those of the closing and whole words after it."""
    message = credit(4 * lanes + 12, 2, lanes)
    message.push_uniform(np.arange(20 * lanes) % 256, 8)
    data = message.to_bytes()
    closing = len(data) - 4 * message.count
    for length in range(len(data)):
        if length >= closing and (length - closing) % 4 == 0:
            assert Lanes.from_bytes(data[:length], lanes).to_bytes() == data[:length]
        else:
            with pytest.raises(DamagedFile, match="not the words of a stack"):
                Lanes.from_bytes(data[:length], lanes)


@pytest.mark.parametrize("exponents", [(31,), (62,), (31, 32, 33), (40, 41), (36, 36, 37)])
def test_padding_of_the_closing_is_zero(exponents):
    """Each bit from its last one to the next byte: a file has one form."""
    message, lanes = Lanes(b"word"), len(exponents)
    message.state = np.array([2**e for e in exponents])
    data, padding = message.to_bytes(), -(sum(exponents) + 5 * lanes) % 8
    for bit in range(padding):
        altered = bytearray(data)
        altered[-5] |= 1 << bit
        with pytest.raises(DamagedFile, match="not the words"):
            Lanes.from_bytes(bytes(altered), lanes)
    altered[-5] ^= 1 << padding  # of a state: another message
    altered[-5] &= 0xFF << padding & 0xFF
    assert Lanes.from_bytes(bytes(altered), lanes).to_bytes() == altered != data


@given(data=st.binary(max_size=80), lanes=st.integers(0, 9))
def test_garbage_bytes_are_damage_or_a_message(gaussians, loops, data, lanes):
    """from_bytes on any bytes: DamagedFile, or lanes of these bytes that pop or run dry."""
    try:
        message = Lanes.from_bytes(data, lanes, loops)
    except DamagedFile:
        return
    assert message.to_bytes() == data and (message.state >= 2**31).all()
    part, saved = Part(gaussians, "end columns", 20 if lanes else 0, 3), message.copy()
    if lanes:
        try:
            part.push(message, part.pop(message))
        except StackEmpty:
            message.restore(saved)
            assert message.size_bits <= 31 * lanes + 20 * 22
    assert message.to_bytes() == data


# Credit


@pytest.mark.parametrize("length", range(10))
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
    assert Lanes(data).credit(length) == data
    for lanes in range(1, -(-length // 4) + 1):
        message, part = Lanes(data), Part(gaussians, "gaussian", 50, length)
        message.widen(lanes)
        part.push(message, part.values)
        message = Lanes.from_bytes(message.to_bytes(), lanes)
        part.pop(message)
        message.narrow(0)
        assert message.credit(length) == data


@pytest.mark.parametrize("length", range(0, 12))
def test_credit_of_another_length_is_damage(length):
    """A credit of another length is DamagedFile, unless only zero padding differs."""
    message = Lanes(b"\x05" * 7)
    if length in (7, 8):  # the padding of 7 bytes is a zero byte: nothing tells 7 from 8
        assert message.credit(length) == (b"\x05" * 7 + b"\0")[:length]
    else:
        with pytest.raises(DamagedFile, match="where it began"):
            message.credit(length)


def test_credit_below_open_lanes_is_damage():
    """Anything left above the credit is DamagedFile, never other bytes or another error."""
    message = Lanes(b"\x05" * 8)
    message.widen(1)
    for length in (4, 8):
        with pytest.raises(DamagedFile, match="where it began"):
            message.credit(length)
    message.push_uniform(np.arange(40), 10)
    with pytest.raises(DamagedFile, match="where they began"):
        message.narrow(0)


# Running dry


@given(
    length=st.integers(1, 60),
    seed=st.integers(0, 1000),
    bits=st.integers(1, 24),
    lanes=st.integers(1, 15),
)
def test_empty_is_raised_exactly_when_dry(loops, length, seed, bits, lanes):
    """A pop fails only where a lane needs a word and there is none; what came out goes back."""
    message = credit(length + 4 * lanes, seed, lanes, loops)
    start, popped, saved = message.to_bytes(), [], message.copy()
    with pytest.raises(StackEmpty):
        while True:
            popped.append(message.pop_uniform(lanes, bits))
            saved.restore(message)
    after = saved.state >> bits  # of a uniform number, as a pop leaves it
    assert np.count_nonzero(after < 2**31) > saved.count
    message.restore(saved)
    for values in reversed(popped):
        message.push_uniform(values, bits)
    assert message.to_bytes() == start


@given(
    seed=st.integers(0, 2**32),
    length=st.integers(0, 200),
    kind=st.sampled_from(KINDS),
    lanes=st.integers(1, 9),
)
def test_one_long_pop_is_many_of_a_step(gaussians, loops, seed, length, kind, lanes):
    """An array is its steps one after the other, and is dry where one of them is."""
    n = 5 * lanes + 1
    part = Part(gaussians, kind, n, seed)
    steps = []
    for begin in range(0, n, lanes):
        step = Part(gaussians, kind, n, seed)
        step.n = len(step.values[begin : begin + lanes])
        for name in ("mean32", "scale", "first", "frequencies"):
            array = getattr(step, name, ())
            if len(array) == n:
                setattr(step, name, array[begin : begin + lanes])
        steps.append(step)

    def outcome(parts):
        message = credit(length + 4 * lanes, seed, lanes, loops)
        try:
            values = np.concatenate([part.pop(message) for part in parts])
        except StackEmpty:
            return None
        return values.tolist(), message.to_bytes()

    assert outcome([part]) == outcome(steps)


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_runs_dry(gaussians, loops, kind):
    """Far more values than bits; restored, nothing is lost, and a copy is another message."""
    message, part = credit(60, 4, 3, loops), Part(gaussians, kind, 3000, 1)
    before, saved = message.to_bytes(), message.copy()
    with pytest.raises(StackEmpty, match="ran dry"):
        part.pop(message)
    assert saved.to_bytes() == before
    message.restore(saved)
    message.push_uniform(np.arange(300), 10)
    assert saved.to_bytes() == before != message.to_bytes()
    message.restore(saved)
    assert message.to_bytes() == before


@pytest.mark.parametrize("where", [0, 7, 19])
@pytest.mark.parametrize("offset", [-31, 32, -12, 12, 100, -100])
def test_a_value_of_frequency_zero_is_damage(loops, where, offset):
    """A value that q cannot draw cannot be pushed: DamagedFile, which only altered words cause."""
    message, values = credit(100, 0, 6, loops), np.zeros(20, np.int32)
    values[where] = offset
    with pytest.raises(DamagedFile, match="no frequency"):
        message.push_gaussian(
            FORWARD.table, values, np.zeros(20, np.int32), np.ones(1, np.int32), escapes=False
        )


def test_a_value_whose_own_frequency_is_zero_is_damage(loops):
    message, values = credit(100, 0, 6, loops), np.array([0, 0, 1, 0, 0], np.int32)
    with pytest.raises(DamagedFile, match="no frequency"):
        message.push_each(values, np.zeros(5, np.int32), np.array([[2**23, 0, 2**23]] * 5))


# What it costs


def exact_bits(message):
    """Bits of the message without rounding: words, and the logarithms of the states."""
    return 32 * message.count + np.log2(message.state.astype(float)).sum()


@pytest.mark.parametrize("lanes", [1, 7, 64, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_coded_length_is_the_information(gaussians, loops, kind, lanes):
    """20,000 values cost -log2 of their frequencies within 0.1 %, in any number of lanes."""
    message, part = credit(4 * lanes + 400, 0, lanes, loops), Part(gaussians, kind, 20_000, 5)
    each = np.arange(part.n)
    if kind == "uniform":
        information = part.n * part.bits
    elif kind == "each":
        symbols, escape = part.values - part.first, part.frequencies.shape[1] - 1
        far = (symbols < 0) | (symbols >= escape)
        own = part.frequencies[each, np.where(far, escape, symbols)]
        information = np.log2(TOTAL / own).sum() + 16 * far.sum()
    else:
        table = FORWARD if kind == "forward" else gaussians
        information = table.information_bits(part.values, part.mean32, part.scale, part.escapes)
    before, held = exact_bits(message), message.size_bits
    part.push(message, part.values)
    assert exact_bits(message) - before == pytest.approx(information, rel=1e-3)
    assert abs(message.size_bits - held - information) <= lanes + 1e-3 * information
    assert abs(8 * len(message.to_bytes()) - message.size_bits - 5 * lanes - 3.5) < 4


@pytest.mark.parametrize("frequency", [TOTAL - 16, TOTAL - 1])
def test_values_that_are_nearly_certain_cost_nearly_nothing(loops, frequency):
    """10,000 of them: a fraction of a bit, wherever the column lies."""
    for place in range(2):
        message, row = credit(40, 0, 3, loops), [TOTAL - frequency, frequency, 0]
        row = np.array([row if place else [frequency, TOTAL - frequency, 0]] * 10_000)
        before = exact_bits(message)
        message.push_each(np.full(10_000, place, np.int32), np.zeros(10_000, np.int32), row)
        information = 10_000 * math.log2(TOTAL / frequency)
        assert abs(exact_bits(message) - before - information) < 0.1


@pytest.mark.parametrize("row", [0, 32 * 20 + 9, 32 * 64, 32 * 112 + 31])
def test_one_lane_takes_what_constriction_takes(gaussians, loops, row):
    """The yardstick: the same 5,000 symbols by constriction's AnsCoder, within two bits."""
    frequencies, rng = gaussians.frequencies[row], np.random.default_rng(row)
    columns = rng.choice(COLUMNS, 5000, p=frequencies / TOTAL).astype(np.int32)
    columns[:COLUMNS] = np.arange(COLUMNS)
    numbers = rng.integers(0, 2**16, 100).astype(np.int32)
    lanes, stack = credit(80, 0, 1, loops), Stack(np.random.default_rng(0).bytes(80))
    before = lanes.size_bits, stack.size_bits
    mean32 = np.full(5000, row % 32, np.int32)
    lanes.push_gaussian(
        gaussians.table, columns - CENTRE, mean32, np.array([row // 32], np.int32), escapes=False
    )
    stack.push_row(columns, frequencies)
    lanes.push_uniform(numbers, 16)
    stack.push_uniform(numbers, 2**16)
    assert abs((lanes.size_bits - before[0]) - (stack.size_bits - before[1])) <= 2
    assert lanes.size_bits - before[0] > 1000


def test_values_are_dealt_to_lanes_in_turn(loops):
    """Value j lies in lane j mod L: one lane's states are those of its own values alone."""
    values = np.random.default_rng(0).integers(0, 4, 12)
    message = Lanes(bytes(12), loops)
    message.widen(3)
    message.push_uniform(values, 2)  # 4 x 2 bits a lane: no word is given
    for lane in range(3):
        alone = Lanes(bytes(4), loops)
        alone.widen(1)
        alone.push_uniform(values[lane::3], 2)
        assert alone.state[0] == message.state[lane] and message.count == alone.count == 0


def test_random_lanes():
    """Always the same bits: 4 bytes for each value and level, above the lanes themselves."""
    one, two = random_lanes(1000, 3), random_lanes(1000, 3)
    assert one.to_bytes() == two.to_bytes() and len(one) == 64
    assert one.size_bits >= 32 * 3000 + 64 * 32
    assert len(random_lanes(10, lanes=2)) == 2


def test_the_fastest_loops_are_compiled_where_they_can_be(monkeypatch):
    assert fastest() is (lanes_numba if compiled.HAVE_NUMBA else lanes_numpy)
    monkeypatch.setattr(compiled, "HAVE_NUMBA", False)
    assert fastest() is lanes_numpy and Lanes().loops is lanes_numpy
