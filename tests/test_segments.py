"""Segments: the plan covers everything once, and a plan that does not is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.ans.lanes import MAX_LANES, Lanes
from bitsback.codecs import segment_layout, segments
from bitsback.codecs.bitstream.header import LaneRule
from bitsback.codecs.segment_layout import Covered
from bitsback.coder.chain import Chain
from bitsback.coder.context import CONTEXT_ROWS
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile
from tests import numpy_decoder as yardstick

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


# How many lanes


@pytest.mark.parametrize("each", [1, 48, 1024])
@pytest.mark.parametrize("most", [1, 300, 4096])
def test_lanes_for_coded_samples(each, most):
    """One lane for each `samples` coded, at least 1, at most `most`."""
    rule = LaneRule(each, most)
    assert rule.count(0) == rule.count(each - 1) == rule.count(each) == 1
    assert rule.count(2 * each) == rule.count(3 * each - 1) == min(2, most)
    assert rule.count(most * each - 1) == max(1, most - 1)
    assert rule.count(most * each) == rule.count(2**40) == most


def test_lanes_of_images():
    """Opened for 256 coded samples each, one for 6,144 samples of all images at the end."""
    assert segments.lane_rule([(8, 8, 1)]) == segments.lane_rule([(64, 63, 3)]) == (256, 1)
    assert segments.lane_rule([(64, 64, 3)]) == segments.lane_rule([(64, 64, 1)] * 3) == (256, 2)
    assert segments.lane_rule([(512, 768, 3)]) == (256, 192)
    assert segments.lane_rule([(4000, 6000, 3)]) == (256, MAX_LANES) == (256, 4096)


RULE = LaneRule(12_288, 4096)
PLANS = [
    ([(40, 16, 3), (16, 16, 3)], (0, 8, 8), [(2, 8), (1, 32), (0, 1)]),
    ([(40, 16, 1), (16, 16, 1)], (0, 0, 0), [(1, 16), (1, 24), (0, 1)]),
    ([(16, 24, 3)] * 3 + [(8, 8, 1)] * 2, (0, 0, 0), [(0, 3), (0, 2)]),
    ([(300, 400, 3)], (0, 64, 64), [(2, 136), (1, 136), (2, 200), (1, 100)]),
]


@pytest.mark.parametrize("sizes, start, plan", PLANS)
@pytest.mark.parametrize("masked", ["none", "some", "all"])
def test_coded_samples_are_those_that_are_not_fixed(sizes, start, plan, masked):
    """Counted one by one; images without a mask, or without any, count whole; by the document too.

    lane_counts: no lane before the first segment, then what the rule says of all samples so far.
    """
    rng = np.random.default_rng(len(sizes))
    masks = None
    if masked != "none":
        masks = [rng.random(size) < 0.5 for size in sizes]
        masks[0] = masks[0] if masked == "all" else None
    found = segment_layout.locate(sizes, start, plan)
    total, expected = 0, [0]
    for segment in found:
        channels = sizes[segment.image][2]
        own = 0
        for i in range(segment.image, segment.image + segment.images):
            mask = np.ones(sizes[i], bool) if masks is None or masks[i] is None else masks[i]
            own += sum(
                mask[row, column, c]
                for row in range(segment.top, segment.top + segment.height)
                for column in range(segment.left, segment.left + segment.width)
                for c in range(channels)
            )
        assert segments.coded_samples(segment, channels, masks) == own
        total += own
        expected.append(RULE.count(total))
    counts = segments.lane_counts(sizes, found, masks, RULE)
    assert counts == expected == sorted(counts) and counts[1] >= 1
    whole = masks and [
        (np.ones(size, bool) if mask is None else mask).transpose(2, 0, 1)
        for mask, size in zip(masks, sizes)
    ]
    assert yardstick.lane_counts(sizes, start, plan, RULE, whole) == counts
    if sizes[0][0] == 300 and masked != "all":
        assert counts[-1] > counts[1] > 1


def test_gray_images_take_a_third_of_the_lanes():
    """Samples are counted, not pixels."""
    plan = [(1, 512)]
    colour, gray = (
        segments.lane_counts(
            [(512, 720, channels)],
            segment_layout.locate([(512, 720, channels)], (0, 0, 0), plan),
            None,
            RULE,
        )
        for channels in (3, 1)
    )
    assert colour == [0, 90] and gray == [0, 30]


def test_small_images_use_one_lane(tiny_model, photograph, monkeypatch):
    """Under 12,288 samples: a file's payload closes one lane."""
    opened, widen = [], Lanes.widen
    monkeypatch.setattr(
        Lanes, "widen", lambda self, lanes: opened.append(lanes) or widen(self, lanes)
    )
    pixels = photograph(63, 65)
    plan = segments.push_segments(
        tiny_model.chain(),
        Lanes(bytes(2**17)),
        [pixels],
        Covered(0),
        Top.fitted([pixels], tiny_model.levels),
    )
    assert plan and set(opened) == {1} and pixels.size == 12_285
    monkeypatch.setattr(segments, "SAMPLES_PER_LANE", 1000)
    segments.push_segments(
        tiny_model.chain(),
        Lanes(bytes(2**17)),
        [pixels[:40]],
        Covered(0),
        Top.fitted([pixels], tiny_model.levels),
    )
    assert max(opened) == 7


@pytest.mark.parametrize("each", [1, 7, 300, 900])
def test_segments_come_back_from_many_lanes(tiny_model, photograph, monkeypatch, each):
    """More lanes with every segment, each coded in as many as lane_counts says."""
    monkeypatch.setattr(segments, "SAMPLES_PER_LANE", each)
    images = [photograph(33, 19), photograph(16, 24)[..., :1], photograph(16, 24)]
    masks = [np.random.default_rng(1).random((33, 19, 3)) < 0.7, None, None]
    top, widths, push, pop = Top.fitted(images, tiny_model.levels), [], Chain.push, Chain.pop
    data = np.random.default_rng(each).bytes(20_001)
    lanes = Lanes(data)

    def pushed(self, lanes, *rest):
        push(self, lanes, *rest)
        widths.append(len(lanes))

    def popped(self, lanes, *rest, **options):
        assert len(lanes) == widths.pop()
        return pop(self, lanes, *rest, **options)

    monkeypatch.setattr(Chain, "push", pushed)
    monkeypatch.setattr(Chain, "pop", popped)
    plan = segments.push_segments(tiny_model.chain(), lanes, images, Covered(0), top, masks=masks)
    sizes = [pixels.shape for pixels in images]
    counts = segments.lane_counts(
        sizes, segment_layout.locate(sizes, Covered(0), plan), masks, segments.lane_rule(sizes)
    )
    assert widths == counts[1:] and len(lanes) == counts[-1] and (counts[-1] > 1)
    lanes = Lanes.from_bytes(lanes.to_bytes(), counts[-1])
    back = [np.where(masks[0], 0, images[0]).astype(np.uint8), *map(np.zeros_like, images[1:])]
    segments.pop_segments(tiny_model.chain(), lanes, back, Covered(0), plan, top, masks=masks)
    assert not widths and all(map(np.array_equal, images, back))
    assert len(lanes) == 0 and lanes.credit(len(data)) == data
