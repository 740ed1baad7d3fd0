"""ledger.py: the bits of each segment, level, pass and colour add up to the change of the lanes."""

import numpy as np
import pytest

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.lanes import Lanes
from bitsback.codecs import segments
from bitsback.codecs.segment_layout import Covered
from bitsback.coder.chain import Chain
from bitsback.coder.context import no_context
from bitsback.coder.ledger import Entry, Ledger
from bitsback.coder.top import Top
from bitsback.errors import StackEmpty
from tests.laws import credit


def counted(images):
    counts = ColourCounts(2)
    for pixels in images:
        counts.count_all(segments.planes(pixels))
    return counts


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_entries_are_the_changes_of_the_lanes(tiny_model, photograph, channels, counting):
    """A segment's entries sum to its growth exactly, and decoding takes what encoding added."""
    images = [photograph(24, 24, seed)[..., :channels] for seed in range(2)] + [
        photograph(16, 40)[..., :channels]
    ]
    chain, top = tiny_model.chain(), Top.fitted(images, tiny_model.levels)
    lanes, sizes, push = Lanes(np.random.default_rng(0).bytes(9000)), [], Chain.push

    def watched(self, lanes, *rest):
        sizes.append([lanes.size_bits])
        push(self, lanes, *rest)
        sizes[-1].append(lanes.size_bits)

    encoder, decoder = Ledger(), Ledger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chain, "push", watched)
        plan = segments.push_segments(
            chain,
            lanes,
            images,
            Covered(0),
            top,
            counts=counted(images) if counting else None,
            ledger=encoder,
        )
    growth = {
        segment: pushed - popped
        for segment, (popped, pushed) in encoder.sums(lambda e: e.segment).items()
    }
    assert growth == {i: after - before for i, (before, after) in enumerate(sizes)}
    assert len(growth) == len(plan) == 2
    segments.pop_segments(
        chain,
        lanes,
        [np.zeros_like(pixels) for pixels in images],
        Covered(0),
        plan,
        top,
        counts=ColourCounts(2) if counting else None,
        ledger=decoder,
    )
    key = lambda e: e[:4]  # noqa: E731
    mine, theirs = encoder.sums(key), decoder.sums(key)
    assert set(mine) == set(theirs)
    for where, (popped, pushed) in mine.items():
        assert abs(popped - theirs[where][1]) <= 1 and abs(pushed - theirs[where][0]) <= 1


def test_each_part_has_its_own_entry(tiny_model, photograph):
    """One entry for each pop, each pass and colour of a level, and the top; none is zero."""
    pixels, ledger = photograph(16, 16), Ledger()
    x, lanes = segments.planes(pixels), credit(9000, 1)
    ledger.begin(3, lanes)
    chain = tiny_model.chain()
    chain.push(lanes, x, Top.fitted([pixels], tiny_model.levels), no_context(x), ledger=ledger)
    count, passes = len(tiny_model.levels), len(chain.network.order(0))
    expected = {(3, k, None, None) for k in range(count + 1)} | {
        (3, k, p, c) for k in range(count) for p in range(passes) for c in range(3)
    }
    assert {e[:4] for e in ledger.entries} == expected and len(ledger.entries) == len(expected)
    for e in ledger.entries:
        q = e.coding_pass is None and e.level < count
        assert (e.popped > 0, e.pushed > 0) == (q, not q)


def test_an_attempt_that_failed_leaves_no_entry(tiny_model, photograph, monkeypatch):
    """Segments that ran the lanes dry are not in the ledger: it adds up to their growth."""
    images, failed, push = [photograph(104, 96)], [], Chain.push
    lanes, ledger = Lanes(np.random.default_rng(0).bytes(2500)), Ledger()
    before = lanes.size_bits

    def watched(self, *rest):
        try:
            push(self, *rest)
        except StackEmpty:
            failed.append(len(ledger.entries))
            raise

    monkeypatch.setattr(segments, "DEBT", 0.9)
    monkeypatch.setattr(Chain, "push", watched)
    top = Top.fitted(images, tiny_model.levels)
    plan = segments.push_segments(tiny_model.chain(), lanes, images, Covered(0), top, ledger=ledger)
    assert failed and len(plan) > 1
    (popped, pushed), *rest = ledger.sums(lambda e: None).values()
    assert not rest and lanes.size_bits - before == pushed - popped


def test_sums():
    """By any key: popped and pushed apart."""
    ledger = Ledger()
    ledger.entries = [
        Entry(0, 0, None, None, 5, 0),
        Entry(0, 0, 1, 2, 0, 9),
        Entry(1, 0, 1, 2, 0, 4),
    ]
    assert ledger.sums(lambda e: e.level) == {0: (5, 13)}
    assert ledger.sums(lambda e: (e.segment, e.colour)) == {
        (0, None): (5, 0),
        (0, 2): (0, 9),
        (1, 2): (0, 4),
    }


def test_beginning_again_drops_the_segments_entries():
    """Those of other segments stay; what is recorded next starts from the lanes as they are now."""
    ledger, lanes = Ledger(), credit(8, lanes=1)
    for segment in (0, 1, 1):
        ledger.begin(segment, lanes)
        lanes.push_uniform(np.array([5] * 16), 8)
        ledger.record(lanes, 2)
    assert [e.segment for e in ledger.entries] == [0, 1]
    assert ledger.sums(lambda e: e.segment) == {0: (0, 128), 1: (0, 128)}
