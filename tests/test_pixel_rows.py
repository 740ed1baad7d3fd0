"""pixel_rows.py: rows of p(x | y_0) that fit what is coded under them."""

import numpy as np
import pytest

from bitsback.ans.gaussian_tables import FRACTIONS, SCALE_ONE, SCALES, TOTAL
from bitsback.ans.row_table import CENTRE, COLUMNS
from bitsback.train.pixel_rows import LEAST_VALUES, pixel_frequencies, value_counts

SCALE = SCALE_ONE - 10


@pytest.fixture(scope="module")
def frequencies(gaussians):
    return gaussians.frequencies


def row(frequencies, scale, fraction=0):
    return frequencies[scale * FRACTIONS + fraction] / TOTAL


def counts_of(parts, frequencies, total=1_000_000):
    """Counts of one scale whose values are a mixture: {scale: share}."""
    counts = np.zeros((SCALES, FRACTIONS * COLUMNS), np.int64)
    for fraction in range(FRACTIONS):
        mixed = sum(share * row(frequencies, scale, fraction) for scale, share in parts.items())
        counts[SCALE, fraction * COLUMNS : (fraction + 1) * COLUMNS] = np.rint(total * mixed)
    return counts


def bits(counts, table, scale=SCALE):
    begin = scale * FRACTIONS
    rows = table[begin : begin + FRACTIONS].ravel() / TOTAL
    return -(counts[scale] * np.log2(rows)).sum() / counts[scale].sum()


def test_a_mixture_is_found(frequencies):
    """Values of two scales cost nearly their entropy under the fitted row."""
    parts = {SCALE - 12: 0.6, SCALE + 18: 0.4}
    counts = counts_of(parts, frequencies)
    table = pixel_frequencies(counts, frequencies)
    shares = counts[SCALE] / counts[SCALE].sum()
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() - np.log2(FRACTIONS)
    assert bits(counts, table) - entropy < 0.002
    assert bits(counts, frequencies) - entropy > 0.05


def test_gaussians_stay_what_they_are(frequencies):
    counts = counts_of({SCALE: 1.0}, frequencies)
    table = pixel_frequencies(counts, frequencies)
    assert bits(counts, table) - bits(counts, frequencies) < 0.003
    few = counts * 0
    few[SCALE, CENTRE] = LEAST_VALUES - 1
    assert np.array_equal(pixel_frequencies(few, frequencies), frequencies[: SCALES * FRACTIONS])


def test_rows_are_distributions_of_the_same_means(frequencies):
    table = pixel_frequencies(counts_of({SCALE: 0.5, SCALE + 24: 0.5}, frequencies), frequencies)
    assert table.shape == (SCALES * FRACTIONS, COLUMNS) and table.dtype == np.int32
    assert (table.sum(1, dtype=np.int64) == TOTAL).all() and table.min() >= 4
    columns, begin = np.arange(COLUMNS) - CENTRE, SCALE * FRACTIONS
    for fraction in range(FRACTIONS):
        assert (columns @ table[begin + fraction]) / TOTAL == pytest.approx(
            fraction / FRACTIONS, abs=2e-3
        )


def test_counts_are_of_all_samples(tiny_model, photograph):
    images = [photograph(24, 32), photograph(16, 40, 1)]
    counts = value_counts(tiny_model, images)
    assert counts.shape == (SCALES, FRACTIONS * COLUMNS)
    assert counts.sum() == sum(pixels.size for pixels in images)
    again = value_counts(tiny_model, images)
    assert np.array_equal(counts, again)


def test_an_ensemble_codes_pixels_under_its_own_rows(ensemble_model):
    first = ensemble_model.models[0]
    begin = len(first.gaussians.frequencies) // FRACTIONS
    assert np.array_equal(ensemble_model.steps[0].scale, first.steps[0].scale + begin)
    assert all(
        np.array_equal(own.scale, others.scale)
        for own, others in zip(ensemble_model.steps[1:], first.steps[1:])
    )
    own = ensemble_model.gaussians.frequencies[begin * FRACTIONS :]
    assert len(own) == SCALES * FRACTIONS and not np.array_equal(
        own, first.gaussians.frequencies[: len(own)]
    )
