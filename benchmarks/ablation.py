"""What each ingredient of the prior buys, in bits/dim on images it was not trained on: tables and plots.

    python -m benchmarks.ablation CHECKPOINT VALIDATION TRAINING [--full FULL_CHECKPOINT] [--limit N] [-o benchmarks/results/ablation]

Variance grades by number of levels (the form of Analytic-DPM, table 1), passes, calibration, trajectory, the bound
against the real growth of the stack by number of levels (the form of VDM, table 2), and, from a checkpoint that still
has its schedule (--full), the variance of the loss under the learned, a log-linear and a cosine schedule.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.research.trajectory import best_chains, cost_tables
from bitsback.codecs.borders import net_in_one_piece
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import (
    SIGMA_MAX,
    SIGMA_MIN,
    default_levels,
    nearest_levels,
    sigmas,
    spaced,
)
from bitsback.diffusion.schedule import DATA_SD, LearnedSchedule, geometric
from bitsback.train.bound import gaussian_noise, level_nats, top_nats
from bitsback.train.calibration import Calibrated, calibrate
from bitsback.train.checkpoints import read_checkpoint
from bitsback.train.export import save_model
from bitsback.train.measure import bound_bits, centre_crops
from bitsback.train.variances import BOUND_GRADES, graded_bits, measure_moments

COUNTS = (5, 8, 12, 20, 40)
ENDS = (SIGMA_MIN, SIGMA_MAX)
GRID = geometric(0.42, 400.0, 22)


def table(head, rows):
    return (
        "\n".join(
            [
                "| " + " | ".join(head) + " |",
                "|" + "---|" * len(head),
                *("| " + " | ".join(map(str, row)) + " |" for row in rows),
            ]
        )
        + "\n"
    )


def variances(network, valid, training):
    """Grades by number of levels, bits/dim, float, evenly spaced; and by level at K = 12."""
    rows, by_level = {grade: [] for grade in BOUND_GRADES}, None
    for count in COUNTS:
        noise = geometric(*ENDS, count)
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


def trajectories(network, valid, training):
    """{K: (even, best, its sigmas)}: chains chosen on training images, measured on valid."""
    tables = cost_tables(network, GRID, training, torch.Generator().manual_seed(1))
    chains, rows = best_chains(*tables, max(COUNTS[:-1])), {}
    for count in (5, 6, 8, 10, 12, 16, 20):
        best = [GRID[i] for i in chains[count][1]]
        rows[count] = (
            sum(bound_bits(network, spaced(count, *ENDS), valid, False)),
            sum(bound_bits(network, nearest_levels(best), valid, False)),
            best,
        )
        print(count, rows[count], flush=True)
    return rows


def real_rates(network, valid):
    """{K: (bound of the rounded network, growth of the stack, seconds a megapixel of push)}, bits/dim of whole crops."""
    rows = {}
    images = [
        np.ascontiguousarray((x + 128).permute(1, 2, 0).numpy().astype(np.uint8)) for x in valid
    ]
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            levels = spaced(count, *ENDS)
            save_model(Path(folder) / "m.safetensors", network, levels, {})
            model = Model(Path(folder) / "m.safetensors")
            model.chain()
            begin = time.process_time()
            real = (
                sum(
                    net_in_one_piece(model.chain(), image, Top.fitted([image], levels))[0]
                    for image in images
                )
                / valid.numel()
            )
            seconds = (time.process_time() - begin) / (valid.numel() / 3e6)
            bound = np.mean(
                [sum(bound_bits(network, levels, valid, True, seed=seed)) for seed in (1, 2)]
            )
            rows[count] = (float(bound), real, seconds)
            print(count, rows[count], flush=True)
    return rows


def cosine_schedule(low, high):
    """log sigma(t) of the cosine schedule between the given ends: sigma / D = tan(pi u / 2) with u linear in t."""
    first, last = (math.atan(math.exp(end) / DATA_SD) * 2 / math.pi for end in (low, high))

    def schedule(t):
        angle = math.pi / 2 * (first + (last - first) * t)
        return math.log(DATA_SD) + torch.log(torch.tan(angle)), (last - first) * math.pi / 2 / (
            torch.sin(angle) * torch.cos(angle)
        )

    return schedule


@torch.no_grad()
def schedule_variances(network, schedule, images, draws=24):
    """{name: (mean, variance)} of the estimate of the levels' bound, bits/dim, one patch and one time each, at equal ends."""
    low, high = schedule.ends.tolist()
    kinds = {
        "learned": schedule,
        "log-linear": lambda t: (low + (high - low) * t, torch.full_like(t, high - low)),
        "cosine": cosine_schedule(low, high),
    }
    rows = {}
    for name, kind in kinds.items():
        generator, values = torch.Generator().manual_seed(1), []
        for _ in range(draws):
            t = (torch.rand(1, generator=generator) + torch.arange(len(images)) / len(images)) % 1
            log_s, slope = kind(t)
            log_t = log_s + 0.3 + 0.6 * torch.rand(len(t), generator=generator)
            y = images + log_t.exp().view(-1, 1, 1, 1) * gaussian_noise(images, generator)
            cost = level_nats(network, images, y, log_s, log_t, generator).mean((1, 2, 3))
            values.append(cost / (log_t - log_s) * slope / math.log(2))
        values = torch.cat(values)
        rows[name] = (values.mean().item(), values.var().item())
        print(name, rows[name], flush=True)
    return rows, (math.exp(low), math.exp(high))


def plots(results, output):
    """Bits by level, rate against number of levels, rate against time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5))
    by_level = results["by_level"]
    for grade in BOUND_GRADES[2:]:
        axes[0].loglog(by_level["sigmas"][1:], by_level[grade][1:], "o-", label=grade)
    axes[0].set(
        xlabel="noise of the level, gray levels",
        ylabel="bits/dim of its step",
        title="bits by level, K = 12",
    )
    for grade in BOUND_GRADES[2:]:
        axes[1].semilogx(COUNTS, results["variances"][grade], "o-", label=grade)
    chosen = results["trajectory"]
    axes[1].semilogx(
        list(chosen), [row[1] for row in chosen.values()], "k--", label="passes, best trajectory"
    )
    axes[1].set(
        xlabel="number of levels K",
        ylabel="bits/dim",
        title="bound by number of levels",
        ylim=(None, results["variances"]["error"][0]),
    )
    real = results["real"]
    axes[2].plot([row[2] for row in real.values()], [row[1] for row in real.values()], "o-")
    for count, row in real.items():
        axes[2].annotate(f"K = {count}", (row[2], row[1]))
    axes[2].set(
        xlabel="CPU seconds a megapixel, encoding",
        ylabel="bits/dim on the stack",
        title="rate against time",
    )
    for axis in axes[:2]:
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(output.with_suffix(".png"), dpi=80)


def stack_table(network, valid):
    """(rows of real_rates, title, table)."""
    rows = real_rates(network, valid)
    return (
        rows,
        "Bound of the rounded network against what the stack really grew by:\n",
        table(
            ["K", "bound", "stack", "gap", "CPU s/MP"],
            [
                [c, f"{b:.4f}", f"{r:.4f}", f"{r - b:+.4f}", f"{s:.1f}"]
                for c, (b, r, s) in rows.items()
            ],
        ),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("training", type=Path)
    parser.add_argument("--full", type=Path, help="checkpoint with the schedule")
    parser.add_argument(
        "--limit", type=int, default=6, help="centre crops of 256x256 to measure on"
    )
    parser.add_argument(
        "--stack-only",
        action="store_true",
        help="the bound against the stack alone, to OUTPUT_stack.md",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/ablation"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, told = read_checkpoint(args.checkpoint)
    valid, training = (
        centre_crops(args.validation, args.limit),
        centre_crops(args.training, 12, side=128),
    )
    command = f"python -m benchmarks.ablation {args.checkpoint.name} {args.validation.name} {args.training.name}{' --full FULL' * bool(args.full)} --limit {args.limit}"
    if args.stack_only:
        title, rows = stack_table(network, valid)[1:]
        path = args.output.with_name(f"{args.output.name}_stack.md")
        path.write_text(
            f"{command} --stack-only   ({told['steps']} steps, {told['minutes']} minutes of training; {args.limit} centre crops of 256x256; bits/dim)\n\n{title}\n{rows}"
        )
        return
    text = [
        f"{command}   ({told['steps']} steps, {told['minutes']} minutes of training; {args.limit} centre crops of 256x256; bits/dim)\n"
    ]
    results = {"command": command}
    results["variances"], results["by_level"] = variances(network, valid, training)
    text += [
        "Reverse variance by number of levels, evenly spaced in log sigma, float network; p(x | y_0) is the coder's for all:\n",
        table(
            ["v", *(f"K = {c}" for c in COUNTS)],
            [[g, *(f"{v:.3f}" for v in values)] for g, values in results["variances"].items()],
        ),
    ]
    results["trajectory"] = trajectories(network, valid, training)
    text += [
        "Trajectory chosen by dynamic programming on training images, against even spacing from 0.5 to 285:\n",
        table(
            ["K", "even", "best", "gain", "its sigmas"],
            [
                [c, f"{e:.4f}", f"{b:.4f}", f"{e - b:+.4f}", " ".join(f"{s:.2f}" for s in best)]
                for c, (e, b, best) in results["trajectory"].items()
            ],
        ),
    ]
    results["real"], *lines = stack_table(network, valid)
    text += lines
    levels = default_levels()
    moved, shares = calibrate(network, sigmas(levels), training)
    plain, calibrated = (
        bound_bits(n, levels, valid, False)
        for n in (network, Calibrated(network, sigmas(levels), moved))
    )
    results["calibration"] = {"shares": shares, "plain": plain, "calibrated": calibrated}
    text += [
        f"Calibration of means and variances on {len(training)} training crops: {sum(plain):.4f} -> {sum(calibrated):.4f} ({sum(calibrated) - sum(plain):+.4f}).\n",
        table(
            ["sigma", "|E eps_hat error|^2 share", "gain, bits/dim"],
            [
                [f"{s:.2f}", f"{share:.1e}", f"{a - b:+.5f}"]
                for s, share, a, b in zip(sigmas(levels), shares, plain, calibrated)
            ],
        ),
    ]
    if args.full:
        schedule = LearnedSchedule()
        schedule.load_state_dict(
            torch.load(args.full, map_location="cpu", weights_only=True)["schedule"]
        )
        rows, ends = schedule_variances(network, schedule, training[:, :, :64, :64])
        results["schedule"] = {"ends": ends, **rows}
        text += [
            f"Schedules, equal ends {ends[0]:.3f} and {ends[1]:.0f} (as learned): mean and variance of the estimate of the levels' bound, one patch and time a draw:\n",
            table(
                ["schedule", "mean", "variance"],
                [[name, f"{m:.3f}", f"{v:.2f}"] for name, (m, v) in rows.items()],
            ),
        ]
    args.output.with_suffix(".md").write_text("\n".join(text))
    args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    plots(results, args.output)
    print("\n".join(text))


if __name__ == "__main__":
    main()
