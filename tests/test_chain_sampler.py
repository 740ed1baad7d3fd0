"""chain_sampler.py: popping from random bits is exact sampling."""

import numpy as np
import torch

from bitsback.coder.context import no_context
from bitsback.coder.distributions import Distributions
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.sampling.chain_sampler import (
    draw,
    nearest_level,
    on_lattice,
    random_bits,
    sample_chain,
    wide_top,
)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_what_is_drawn_is_in_the_bits(tiny_model):
    """Pushing all levels of a draw under their distributions restores the random bits exactly.

    A bijection from uniform bits: each value has the probability of its frequency.
    """
    chain, shape = tiny_model.chain(), (2, 3, 8, 9)
    lanes = random_bits(20_000, generator())
    before = lanes.to_bytes()
    values = draw(chain, lanes, shape)
    assert len(values) == len(chain.levels) + 1 and lanes.to_bytes() != before
    for reverse, y, value in zip(chain.reverse, values[-2::-1], values[:0:-1]):
        reverse.push(lanes, value, y, no_context(y))
    wide_top(chain.levels).push(chain.gaussians, lanes, values[0], no_context(values[0]))
    assert lanes.to_bytes() == before


def test_moments_of_a_draw(tiny_model):
    """Values of one step: their innovations by the network have mean 0 and variance 1."""
    chain, k = tiny_model.chain(), 6
    y = on_lattice(chain.levels, k, torch.zeros(1, 3, 64, 64), generator())
    lanes = random_bits(100_000, generator(2))
    values = chain.reverse[k].pop(lanes, y, no_context(y))
    total = []
    step = Distributions(chain.network, k, y, values, no_context(y))
    for places, colour, mean32, scale, *_ in step:
        sd = np.sqrt(4.0 ** ((scale - 64) / 16) + 1 / 12)
        here = places.of_colour(values, colour).ravel()
        total.append((here - mean32 / 32) / sd)
    total = np.concatenate(total)
    assert total.size == y.size and abs(total.mean()) < 0.04 and abs(total.std() - 1) < 0.03


def test_seeds_and_enough_bits(tiny_model):
    """One seed, one image; the bits suffice for the smallest and for odd shapes."""
    chain = tiny_model.chain()
    first, again, other = (
        sample_chain(chain, (1, 3, 8, 8), generator(seed))[-1] for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()
    for shape in ((1, 3, 1, 1), (3, 3, 5, 2)):
        assert sample_chain(chain, shape, generator())[-1].shape == shape


def test_starting_below_the_top(tiny_model):
    """From y of level k only the levels below are sampled."""
    chain = tiny_model.chain()
    y = on_lattice(chain.levels, 3, torch.zeros(1, 3, 8, 8), generator())
    values = sample_chain(chain, y.shape, generator(), (3, y))
    assert len(values) == 5 and values[0] is y


def test_noise_on_the_lattice():
    """on_lattice has the level's variance, rounding included; the nearest level is by ratio."""
    levels = default_levels()
    for k in (0, 5, len(levels) - 1):
        y = (
            on_lattice(levels, k, torch.full((1, 3, 128, 128), 20.3), generator())
            * levels[k].spacing
        )
        assert (
            abs(y.std() / sigmas(levels)[k] - 1) < 0.02
            and abs(y.mean() - 20.3) < 0.02 * sigmas(levels)[k]
        )
    assert (
        nearest_level(levels, 1.02 * sigmas(levels)[6]) == 6
        and nearest_level(levels, 1e9) == len(levels) - 1
        and nearest_level(levels, 0.001) == 0
    )
