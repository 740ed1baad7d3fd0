"""estimate.py: seconds and megapixels of a run before it begins."""

import time

import pytest

from bitsback.codecs import (
    estimate,
)
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model
from tests.image_modes import of_mode


def test_estimates_count_what_the_prior_takes(tiny_model, photograph, monkeypatch):
    """Images the prior is tried on count, twice with verification; other modes do not; a short
    run is not timed.
    """
    images = [ImageData("RGB", photograph(200, 300)), of_mode("CMYK", 200, 300, photograph)]
    monkeypatch.setattr(
        estimate, "seconds_per_megapixel", lambda *_: pytest.fail("timed for a short run")
    )
    assert estimate.estimate(images, True, tiny_model, "cpu") == (0, pytest.approx(0.06))
    monkeypatch.undo()
    monkeypatch.setattr(estimate, "LONG", 0.05)
    (seconds, megapixels), (longer, _) = (
        estimate.estimate(images, False, tiny_model, "cpu"),
        estimate.estimate(images, True, tiny_model, "cpu"),
    )
    assert megapixels == pytest.approx(0.06) and seconds > 0 and longer == 2 * seconds
    assert (
        estimate.estimate([ImageData("RGB", photograph(300, 300))], True, tiny_model, "cpu", 30)[0]
        > 2 * longer
    )
    assert estimate.estimate(images[1:], True, tiny_model, "cpu") == (0, 0)


def test_multiply_adds(ensemble_model):
    """Those that benchmarks/README.md counts; an ensemble's are its members'."""
    for name, told in (("fast", 0.92), ("default", 2.09)):
        assert round(sum(estimate.multiply_adds(Model.open(name))) / 1e6, 2) == told
    one, other = (estimate.multiply_adds(part) for part in ensemble_model.models)
    assert estimate.multiply_adds(ensemble_model) == [2 * one[0] + other[0], other[1]]


def test_levels_lie_between_the_two_that_are_timed(tiny_model, monkeypatch):
    """Seconds rise with the multiply-adds: 4 for the finest level, 2 for the coarsest."""
    count = len(tiny_model.levels)
    work = [3.0, *[2.0] * (count - 2), 1.0]
    monkeypatch.setattr(estimate, "multiply_adds", lambda _: work)
    monkeypatch.setattr(estimate, "_seconds_of_level", lambda _, k: 2.0 if k else 4.0)
    estimate.seconds_per_megapixel.cache_clear()
    pace = estimate.seconds_per_megapixel(tiny_model, "cpu")
    assert pace == pytest.approx((4 + 3 * (count - 2) + 2) / (estimate.TIMED_SIDE**2 / 1e6))
    estimate.seconds_per_megapixel.cache_clear()


def test_the_pace_is_the_models_own(tiny_model, monkeypatch):
    """A network that takes longer makes a larger figure; a second question is not timed again."""
    estimate.seconds_per_megapixel.cache_clear()
    fast = estimate.seconds_per_megapixel(tiny_model, "cpu")
    assert estimate.seconds_per_megapixel(tiny_model, "cpu") == fast
    step, waited = tiny_model.chain().reverse[0], []
    push = step.push
    monkeypatch.setattr(
        step, "push", lambda *arguments: waited.append(time.sleep(1)) or push(*arguments)
    )
    estimate.seconds_per_megapixel.cache_clear()
    assert (
        estimate.seconds_per_megapixel(tiny_model, "cpu")
        > 0.5 * len(tiny_model.levels) / (estimate.TIMED_SIDE**2 / 1e6)
        and waited
    )
    estimate.seconds_per_megapixel.cache_clear()
