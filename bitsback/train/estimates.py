"""Unbiased estimates of the bound from one batch, and the schedule's gradients out of them.

One image in eight trains p(x | y_0), the others one level pair (s, t) each.
"""

import math

import torch

from bitsback.ans.gaussian_tables import scale_sd
from bitsback.diffusion.levels import sigmas
from bitsback.train.bound import alike, gaussian_noise, level_nats, pixel_nats, top_nats

RATIO = (0.3, 0.9)  # log(sigma_t / sigma_s), uniform
PIXEL_JITTER = 0.35  # log sigma_0 around the learned lower end, for p(x | y_0)
PIXEL_ODDS = (
    0.63  # of p(x | y_0) among the coder's levels: one image in eight where all are trained
)


def estimate(network, schedule, x, generator, integer, autocast, gray=None):
    """One unbiased estimate of the bound, in bits a dimension, ready for `backward`.

    gray: (B,) bool, patches that are coded as one channel (bound.alike), or None.  Returns (level (N,), pixel (M,), top (B,), leaves): N + M = B; leaves hold t and the
    detached noise levels whose gradients `schedule_gradients` hands on.
    """
    batch, device = len(x), x.device
    n_pixel = max(1, batch // 8)
    n_level = batch - n_pixel
    rand = lambda *shape: torch.rand(*shape, device=device, generator=generator)  # noqa: E731
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
        y = level_x + log_t.exp().view(-1, 1, 1, 1) * alike(
            gaussian_noise(level_x, generator), level_gray
        )
        level = level_nats(network, level_x, y, log_s, log_t, generator, integer, level_gray).mean(
            (1, 2, 3)
        )
        y = pixel_x + log_0.exp().view(-1, 1, 1, 1) * alike(
            gaussian_noise(pixel_x, generator), pixel_gray
        )
        pixel = pixel_nats(network, pixel_x, y, log_0, integer, pixel_gray).mean((1, 2, 3))
    top = top_nats(x, schedule.ends[1])
    return level / ratio * slope * scale, pixel * scale, top * scale, leaves


def estimate_at_levels(
    network, schedule, x, generator, integer, autocast, gray=None, *, levels, only=None, weight=None
):
    """The bound of the coder's own levels, estimated: noise on their lattices, levels drawn by cost.

    only: range of the levels k whose share of the bound is wanted (0: p(x | y_0)), or None: all; weight: of each sample's cost, like x, or None: 1.
    Returns as `estimate` does, leaves None: the schedule is left alone.
    """
    batch, device, count = len(x), x.device, len(levels)
    only = range(count) if only is None else only
    low, high = max(1, only[0]), only[-1]  # t of a pair
    fall = [0.78**k + 0.1 for k in range(low, high + 1)]  # about as the levels' bits do
    n_pixel = max(1, round(batch * PIXEL_ODDS / (PIXEL_ODDS + sum(fall)))) if 0 in only else 0
    n_level = batch - n_pixel
    odds = torch.tensor(fall, device=device) / sum(fall)
    places = (
        torch.rand(1, device=device, generator=generator) + torch.arange(n_level, device=device)
    ) / max(1, n_level)
    chosen = torch.searchsorted(odds.cumsum(0), places).clamp_max(high - low) + low
    log_sigma = torch.tensor([math.log(s) for s in sigmas(levels)], device=device)
    noisy = torch.empty_like(x)
    y, t = x, torch.cat([chosen, torch.zeros(n_pixel, dtype=torch.long, device=device)])
    for k, level in enumerate(levels):
        y = y + level.spacing * scale_sd(level.step) * alike(gaussian_noise(x, generator), gray)
        y = torch.round(y / level.spacing) * level.spacing
        noisy[t == k] = y[t == k]
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


def schedule_gradients(schedule, level, leaves):
    """Adds to the schedule's gradients, after `backward` of the mean estimate.

    Ends: plain gradient of the bound.  Interior: gradient of E[estimate^2].
    """
    g_log, g_slope, g_pixel = leaves["log_s"].grad, leaves["slope"].grad, leaves["log_0"].grad
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
