"""The measurements of benchmarks/ablation.py: bits/dim of variants of the prior."""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.research.trajectory import best_chains, cost_tables
from bitsback.codecs.borders import net_in_one_piece
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import SIGMA_MAX, SIGMA_MIN, nearest_levels, spaced
from bitsback.diffusion.schedule import DATA_SD, LearnedSchedule, geometric
from bitsback.train.bound import gaussian_noise, level_nats, top_nats
from bitsback.train.denoiser import Denoiser
from bitsback.train.export import save_model
from bitsback.train.measure import bound_bits
from bitsback.train.variances import BOUND_GRADES, graded_bits, measure_moments

LEVEL_COUNTS = (5, 8, 12, 20, 40)
SIGMA_ENDS = (SIGMA_MIN, SIGMA_MAX)
SIGMA_GRID = geometric(0.42, 400.0, 22)
Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]  # t -> (log sigma, d log sigma / dt)


def variances(
    network: Denoiser, valid: Tensor, training: Tensor
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """(bits/dim of each grade by number of levels, by level for K = 12): float, evenly spaced."""
    rows: dict[str, list[float]] = {grade: [] for grade in BOUND_GRADES}
    by_level = {}
    for count in LEVEL_COUNTS:
        noise = geometric(*SIGMA_ENDS, count)
        generator = torch.Generator().manual_seed(1)
        moments = [measure_moments(network, sigma, training, generator) for sigma in noise]
        parts = graded_bits(network, noise, valid, moments)
        top = top_nats(valid, torch.tensor(math.log(noise[-1]))).mean().item() / math.log(2)
        for grade in BOUND_GRADES:
            rows[grade].append(sum(parts[grade]) + top)
        if count == 12:
            by_level = {"sigmas": noise, **parts}
        print(count, {grade: round(values[-1], 4) for grade, values in rows.items()}, flush=True)
    return rows, by_level


def trajectories(
    network: Denoiser, valid: Tensor, training: Tensor
) -> dict[int, tuple[float, float, list[float]]]:
    """{K: (even, best, its sigmas)}: chains chosen on training images, measured on valid."""
    pixels, steps, top = cost_tables(
        network, SIGMA_GRID, training, torch.Generator().manual_seed(1)
    )
    chains, rows = best_chains(pixels, steps, top, max(LEVEL_COUNTS[:-1])), {}
    for count in (5, 6, 8, 10, 12, 16, 20):
        best = [SIGMA_GRID[i] for i in chains[count][1]]
        rows[count] = (
            sum(bound_bits(network, spaced(count, *SIGMA_ENDS), valid, False)),
            sum(bound_bits(network, nearest_levels(best), valid, False)),
            best,
        )
        print(count, rows[count], flush=True)
    return rows


def real_rates(network: Denoiser, valid: Tensor) -> dict[int, tuple[float, float, float]]:
    """{K: (bound of the rounded network, growth of the stack, seconds a megapixel of push)}.

    Bits/dim of whole crops.
    """
    rows = {}
    images = [
        np.ascontiguousarray((x + 128).permute(1, 2, 0).numpy().astype(np.uint8)) for x in valid
    ]
    with tempfile.TemporaryDirectory() as folder:
        for count in LEVEL_COUNTS:
            levels = spaced(count, *SIGMA_ENDS)
            save_model(Path(folder) / "m.safetensors", network, levels, {})
            model = Model(Path(folder) / "m.safetensors")
            model.chain()
            begin = time.process_time()
            growth = sum(
                net_in_one_piece(model.chain(), image, Top.fitted([image], levels))[0]
                for image in images
            )
            seconds = (time.process_time() - begin) / (valid.numel() / 3e6)
            bounds = [sum(bound_bits(network, levels, valid, True, seed=seed)) for seed in (1, 2)]
            rows[count] = (float(np.mean(bounds)), growth / valid.numel(), seconds)
            print(count, rows[count], flush=True)
    return rows


def cosine_schedule(low: float, high: float) -> Schedule:
    """The cosine schedule between log sigmas: sigma / D = tan(pi u / 2) with u linear in t."""
    first, last = (math.atan(math.exp(end) / DATA_SD) * 2 / math.pi for end in (low, high))

    def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
        angle = math.pi / 2 * (first + (last - first) * t)
        slope = (last - first) * math.pi / 2 / (torch.sin(angle) * torch.cos(angle))
        return math.log(DATA_SD) + torch.log(torch.tan(angle)), slope

    return schedule


@torch.no_grad()
def schedule_variances(
    network: Denoiser, schedule: LearnedSchedule, images: Tensor, draws: int = 24
) -> tuple[dict[str, tuple[float, float]], tuple[float, float]]:
    """({name: (mean, variance)}, sigmas of the ends) of the estimate of the levels' bound.

    Bits/dim, of one patch and one time each, under schedules with equal ends.
    """
    low, high = schedule.ends.tolist()
    kinds: dict[str, Schedule] = {
        "learned": schedule,
        "log-linear": lambda t: (low + (high - low) * t, torch.full_like(t, high - low)),
        "cosine": cosine_schedule(low, high),
    }
    rows = {}
    for name, kind in kinds.items():
        generator, parts = torch.Generator().manual_seed(1), []
        for _ in range(draws):
            t = (torch.rand(1, generator=generator) + torch.arange(len(images)) / len(images)) % 1
            log_s, slope = kind(t)
            log_t = log_s + 0.3 + 0.6 * torch.rand(len(t), generator=generator)
            y = images + log_t.exp().view(-1, 1, 1, 1) * gaussian_noise(images, generator)
            cost = level_nats(network, images, y, log_s, log_t, generator).mean((1, 2, 3))
            parts.append(cost / (log_t - log_s) * slope / math.log(2))
        values = torch.cat(parts)
        rows[name] = (values.mean().item(), values.var().item())
        print(name, rows[name], flush=True)
    return rows, (math.exp(low), math.exp(high))
