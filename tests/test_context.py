"""Context rows: noise from a hash, in distribution and the same everywhere."""

import numpy as np

from bitsback.ans import gaussian_tables
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.coder import context, sample_arrays
from bitsback.diffusion.levels import default_levels, sigmas


def splitmix(level, side, channel, row, column):
    """The document's formula with Python's own integers."""
    mask = 2**64 - 1
    z = (
        (((4 * level + channel) * 4 + side) * 2**22 + row) * 2**24 + column + 0x9E3779B97F4A7C15
    ) & mask
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
    return (z ^ z >> 31) >> 40


def test_hash_is_the_formula():
    """hash_bits equals the formula of ARITHMETIC.md section 5, computed with unbounded integers."""
    for side in (context.BELOW, context.RIGHT, context.INSIDE):
        bits = sample_arrays.hash_bits(7, side, 3, 32, 50)
        for channel, row, column in ((0, 0, 0), (1, 5, 49), (2, 31, 17)):
            assert bits[channel, row, column] == splitmix(7, side, channel, row, column)


def test_hash_bits_are_uniform_and_uncorrelated():
    """24-bit numbers: mean and lag-one correlations within five standard errors."""
    u = sample_arrays.hash_bits(3, 0, 3, 64, 512) / 2**24
    n = u.size
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    for axis in (0, 1, 2):
        a, b = np.delete(u, -1, axis), np.delete(u, 0, axis)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


def test_chain_has_the_levels_noise():
    """Noise of known pixels: variance sigma_k^2 within 3 %, mean 0 within 4 standard errors."""
    levels = default_levels()
    x = np.random.default_rng(1).integers(-128, 128, (1, 3, 32, 400), dtype=np.int32)
    chain = context.context_chain(
        Gaussians(gaussian_tables.forward_frequencies([level.step for level in levels])),
        levels,
        context.Context(x, x[:, :, :, :399]),
    )
    for level, sigma, y in zip(levels, sigmas(levels), chain):
        sides = [y.below * level.spacing - x, y.right * level.spacing - x[:, :, :, :399]]
        for noise in sides:
            assert abs(noise.var() / sigma**2 - 1) < 0.03
            assert abs(noise.mean()) < 4 * sigma / x.size**0.5
        assert (
            abs(np.corrcoef(sides[0][:, :, :, :399].ravel(), sides[1].ravel())[0, 1])
            < 5 / x.size**0.5
        )


def test_sample_inverts_the_table():
    """sample() returns the column whose interval of the cumulative frequencies holds the bits."""
    gaussians = Gaussians(gaussian_tables.gaussian_frequencies())
    mean32, scale = np.array([0, 5, -7, 160], np.int32), 60
    for bits in (0, 1, 2**23, 2**24 - 1):
        values = sample_arrays.sample(gaussians, mean32, scale, np.full(4, bits, np.uint32))
        for value, mean in zip(values.tolist(), mean32.tolist()):
            column = value - (mean >> 5) + 31
            row = gaussians.frequencies[scale * 32 + (mean & 31)].tolist()
            assert sum(row[:column]) <= bits < sum(row[: column + 1])
