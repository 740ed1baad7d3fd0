"""The figures of benchmarks/samplers.py: sheets of images, plot and tables."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.samplers_measures import (
    CHAIN,
    CHAIN_NAME,
    EVALUATIONS,
    FREE_EVALUATIONS,
    METHODS,
    RESTORED_SIGMAS,
    Free,
    Restored,
    generator,
)
from bitsback.coder.model import Model
from bitsback.sampling.gallery import draw_images
from bitsback.sampling.starts import image_sheet


def sheets(model: Model, x: Tensor, output: Path) -> None:
    """Writes sheets of images, lossy WebP: draws from clouds, and photographs x restored."""

    def save(images: Tensor, columns: int, name: str) -> None:
        Image.fromarray(image_sheet(images, columns)).save(
            f"{output}_{name}.webp", quality=80, method=6
        )

    side = 128
    free: dict[str, dict[str, Any]] = {
        "seeds3": {"sampler": "seeds3", "steps": 24},
        "coder": CHAIN,
        "ddim": {"sampler": "ddim", "steps": 24},
    }
    for name, options in free.items():
        _, images = draw_images(model, (8, 3, side, side), generator(), **options)
        save(images, 4, f"free_{name}")
    columns: list[tuple[str, dict[str, Any]]] = [
        ("ddim", {"steps": 1}),
        ("ddim", {"steps": 12}),
        ("seeds3", {"steps": 12}),
        ("ancestral", {"steps": 12, "grade": "head"}),
        ("ancestral", {"grade": "passes"}),
    ]
    rows: list[Tensor] = []
    for i, sigma in enumerate(RESTORED_SIGMAS):
        photo = x[i]
        draws = [
            draw_images(
                model,
                (1, *photo.shape),
                generator(),
                sampler=name,
                photo=photo,
                sigma=sigma,
                **options,
            )
            for name, options in columns
        ]
        rows += [photo[None], draws[0][0], *[end for _, end in draws]]
    save(torch.cat(rows), len(columns) + 2, "restored")


def plot(rows: Restored, free: Free, path: Path) -> None:
    """Plots error and patch distance by network evaluations, a column a noise, free draws last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(rows) + 1, figsize=(15, 7))
    palette = pyplot.get_cmap("tab10")
    colours = {name: palette(i) for i, name in enumerate([*METHODS, CHAIN_NAME])}
    panels = [
        (
            axes[i, column],
            {name: [(p[0], p[1 + i]) for p in points] for name, points in methods.items()},
            f"restored from noise {sigma:g}",
            what,
        )
        for column, (sigma, methods) in enumerate(rows.items())
        for i, what in enumerate(("RMS error, gray levels", "patch distance"))
    ]
    panels.append((axes[1, -1], free, "from clouds", "patch distance"))
    for axis, methods, title, what in panels:
        for name, points in methods.items():
            axis.plot(
                *zip(*points),
                "*" if name == CHAIN_NAME else "o-",
                ms=10 if name == CHAIN_NAME else 4,
                color=colours[name],
                label=name,
            )
        axis.set(xscale="log", yscale="log", title=title, xlabel="network evaluations", ylabel=what)
        axis.set_xticks(
            [p for p in (*EVALUATIONS, 24) if axis.get_xlim()[0] <= p <= axis.get_xlim()[1]]
        )
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axis.minorticks_off()
    axes[0, -1].axis("off")
    axes[0, -1].legend(*axes[1, 0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def tables(rows: Restored, free: Free, floor: float) -> str:
    """Markdown of the measurements; floor: distance between the two halves of the photographs."""
    lines = []
    for sigma, methods in rows.items():
        lines += [
            f"\nRestored from noise {sigma:g}: RMS error / patch distance "
            "by number of network evaluations\n",
            "| sampler | " + " | ".join(map(str, EVALUATIONS)) + " |",
            "|---" * (len(EVALUATIONS) + 1) + "|",
        ]
        for name, points in methods.items():
            if len(points) == 1:
                lines.append(
                    f"\n{name}, {points[0][0]} steps: {points[0][1]:.2f} / {points[0][2]:.3f}"
                )
            else:
                lines.append(
                    f"| {name} | " + " | ".join(f"{e:.2f} / {d:.3f}" for _, e, d in points) + " |"
                )
    lines += [
        "\nFrom clouds: patch distance "
        f"(one half of the photographs from the other: {floor:.3f})\n",
        "| sampler | " + " | ".join(map(str, FREE_EVALUATIONS)) + " |",
        "|---" * (len(FREE_EVALUATIONS) + 1) + "|",
    ]
    for name, drawn in free.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{d:.3f}" for _, d in drawn) + " |"
            if len(drawn) > 1
            else f"\n{name}, {drawn[0][0]} steps: {drawn[0][1]:.3f}"
        )
    return "\n".join(lines)
