"""whole_pixels.py: mixtures of p(y_0 | y_1) over the whole numbers that a pixel may be."""

import numpy as np
import pytest
import torch

from bitsback.ans.gaussian_tables import FRACTIONS, SCALES, TOTAL, Gaussians, gaussian_frequencies
from bitsback.ans.lanes import random_lanes
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.diffusion.levels import Level, default_levels, sigmas
from bitsback.diffusion.schedule import reverse_step
from bitsback.diffusion.whole_pixels import (
    FLOORS,
    LOW,
    SETS,
    WholeRows,
    whole_frequencies,
    whole_rows,
)
from bitsback.integer.model_file import read_model, write_model

LEVELS = default_levels()


@pytest.fixture(scope="module")
def rows():
    return whole_frequencies(LEVELS)


def test_rows_are_distributions(rows):
    assert rows.shape == (SETS * FLOORS * FRACTIONS, 64) and rows.dtype == np.int32
    assert (rows >= 4).all() and (rows.sum(1) == TOTAL).all()


def test_rows_are_those_of_simulated_pixels(rows):
    """x whole, near a Gaussian; y_0 and y_1 by the forward steps: y_0 given y_1 = 0 has the row's
    mean, and the row takes fewer bits than the Gaussian row of the same mean and scale."""
    rng, whole = np.random.default_rng(1), whole_rows(LEVELS)
    noise, spacing = sigmas(LEVELS), LEVELS[0].spacing
    a, lambda2 = reverse_step(noise[0], noise[1])
    for above, floor, fraction in ((2, 0, 0), (2, 0, 16), (5, -1, 8), (9, 1, 20)):
        scale = whole.first + above
        v = (2.0 ** ((scale - 64) / 8) + 1 / 12) * spacing**2 - lambda2
        xhat = (floor + fraction / 32) * spacing / a
        x = np.arange(-6, 7)
        share = np.exp(-((x - xhat) ** 2) * a**2 / (2 * v))
        x = rng.choice(x, 400_000, p=share / share.sum())
        mean, sd = a * x, np.sqrt(lambda2 - spacing**2 / 12)  # of y_0 given y_1 = 0
        y_0 = np.rint((mean + sd * rng.standard_normal(len(x))) / spacing).astype(np.int32)
        row = rows[((above * FLOORS) + floor - LOW) * FRACTIONS + fraction] / TOTAL
        centres = np.arange(64) - 31 + floor
        assert row @ centres == pytest.approx(y_0.mean(), abs=0.02)
        gaussian = gaussian_frequencies()[scale * FRACTIONS + fraction] / TOTAL
        column = y_0 - floor + 31
        ours, theirs = (-np.log2(some[column]).mean() for some in (row, gaussian))
        assert ours < theirs + 1e-3
        if above == 2 and fraction == 16:
            assert ours < theirs - 0.01


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_which_row(make):
    """Inside: a set for each scale and floor; outside the scale stays."""
    whole = WholeRows(SCALES, 58, 1)
    y = [10, 10, 10, 10, 10, 10]
    mean32 = [20 * 32 + 5, 14 * 32, 14 * 32 - 1, 25 * 32 + 31, 26 * 32, 20 * 32]
    scale = [58, 73, 60, 59, 59, 74]
    found = whole.scale(*(make(some) for some in (mean32, scale, y))).tolist()
    assert found == [113 + 6, 113 + 15 * 12, 60, 113 + 12 + 11, 59, 74]
    assert whole.scale(make(mean32), make([57] * 6), make(y)).tolist() == [57] * 6


def test_levels_that_have_none():
    assert whole_rows(LEVELS[:1]) is None
    assert whole_rows((Level(0, 64), Level(1, 64))) is None
    with pytest.raises(ValueError):
        whole_frequencies((Level(0, 64), Level(1, 64)))


def test_models_with_and_without(tiny_model, photograph, tmp_path):
    """Only step 1 differs, and codes what it popped; a model without the rows is read as ever."""
    tensors, about, _ = read_model(tiny_model.path)
    plain = {name: value for name, value in tensors.items() if not name.startswith("whole")}
    write_model(tmp_path / "m", plain, {k: v for k, v in about.items() if k != "id"})
    without = Model(tmp_path / "m")
    assert without.whole is None and tiny_model.whole == whole_rows(tiny_model.levels)
    assert without.id != tiny_model.id
    x = photograph(24, 32, 1).transpose(2, 0, 1)[None].astype(np.int32) - 128
    context, chains = no_context(x), [model.chain() for model in (tiny_model, without)]
    value, same = x, []
    for k in range(3):
        y = chains[0].forward[k].pop(random_lanes(x.size), value, context)
        sizes = []
        for chain in chains:
            lanes = random_lanes(x.size)
            before = lanes.size_bits
            chain.reverse[k].push(lanes, value, y, context)
            sizes.append(lanes.size_bits - before)
            assert np.array_equal(chain.reverse[k].pop(lanes, y, context), value)
            assert lanes.size_bits == before
        same.append(sizes[0] == sizes[1])
        value = y
    assert same == [True, False, True]


def test_tensors_have_the_rows_of_arrays(tiny_model, photograph):
    """Requests of step 1 on torch's operations equal those of the compiled loops."""
    x = photograph(16, 24, 2).transpose(2, 0, 1)[None].astype(np.int32) - 128
    chain, context = tiny_model.chain(), no_context(x)
    y_0 = chain.forward[0].pop(random_lanes(x.size), x, context)
    y_1 = chain.forward[1].pop(random_lanes(x.size), y_0, context)
    codec = chain.reverse[1]
    arrays = list(codec._step(y_1, y_0, context, True, None))
    there = [torch.from_numpy(some) for some in (y_1, y_0)]
    around = no_context(there[0])
    tensors = list(codec._step(*there, around, True, None))
    used = 0
    for one, other in zip(arrays, tensors, strict=True):
        assert np.array_equal(one.scale, other.scale.numpy())
        used += int((one.scale >= SCALES).sum())
    assert isinstance(tiny_model.gaussians, Gaussians) and used > 0
