"""Segments: the plan covers everything once, and a plan that does not is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.ans.lanes import Lanes
from bitsback.codecs import segment_layout, segments
from bitsback.codecs.segment_layout import Covered
from bitsback.coder.context import CONTEXT_ROWS
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile

SIZES = st.lists(
    st.sampled_from([(8, 8, 3), (40, 16, 3), (40, 16, 1), (40, 16, 3), (100, 7, 3), (64, 64, 1)]),
    min_size=1,
    max_size=6,
)


@given(SIZES, st.floats(1e3, 1e6))
def test_next_segment_always_leads_to_a_cover(sizes, bits):
    """Following next_segment from the top covers all images once, or stops with None.

    Either way within the credit.
    """
    corner, plan, covered = Covered(0), [], [np.zeros(size[:2], int) for size in sizes]
    while corner.image < len(sizes):
        segment = segment_layout.next_segment(sizes, corner, bits, 3.0)
        if segment is None:
            return
        place, corner = segment_layout.segment_at(sizes, corner, segment)
        assert (
            sizes[place.image][2] * 3.0 * place.pixels <= bits
            and len({size[2] for size in sizes[place.image : place.image + place.images]}) == 1
        )
        plan.append(segment)
        for image in covered[place.image : place.image + place.images]:
            image[place.top : place.top + place.height, place.left : place.left + place.width] += 1
    assert all((image == 1).all() for image in covered)
    assert sum(place.pixels for place in segment_layout.locate(sizes, Covered(0), plan)) == sum(
        h * w for h, w, _ in sizes
    )


@pytest.mark.parametrize(
    "start, plan",
    [
        ((0, 0, 0), [(1, 39)]),
        ((0, 0, 0), [(1, 41)]),
        ((0, 0, 0), [(0, 2)]),
        ((0, 0, 0), [(1, 40), (1, 16), (1, 1)]),
        ((0, 41, 16), [(0, 1)]),
        ((3, 0, 0), []),
        ((0, 0, 0), [(0, 0), (1, 40), (1, 16)]),
        ((0, 8, 16), [(0, 1), (1, 16)]),
        ((2, 1, 1), []),
        ((0, 8, 0), [(1, 32), (0, 1)]),
        ((0, 8, 12), [(2, 4), (1, 32), (0, 1)]),
        ((0, 0, 0), [(2, 16), (0, 1)]),
        ((0, 8, 8), [(2, 3), (2, 5), (1, 32), (0, 1)]),
        ((0, 8, 8), [(3, 8), (1, 32), (0, 1)]),
        ((0, 40, 16), [(0, 1)]),
    ],
)
def test_plans_that_do_not_fit_are_refused(start, plan):
    """locate() raises DamagedFile unless segments cover both images from `start` on.

    In blocks of 8 that end at edges.
    """
    with pytest.raises(DamagedFile):
        segment_layout.locate([(40, 16, 3), (16, 16, 3)], start, plan)


def test_what_decodes_earlier_lies_below_and_right():
    """All that known_around() returns was decoded before, and it returns all of that."""
    sizes = [(72, 104, 3), (24, 16, 3)]
    plan = [(2, 24), (1, 16), (1, 32), (2, 72), (0, 1)]
    start = Covered(0, 24, 8)
    images = [np.zeros(size, np.uint8) for size in sizes]
    for place in reversed(segment_layout.locate(sizes, start, plan)):
        known = segments.context_around(images, place)
        assert (known.below == 127).all() and (known.right == 127).all()
        height, width, _ = sizes[place.image]
        assert known.below.shape[2] == min(
            CONTEXT_ROWS, height - place.top - place.height
        ) and known.right.shape[3] == min(CONTEXT_ROWS, width - place.left - place.width)
        for block in segments.blocks(images, place):
            block[:] = 255
    images[0][:24, :8] += 255
    assert (
        all((pixels == 255).all() for pixels in images[1:])
        and (images[0][24:] == 255).all()
        and (images[0][:24, :8] == 255).all()
    )


def test_fallback_parts_come_back():
    """fallback_parts and unpack_fallback_parts over whole images and a block; a cut is refused."""
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((5, 7), (3, 3), (20, 9))]
    for start in ((0, 4, 7), (1, 0, 0), (2, 16, 8), (3, 0, 0)):
        data = segments.fallback_parts(images, start)
        back = [np.zeros_like(p) for p in images]
        segments.unpack_fallback_parts(data, back, start)
        for i, (a, b) in enumerate(zip(images, back)):
            rows, columns = a.shape[:2] if i < start[0] else start[1:] if i == start[0] else (0, 0)
            assert (
                np.array_equal(a[:rows, :columns], b[:rows, :columns])
                and not b[rows:].any()
                and not b[:, columns:].any()
            )
        with pytest.raises(DamagedFile):
            segments.unpack_fallback_parts(data[: len(data) // 2], back, start)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.sampled_from([(16, 16, 3), (24, 16, 3), (24, 16, 1), (33, 19, 1)]),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**31),
)
def test_push_and_pop_are_mirrors(tiny_model, sizes, seed):
    """Segments of images of several sizes: pixels and words come back, whatever the plan was."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    lanes = Lanes(rng.bytes(20000))
    before, top = lanes.to_bytes(), Top.fitted(images, tiny_model.levels)
    plan = segments.push_segments(tiny_model.chain(), lanes, images, Covered(0), top)
    assert plan
    back = [np.zeros_like(p) for p in images]
    segments.pop_segments(tiny_model.chain(), lanes, back, Covered(0), plan, top)
    assert all(np.array_equal(a, b) for a, b in zip(images, back)) and lanes.to_bytes() == before


def test_a_credit_too_small_gives_no_plan(tiny_model):
    """Without credit nothing is borrowed: no plan, and the lanes are as they were."""
    image, lanes = np.zeros((64, 64, 3), np.uint8), Lanes(b"abc")
    message = lanes.to_bytes()
    assert (
        segments.push_segments(
            tiny_model.chain(), lanes, [image], Covered(0), Top.fitted([image], tiny_model.levels)
        )
        is None
    )
    assert lanes.to_bytes() == message
