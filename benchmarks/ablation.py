"""What each ingredient of the prior gains, in bits/dim on held-out images: tables and plots.

    python -m benchmarks.ablation CHECKPOINT VALIDATION TRAINING [--full FULL_CHECKPOINT]
                                  [--limit N] [-o benchmarks/results/ablation]

Variance grades by number of levels (the form of Analytic-DPM, table 1), passes, calibration,
trajectory, the bound against the real growth of the stack by number of levels (the form of VDM,
table 2), and, from a checkpoint that still has its schedule (--full), the variance of the loss
under the learned, a log-linear and a cosine schedule.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablation_measures import (
    LEVEL_COUNTS,
    real_rates,
    schedule_variances,
    trajectories,
    variances,
)
from benchmarks.report import summary, table
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.diffusion.schedule import LearnedSchedule
from bitsback.train.calibration import Calibrated, calibrate
from bitsback.train.checkpoints import read_checkpoint
from bitsback.train.denoiser import Denoiser
from bitsback.train.measure import bound_bits, centre_crops
from bitsback.train.variances import BOUND_GRADES


def plots(results: dict[str, Any], output: Path) -> None:
    """Plots bits by level, rate by number of levels, rate by time to OUTPUT.png."""
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
        axes[1].semilogx(LEVEL_COUNTS, results["variances"][grade], "o-", label=grade)
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


def variance_lines(results: dict[str, Any]) -> list[str]:
    """Title and table of the variance grades."""
    return [
        "Reverse variance by number of levels, evenly spaced in log sigma, float network; "
        "p(x | y_0) is the coder's for all:\n",
        table(
            ["v", *(f"K = {count}" for count in LEVEL_COUNTS)],
            [[g, *(f"{v:.3f}" for v in values)] for g, values in results["variances"].items()],
        ),
    ]


def trajectory_lines(results: dict[str, Any]) -> list[str]:
    """Title and table of the best chains of levels."""
    return [
        "Trajectory chosen by dynamic programming on training images, "
        "against even spacing from 0.5 to 285:\n",
        table(
            ["K", "even", "best", "gain", "its sigmas"],
            [
                [c, f"{e:.4f}", f"{b:.4f}", f"{e - b:+.4f}", " ".join(f"{s:.2f}" for s in best)]
                for c, (e, b, best) in results["trajectory"].items()
            ],
        ),
    ]


def stack_lines(real: dict[int, tuple[float, float, float]]) -> list[str]:
    """Title and table of the bound against the stack."""
    return [
        "Bound of the rounded network against the real growth of the stack:\n",
        table(
            ["K", "bound", "stack", "gap", "CPU s/MP"],
            [
                [c, f"{b:.4f}", f"{r:.4f}", f"{r - b:+.4f}", f"{s:.1f}"]
                for c, (b, r, s) in real.items()
            ],
        ),
    ]


def calibration(
    network: Denoiser, valid: Tensor, training: Tensor
) -> tuple[dict[str, Any], list[str]]:
    """(results, title and table) of calibration on training crops."""
    levels = default_levels()
    noise = sigmas(levels)
    moved, shares = calibrate(network, noise, training)
    plain = bound_bits(network, levels, valid, False)
    calibrated = bound_bits(Calibrated(network, noise, moved), levels, valid, False)
    before, after = sum(plain), sum(calibrated)
    return {"shares": shares, "plain": plain, "calibrated": calibrated}, [
        f"Calibration of means and variances on {len(training)} training crops: "
        f"{before:.4f} -> {after:.4f} ({after - before:+.4f}).\n",
        table(
            ["sigma", "|E eps_hat error|^2 share", "gain, bits/dim"],
            [
                [f"{s:.2f}", f"{share:.1e}", f"{a - b:+.5f}"]
                for s, share, a, b in zip(noise, shares, plain, calibrated)
            ],
        ),
    ]


def schedules(network: Denoiser, path: Path, training: Tensor) -> tuple[dict[str, Any], list[str]]:
    """(results, title and table) of the loss under three schedules."""
    schedule = LearnedSchedule()
    state = torch.load(path, map_location="cpu", weights_only=True)
    schedule.load_state_dict(state["schedule"])
    rows, ends = schedule_variances(network, schedule, training[:, :, :64, :64])
    return {"ends": ends, **rows}, [
        f"Schedules, equal ends {ends[0]:.3f} and {ends[1]:.0f} (as learned): mean and variance of "
        "the estimate of the levels' bound, one patch and time a draw:\n",
        table(
            ["schedule", "mean", "variance"],
            [[name, f"{m:.3f}", f"{v:.2f}"] for name, (m, v) in rows.items()],
        ),
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=summary(__doc__))
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
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    network, facts = read_checkpoint(args.checkpoint)
    valid = centre_crops(args.validation, args.limit)
    training = centre_crops(args.training, 12, side=128)
    names = f"{args.checkpoint.name} {args.validation.name} {args.training.name}"
    command = (
        f"python -m benchmarks.ablation {names}{' --full FULL' * bool(args.full)} "
        f"--limit {args.limit}"
    )
    basis = (
        f"({facts['steps']} steps, {facts['minutes']} minutes of training; "
        f"{args.limit} centre crops of 256x256; bits/dim)"
    )
    if args.stack_only:
        title, rows = stack_lines(real_rates(network, valid))
        path = args.output.with_name(f"{args.output.name}_stack.md")
        path.write_text(f"{command} --stack-only   {basis}\n\n{title}\n{rows}")
        return
    results: dict[str, Any] = {"command": command}
    results["variances"], results["by_level"] = variances(network, valid, training)
    results["trajectory"] = trajectories(network, valid, training)
    results["real"] = real_rates(network, valid)
    results["calibration"], calibration_lines = calibration(network, valid, training)
    text = [f"{command}   {basis}\n", *variance_lines(results), *trajectory_lines(results)]
    text += [*stack_lines(results["real"]), *calibration_lines]
    if args.full:
        results["schedule"], lines = schedules(network, args.full, training)
        text += lines
    args.output.with_suffix(".md").write_text("\n".join(text))
    args.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    plots(results, args.output)
    print("\n".join(text))


if __name__ == "__main__":
    main()
