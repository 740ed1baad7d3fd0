"""Unbiased estimates of the bound from one batch, and the schedule's gradients from them.

One image in eight trains p(x | y_0), the others one pair of levels (s, t) each.  sigma_s comes from
the learned schedule at low-discrepancy times, sigma_t / sigma_s is log-uniform, and
cost / log ratio * d(log sigma)/dt estimates the bound without bias.  The same backward pass gives
the schedule its gradients: ends by the bound, interior by E[estimate^2], its variance up to a
constant (VDM, arXiv 2107.00630, section 4 and appendix H).
"""

import math

import torch
from torch import Tensor

from bitsback.ans.gaussian_tables import scale_sd
from bitsback.diffusion.levels import Level, sigmas
from bitsback.diffusion.schedule import LearnedSchedule
from bitsback.train.augment import like
from bitsback.train.bound import (
    BoundNetwork,
    gaussian_noise,
    green_where_gray,
    level_nats,
    pixel_nats,
    top_nats,
)

RATIO = (0.3, 0.9)  # log(sigma_t / sigma_s), uniform
PIXEL_JITTER = 0.35  # log sigma_0 around the learned lower end, for p(x | y_0)
PIXEL_ODDS = 0.63  # of p(x | y_0) among the coder's levels: one image in eight if all are trained

# (level (N,), pixel (M,), top (B,), leaves): bits a dimension, N + M = B; leaves: tensors whose
# gradients `schedule_gradients` reads, or None
Estimate = tuple[Tensor, Tensor, Tensor, dict[str, Tensor] | None]


def estimate(
    network: BoundNetwork,
    schedule: LearnedSchedule,
    x: Tensor,
    generator: torch.Generator | None,
    integer: bool,
    autocast: bool,
    gray: Tensor | None = None,
) -> Estimate:
    """One unbiased estimate of the bound, ready for `backward`, at noise levels of the schedule.

    x: (B, 3, H, W), pixels - 128; integer: round in the forward pass; autocast: compute in
    bfloat16; gray: (B,) bool, patches that are coded as one channel, or None.
    """
    batch, device = len(x), x.device
    n_pixel = max(1, batch // 8)
    n_level = batch - n_pixel

    def rand(count: int) -> Tensor:
        return torch.rand(count, dtype=torch.float32, device=device, generator=generator)

    t = (rand(1) + torch.arange(n_level, device=device) / n_level) % 1
    with torch.no_grad():
        log_s, slope = schedule(t)
        log_0 = schedule.ends[0] + PIXEL_JITTER * (2 * rand(n_pixel) - 1)
    leaves = {
        "t": t,
        "log_s": log_s.requires_grad_(),
        "slope": slope.requires_grad_(),
        "log_0": log_0.requires_grad_(),
    }
    ratio = RATIO[0] + (RATIO[1] - RATIO[0]) * rand(n_level)
    log_t = log_s + ratio
    level_x, pixel_x = x[:n_level], x[n_level:]
    level_gray, pixel_gray = (None, None) if gray is None else (gray[:n_level], gray[n_level:])
    scale = 1 / math.log(2)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
        y = level_x + log_t.exp().view(-1, 1, 1, 1) * green_where_gray(
            gaussian_noise(level_x, generator), level_gray
        )
        level = level_nats(network, level_x, y, log_s, log_t, generator, integer, level_gray).mean(
            (1, 2, 3)
        )
        y = pixel_x + log_0.exp().view(-1, 1, 1, 1) * green_where_gray(
            gaussian_noise(pixel_x, generator), pixel_gray
        )
        pixel = pixel_nats(network, pixel_x, y, log_0, integer, pixel_gray).mean((1, 2, 3))
    top = top_nats(x, schedule.ends[1])
    return level / ratio * slope * scale, pixel * scale, top * scale, leaves


def estimate_at_levels(
    network: BoundNetwork,
    schedule: LearnedSchedule | None,
    x: Tensor,
    generator: torch.Generator | None,
    integer: bool,
    autocast: bool,
    gray: Tensor | None = None,
    *,
    levels: tuple[Level, ...],
    only: range | None = None,
    weight: Tensor | None = None,
) -> Estimate:
    """Like `estimate`, at the coder's own levels: noise on lattices, levels drawn by cost.

    only: range of the levels k whose share of the bound is wanted (0: p(x | y_0)), None: all;
    weight: of each sample's cost, like x, None: 1; generator: None for the device's own, in a CUDA
    graph.  The schedule is not used, leaves are None.  Nothing waits for the device.
    """
    batch, device, count = len(x), x.device, len(levels)
    only = range(count) if only is None else only
    low, high = max(1, only[0]), only[-1]  # t of a pair
    fall = [0.78**k + 0.1 for k in range(low, high + 1)]  # about as the levels' bits fall
    n_pixel = max(1, round(batch * PIXEL_ODDS / (PIXEL_ODDS + sum(fall)))) if 0 in only else 0
    n_level = batch - n_pixel
    odds = like(x, tuple(fall)) / sum(fall)
    places = (
        torch.rand(1, dtype=torch.float32, device=device, generator=generator)
        + torch.arange(n_level, device=device)
    ) / max(1, n_level)
    chosen = torch.searchsorted(odds.cumsum(0), places).clamp_max(high - low) + low
    log_sigma = like(x, tuple(math.log(s) for s in sigmas(levels)))
    y, noisy, t = x, x, torch.cat([chosen, torch.zeros(n_pixel, dtype=torch.long, device=device)])
    for k, lattice in enumerate(levels[: high + 1]):
        noise = green_where_gray(gaussian_noise(x, generator), gray)
        y = y + lattice.spacing * scale_sd(lattice.step) * noise
        y = torch.round(y / lattice.spacing) * lattice.spacing
        noisy = torch.where((t == k).view(-1, 1, 1, 1), y, noisy)
    scale = 1 / math.log(2)
    level_gray, pixel_gray = (None, None) if gray is None else (gray[:n_level], gray[n_level:])
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
        level = (
            level_nats(
                network,
                x[:n_level],
                noisy[:n_level],
                log_sigma[chosen - 1],
                log_sigma[chosen],
                generator,
                integer,
                level_gray,
            )
            if n_level
            else x.new_zeros(1, 1, 1, 1)
        )
        pixel = (
            pixel_nats(
                network,
                x[n_level:],
                noisy[n_level:],
                log_sigma[:1].expand(n_pixel),
                integer,
                pixel_gray,
            )
            if n_pixel
            else x.new_zeros(1, 1, 1, 1)
        )
    top = top_nats(x, log_sigma[-1]) * (count - 1 in only)
    if weight is not None:
        level = level * weight[:n_level] if n_level else level
        pixel = pixel * weight[n_level:] if n_pixel else pixel
    level = level.mean((1, 2, 3)) / odds[chosen - low] if n_level else level.mean((1, 2, 3))
    return level * scale, pixel.mean((1, 2, 3)) * scale, top * scale, None


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def schedule_gradients(schedule: LearnedSchedule, level: Tensor, leaves: dict[str, Tensor]) -> None:
    """Adds to the schedule's gradients, after `backward` of the mean estimate.  level: (N,).

    Ends: plain gradient of the bound.  Interior: gradient of E[estimate^2].
    """
    g_log, g_slope, g_pixel = (_gradient(leaves[name]) for name in ("log_s", "slope", "log_0"))
    position, slope = schedule.shape(leaves["t"])
    low, high = schedule.ends[0], schedule.ends[1]
    span = (high - low).detach()
    twice = 2 * level.detach()
    interior = (twice * g_log * span * position + twice * g_slope * span * slope).sum()
    position, slope = position.detach(), slope.detach()
    ends = (
        g_log * (low + (high - low) * position) + g_slope * (high - low) * slope
    ).sum() + g_pixel.sum() * low
    (interior + ends).backward()
