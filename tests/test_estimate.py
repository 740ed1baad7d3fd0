"""estimate.py: seconds and megapixels of a run before it begins."""

import time

import pytest

from bitsback.codecs import (
    estimate,
)
from bitsback.codecs.image import ImageData
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
