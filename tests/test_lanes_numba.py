"""The compiled loops of lanes against those in numpy: the same integers, whatever happens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import compiled, lanes_numba, lanes_numpy
from bitsback.ans.lanes import Lanes
from bitsback.errors import DamagedFile, StackEmpty
from tests.test_lanes import EDGES, FORWARD, KINDS, TOTAL, Part, many_lanes

BOTH = lanes_numpy, lanes_numba
operations = st.lists(
    st.tuples(st.booleans(), st.sampled_from(KINDS), st.integers(0, 80), st.integers(0, 2**32)),
    max_size=8,
)


def outcome(loops, gaussians, operations, data, count):
    """States, words and values after each operation; the error that ended them."""
    message, trail = Lanes(data, loops), []
    message.widen(count)
    for pushes, *drawn in operations:
        part = Part(gaussians, *drawn)
        try:
            values = part.push(message, part.values) if pushes else part.pop(message)
        except (StackEmpty, DamagedFile) as error:
            return [*trail, type(error)]
        trail.append(
            (
                None if pushes else values.tolist(),
                message.state.tolist(),
                message.words[: message.count].tolist(),
            )
        )
    return trail


@given(operations=operations, seed=st.integers(0, 999), size=st.integers(0, 400), count=many_lanes)
def test_any_pushes_and_pops(gaussians, operations, seed, size, count):
    """The same states, words and values after each array, until both run dry."""
    data = np.random.default_rng(seed).bytes(size + 4 * count)
    one, other = (outcome(loops, gaussians, operations, data, count) for loops in BOTH)
    assert one == other


@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 40),
    count=st.integers(1, 9),
    reach=st.sampled_from([1, 3, 40, 1000]),
    escapes=st.booleans(),
)
def test_values_with_and_without_frequency(seed, n, count, reach, escapes):
    """Rows with zeros at their ends: the same message, or damage, for both."""
    rng = np.random.default_rng(seed)
    mean32 = rng.integers(-300, 300, n).astype(np.int32)
    values = ((mean32 >> 5) + rng.integers(-reach, reach + 1, n)).astype(np.int32)
    scale, found = rng.integers(0, 4, n).astype(np.int32), []
    for loops in BOTH:
        message = Lanes(bytes(range(100)), loops)
        message.widen(count)
        try:
            message.push_gaussian(FORWARD.table, values, mean32, scale, escapes)
            found.append(message.to_bytes())
        except DamagedFile as error:
            found.append(str(error))
    assert found[0] == found[1]
    columns = np.clip(values - (mean32 >> 5) + 31, 0, 63)
    possible = FORWARD.frequencies[scale * 32 + (mean32 & 31), columns].all()
    assert isinstance(found[0], bytes) == possible


@pytest.mark.parametrize("kind", KINDS)
def test_states_at_the_edges(gaussians, kind):
    """Every array from every extreme state, pushed and popped."""
    part = Part(gaussians, kind, len(EDGES), 3)
    for pushes in (True, False):
        found = []
        for loops in BOTH:
            message = Lanes(bytes(range(200)), loops)
            message.state = np.array(EDGES)
            values = part.push(message, part.values) if pushes else part.pop(message)
            found.append((message.to_bytes(), None if pushes else values.tolist()))
        assert found[0] == found[1]


def test_slots_at_the_edges_of_columns(gaussians):
    """The first and the last slot of each column of some rows: the column by both."""
    for table in (gaussians, FORWARD):
        rows = np.arange(0, len(table.frequencies), 17)
        row, column = np.nonzero(table.frequencies[rows])
        ends = np.cumsum(table.frequencies[rows], 1, dtype=np.int64)[row, column]
        own = table.frequencies[rows][row, column]
        for slot in (ends - own, ends - 1):
            for loops in BOTH:
                message = Lanes(bytes(4 * len(row)), loops)
                message.state = (np.int64(5) << 40) + slot
                values = message.pop_gaussian(
                    table.table,
                    (rows[row] % 32).astype(np.int32),
                    (rows[row] // 32).astype(np.int32),
                    escapes=False,
                )
                assert np.array_equal(values, column - 31)


@pytest.mark.parametrize("loops", BOTH, ids=["numpy", "numba"])
def test_each_value_has_its_own_frequencies(loops):
    """The first and the last slot of each of a row's columns, columns of frequency 0 among them."""
    row = np.array([0, 1, 0, 2**20, TOTAL - 2**20 - 17, 16, 0])
    ends = np.cumsum(row)
    for column in np.flatnonzero(row):
        for slot in (ends[column] - row[column], ends[column] - 1):
            message = Lanes(bytes(8), loops)
            message.state = np.array([(5 << 40) + slot])
            (value,) = message.pop_each(np.array([-3], np.int32), row[None])
            assert value == column - 3
            message.push_each(np.array([value], np.int32), np.array([-3], np.int32), row[None])
            assert message.state.tolist() == [(5 << 40) + slot]


def test_without_the_compiler_the_loops_are_the_same(gaussians):
    """lanes_numba's functions as Python runs them: what a checkout without numba would import."""

    class Plain:
        pass

    for name in ("push", "pop_uniform", "push_gaussian", "pop_gaussian", "push_each", "pop_each"):
        function = getattr(lanes_numba, name)
        setattr(Plain, name, staticmethod(getattr(function, "py_func", function)))
    every = [(pushes, kind, 30, 7) for kind in KINDS for pushes in (True, False, True)]
    data = np.random.default_rng(5).bytes(900)
    assert outcome(Plain, gaussians, every, data, 4) == outcome(
        lanes_numba, gaussians, every, data, 4
    )


def test_a_file_is_the_same_without_the_compiler(prior_file, photograph, monkeypatch):
    """Coded by loops in numpy everywhere: the same bytes."""
    pixels = photograph(72, 88)
    data = prior_file(pixels)
    monkeypatch.setattr(compiled, "HAVE_NUMBA", False)
    assert prior_file(pixels) == data
