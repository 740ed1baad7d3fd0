"""trajectory.py: the best chain is the shortest path, and cost tables are the bound's numbers."""

import itertools
import math

import pytest
import torch

from benchmarks.research.trajectory import MAX_RATIO, best_chains, cost_tables
from bitsback.train.denoiser import Denoiser
from tests.conftest import TINY


@pytest.mark.parametrize("seed", range(4))
def test_best_chains_against_all_chains(seed):
    """Every length on a grid of seven: cost and chain equal exhaustive search."""
    torch.manual_seed(seed)
    count = 7
    pixels, top, steps = torch.rand(count), torch.rand(count), torch.rand(count, count)
    steps[torch.ones(count, count).tril().bool()] = math.inf
    steps[0, 5] = math.inf
    for length, (cost, chain) in best_chains(pixels, steps, top, 6).items():

        def total(c):
            return pixels[c[0]] + sum(steps[i, j] for i, j in zip(c, c[1:])) + top[c[-1]]

        best = min(itertools.combinations(range(count), length), key=total)
        assert tuple(chain) == best and cost == pytest.approx(float(total(best)), rel=1e-5)


def test_cost_tables(photograph):
    """Shapes; infinite where no step goes; pixels rise and the top falls with noise."""
    torch.manual_seed(1)
    x = torch.from_numpy(photograph(32, 32).copy()).permute(2, 0, 1)[None].float() - 128
    grid = [0.5, 1.0, 3.0, 9.0, 40.0]
    pixels, steps, top = cost_tables(Denoiser(TINY), grid, x, torch.Generator().manual_seed(1))
    for i, j in itertools.product(range(5), repeat=2):
        assert (
            math.isfinite(steps[i, j]) == (i < j and grid[j] / grid[i] <= MAX_RATIO)
            and steps[i, j] > 0
        )
    assert (pixels.diff() > 0).all() and (top.diff() < 0).all()
