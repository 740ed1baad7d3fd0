"""Segments: the plan covers everything once, and a plan that does not is refused."""
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bitsback.chain import Top
from bitsback.codecs import segments
from bitsback.errors import DamagedFile
from bitsback.stack import Stack

SIZES = st.lists(st.sampled_from([(8, 8), (40, 16), (40, 16), (100, 7), (64, 64)]), min_size=1, max_size=6)


@given(SIZES, st.floats(1e3, 1e6))
def test_next_segment_always_leads_to_a_cover(sizes, bits):
    """Following next_segment from the top either stops with (0, 0) or covers all pictures exactly once."""
    at, plan = (0, 0), []
    while at[0] < len(sizes):
        segment = segments.next_segment(sizes, at, bits, 3.0)
        if segment == (0, 0):
            return
        images, rows = segment
        dims = 3 * (rows * sizes[at[0]][1] if rows else images * sizes[at[0]][0] * sizes[at[0]][1])
        assert 3.0 * dims <= bits
        plan.append(segment)
        place = segments.locate_one(sizes, at, segment)
        at = (place[0], place[3]) if place[3] < sizes[place[0]][0] else (place[0] + place[1], 0)
    places = segments.locate(sizes, (0, 0), plan)
    assert sum(n * (end - row) * sizes[i][1] for i, n, row, end in places) == sum(h * w for h, w in sizes)


@pytest.mark.parametrize("start, plan", [
    ((0, 0), [(1, 39)]), ((0, 0), [(1, 41)]), ((0, 0), [(2, 0)]), ((0, 0), [(1, 40), (1, 16), (1, 1)]),
    ((0, 41), [(1, 0)]), ((3, 0), []), ((0, 0), [(0, 0), (1, 40), (1, 16)]), ((0, 8), [(1, 0), (1, 16)]), ((2, 1), [])])
def test_plans_that_do_not_fit_are_refused(start, plan):
    """locate() raises DamagedFile unless the segments cover the two pictures from `start` on."""
    with pytest.raises(DamagedFile):
        segments.locate([(40, 16), (16, 16)], start, plan)


def test_plain_parts_come_back():
    """plain_parts / unpack_plain_parts over whole images and a strip; a cut is refused."""
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((5, 7), (3, 3), (20, 9))]
    for start in ((0, 4), (1, 0), (2, 16), (3, 0)):
        data = segments.plain_parts(images, start)
        back = [np.zeros_like(p) for p in images]
        segments.unpack_plain_parts(data, back, start)
        for i, (a, b) in enumerate(zip(images, back)):
            known = len(a) if i < start[0] else start[1] if i == start[0] else 0
            assert np.array_equal(a[:known], b[:known]) and not b[known:].any()
        with pytest.raises(DamagedFile):
            segments.unpack_plain_parts(data[:len(data) // 2], back, start)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([(16, 16), (24, 16), (33, 19)]), min_size=1, max_size=4), st.integers(0, 2**31))
def test_push_and_pop_are_mirrors(tiny_model, sizes, seed):
    """Segments of pictures of several sizes: pixels and words come back, whatever the plan was."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    stack = Stack(rng.bytes(20000))
    before, top = stack.to_words(), Top.fitted(images, tiny_model.levels)
    plan = segments.push_segments(tiny_model.chain(), stack, images, (0, 0), top)
    assert plan
    back = [np.zeros_like(p) for p in images]
    segments.pop_segments(tiny_model.chain(), stack, back, (0, 0), plan, top)
    assert all(np.array_equal(a, b) for a, b in zip(images, back)) and stack.to_words() == before


def test_a_stack_too_small_gives_no_plan(tiny_model):
    """Without credit nothing is borrowed: push_segments returns None and the stack is as it was."""
    image, stack = np.zeros((64, 64, 3), np.uint8), Stack(b"abc")
    words = stack.to_words()
    assert segments.push_segments(tiny_model.chain(), stack, [image], (0, 0), Top.fitted([image], tiny_model.levels)) is None
    assert stack.to_words() == words
