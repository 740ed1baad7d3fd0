"""prior_trial.py: bits of crops under the prior, many in one pass of the network."""

import numpy as np

from bitsback.ans.lanes import random_lanes
from bitsback.codecs import (
    mode_decision,
    prior_trial,
)
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.image import ImageData
from bitsback.codecs.segments import planes
from bitsback.coder.context import no_context
from bitsback.coder.top import Top


def noise(count, size=(8, 8), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8))


def trunks(model, monkeypatch):
    """A list of the numbers of images that the network is asked at once, from now on."""
    network, asked = model.chain().network, []
    trunk = network.trunk
    monkeypatch.setattr(network, "trunk", lambda index, y: asked.append(len(y)) or trunk(index, y))
    return asked


def likely(images, model):
    return mode_decision.prior_likely(
        images, lambda crops: prior_trial.prior_bits(crops, model), encode_fallback
    )


def test_small_images_are_tried_together(tiny_model, monkeypatch):
    """Forty images pass the network once a level, not forty times; another size once more."""
    asked = trunks(tiny_model, monkeypatch)
    images = [ImageData("RGB", pixels) for pixels in noise(40) + noise(3, (5, 9))]
    assert likely(images, tiny_model) == [False] * 43
    assert sorted(asked) == [3] * len(tiny_model.levels) + [40] * len(tiny_model.levels)


def test_a_batch_is_no_larger_than_one_trial(tiny_model, monkeypatch):
    """Memory: images of many pixels in several batches, with the answers of one at a time."""
    images = [ImageData("RGB", pixels) for pixels in noise(5, (16, 16))]
    one_by_one = [likely([image], tiny_model)[0] for image in images]
    monkeypatch.setattr(mode_decision, "TRIAL_SIDE", 24)
    asked = trunks(tiny_model, monkeypatch)
    assert likely(images, tiny_model) == one_by_one and sorted(set(asked)) == [
        1,
        2,
    ]


def test_bits_of_a_trial_are_what_the_lanes_grow_by(tiny_model, photograph):
    """Of one image and of several, but for what other random bits make of it; each its own."""
    crops = np.stack([photograph(24, 16), noise(1, (24, 16))[0], np.full((24, 16, 3), 9, np.uint8)])
    for some in (crops[:1], crops):
        x = planes(some)
        lanes = random_lanes(x.size, len(tiny_model.levels))
        before = lanes.size_bits
        tiny_model.chain().push(lanes, x, Top.fitted(list(some), tiny_model.levels), no_context(x))
        bits = prior_trial.prior_bits(some, tiny_model, "cpu")
        assert abs(bits.sum() / (lanes.size_bits - before) - 1) < 0.06
    alone = [prior_trial.prior_bits(crop[None], tiny_model, "cpu")[0] for crop in crops]
    assert np.allclose(bits, alone, rtol=0.06) and max(alone) > 1.5 * min(alone)
