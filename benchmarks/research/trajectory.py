"""Choice of noise levels: the cheapest chain by measured step costs, for every number of levels.

The bound of a chain sigma_0 < ... < sigma_{K-1} is P(sigma_0) + sum J(sigma_{k-1}, sigma_k) +
T(sigma_{K-1}), a sum over its edges; so the best chain of each length is a shortest path (Watson et
al., arXiv 2106.03802; Analytic-DPM's optimal trajectory).
"""

import math

import torch
from torch import Tensor

from bitsback.train.bound import BoundNetwork, gaussian_noise, level_nats, pixel_nats, top_nats

MAX_RATIO = 8.0  # ratio of neighbouring sigmas; no larger step pays


@torch.no_grad()
def cost_tables(
    network: BoundNetwork,
    grid: list[float],
    x: Tensor,
    generator: torch.Generator,
    integer: bool = False,
    batch: int = 8,
) -> tuple[Tensor, Tensor, Tensor]:
    """(pixels (N,), steps (N, N), top (N,)) in bits a dimension on a grid of sigmas, rising.

    steps[i, j]: of p(y_i | y_j), infinite where i >= j or the ratio is above MAX_RATIO.
    x: (B, 3, H, W) float32, pixels - 128, of training.
    """
    count = len(grid)
    pixels, top, steps = (
        torch.zeros(count),
        torch.zeros(count),
        torch.full((count, count), math.inf),
    )
    logs = [math.log(s) for s in grid]
    for j in range(count):
        reach = [i for i in range(j) if grid[j] / grid[i] <= MAX_RATIO]
        steps[reach, j] = 0
        for some in x.split(batch):
            share, one = len(some) / len(x) / math.log(2), torch.ones(len(some))
            y = some + grid[j] * gaussian_noise(some, generator)
            pixels[j] += pixel_nats(network, some, y, one * logs[j], integer).mean() * share
            top[j] += top_nats(some, torch.tensor(logs[j])).mean() * share
            for i in reach:
                cost = level_nats(
                    network, some, y, one * logs[i], one * logs[j], generator, integer
                )
                steps[i, j] += cost.mean() * share
    return pixels, steps, top


def best_chains(
    pixels: Tensor, steps: Tensor, top: Tensor, longest: int
) -> dict[int, tuple[float, list[int]]]:
    """{K: (bits a dimension, indices into the grid)} for K = 1..longest, by dynamic programming.

    pixels, steps, top: from cost_tables.
    """
    cost, chains = pixels.clone(), {}
    came: list[Tensor] = []  # best predecessor of each level, by length
    for length in range(1, longest + 1):
        end = int(torch.argmin(cost + top))
        chain = [end]
        for back in reversed(came):
            chain.append(int(back[chain[-1]]))
        chains[length] = (float(cost[end] + top[end]), chain[::-1])
        cost, back = torch.min(cost[:, None] + steps, 0)
        came.append(back)
    return chains
