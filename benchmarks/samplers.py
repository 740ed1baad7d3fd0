"""Quality against network passes of all samplers: photographs restored, images from nothing; how exact, how alike.

    python -m benchmarks.samplers DIR [--limit N] [--side N] [--model M] [--checkpoint CKPT ...] [-o benchmarks/results/samplers]

Restored: centres of the images in DIR are noised and given back.  Error is the RMS distance from the photograph: the
mean of x given y has the least, a true draw of x given y sqrt(2) times that, so a small error alone is no praise.
Patch distance says how far the patches (8x8, mean taken out) are from those of the photographs: whitened by the photographs'
covariance, projected on 256 random directions, mean distance of the sorted values (sliced Wasserstein-1; 1 = one standard deviation).
From nothing: images that begin with clouds (bitsback/sampling/starts.py), patch distance alone; the floor is that of one half
of the photographs from the other.  Writes OUTPUT.md, OUTPUT.json, OUTPUT.png and grids OUTPUT_*.webp.
"""

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image

from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.sampling.chain_sampler import nearest_level
from bitsback.sampling.denoisers import checkpoint_denoiser, model_denoiser
from bitsback.sampling.gallery import draw_images
from bitsback.sampling.starts import tiles
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.measure import centre_crops

METHODS = {
    "ancestral, head": {"sampler": "ancestral", "grade": "head"},
    "ancestral, beta": {"sampler": "ancestral", "grade": "beta"},
    "seeds1 = ancestral, beta-tilde": {"sampler": "seeds1"},
    "seeds2": {"sampler": "seeds2"},
    "seeds3": {"sampler": "seeds3"},
    "ddim = restoration-degradation": {"sampler": "ddim"},
    "restoration-degradation, depth 0.5": {"sampler": "restoration-degradation", "depth": 0.5},
}
CODERS_NAME = "the coder's chain (passes)"
CODER = {"sampler": "ancestral", "grade": "passes"}
SIGMAS = (8.0, 25.0, 75.0)
PASSES = (1, 2, 3, 6, 12)
FREE_PASSES = (6, 12, 24)
PATCH, DIRECTIONS = 8, 256


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


class Patches:
    """Distance of images' patches from those of the photographs x (N, 3, H, W)."""

    def __init__(self, x):
        patches = self._patches(x)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        kept = values > 1e-3 * values.mean()  # the mean that was taken out, and next to nothing
        directions = torch.randn(
            int(kept.sum()), DIRECTIONS, generator=generator(0), dtype=torch.float64
        )
        self.project = (
            vectors[:, kept] / values[kept].sqrt() @ (directions / directions.norm(dim=0))
        )
        self.sorted = self._sorted(x)

    @staticmethod
    def _patches(x):
        patches = (
            x.clamp(-128, 127)
            .unfold(2, PATCH, 4)
            .unfold(3, PATCH, 4)
            .permute(0, 2, 3, 1, 4, 5)
            .reshape(-1, 3, PATCH**2)
            .double()
        )
        return (patches - patches.mean(2, keepdim=True)).flatten(1)

    def _sorted(self, x):
        quantiles = (torch.arange(1000) + 0.5) / 1000
        projected = (self._patches(x) @ self.project).sort(0).values
        return projected[(quantiles * len(projected)).long()]

    def distance(self, x):
        return (self._sorted(x) - self.sorted).abs().mean().item()


def rms(x):
    return x.double().square().mean().sqrt().item()


def restored(model, x, sigma, passes, options):
    """The photographs noised and restored, clipped to what an image can show: the coder's chain draws one value in 2^21 from
    its escapes, anywhere in 16 bits."""
    return draw_images(model, x.shape, generator(), steps=passes, photo=x, sigma=sigma, **options)[
        1
    ].clamp(-128, 127)


def measure_restored(model, x, patches, tell):
    """{sigma: {method: [(passes, error, distance)]}}"""
    result = {}
    for sigma in SIGMAS:
        rows = result[sigma] = {}
        for name, options in METHODS.items():
            rows[name] = []
            for passes in PASSES:
                ends = restored(model, x, sigma, passes, options)
                rows[name].append((passes, rms(ends - x), patches.distance(ends)))
            tell(
                f"sigma {sigma:g} {name}: "
                + "  ".join(f"{p}: {e:.2f} {d:.3f}" for p, e, d in rows[name])
            )
        ends = restored(model, x, sigma, None, CODER)
        rows[CODERS_NAME] = [
            (nearest_level(model.levels, sigma) + 1, rms(ends - x), patches.distance(ends))
        ]
    return result


def measure_free(model, side, count, patches, tell):
    """{method: [(passes, distance)]}"""
    result, shape = {}, (count, 3, side, side)
    for name, options in METHODS.items():
        result[name] = [
            (
                passes,
                patches.distance(
                    draw_images(model, shape, generator(), steps=passes, **options)[1]
                ),
            )
            for passes in FREE_PASSES
        ]
        tell(f"free {name}: {result[name]}")
    result[CODERS_NAME] = [
        (len(model.levels), patches.distance(draw_images(model, shape, generator(), **CODER)[1]))
    ]
    return result


def measure_levels(model, network, x):
    """[(sigma, error of the model, error of the float network)] half-way between the model's levels."""
    between = [math.sqrt(a * b) for a, b in pairwise(sigmas(model.levels))][::-1]
    ours, floats, rows = model_denoiser(model, between), checkpoint_denoiser(network), []
    for sigma in between:
        y = x + sigma * torch.randn(x.shape, generator=generator())
        rows.append((sigma, rms(ours(y, sigma)[0] - x), rms(floats(y, sigma)[0] - x)))
    return rows


def grids(model, x, output):
    """Images to look at, lossy WebP: free draws, and photographs restored by several methods."""

    def save(sheet, name):
        Image.fromarray(sheet).save(f"{output}_{name}.webp", quality=80, method=6)

    side = 128
    for name, options in (
        ("seeds3", {"sampler": "seeds3", "steps": 24}),
        ("coder", CODER),
        ("ddim", {"sampler": "ddim", "steps": 24}),
    ):
        save(
            tiles(draw_images(model, (8, 3, side, side), generator(), **options)[1], columns=4),
            f"free_{name}",
        )
    columns = [
        ("ddim", {"steps": 1}),
        ("ddim", {"steps": 12}),
        ("seeds3", {"steps": 12}),
        ("ancestral", {"steps": 12, "grade": "head"}),
        ("ancestral", {"grade": "passes"}),
    ]
    rows = []
    for i, sigma in enumerate(SIGMAS):
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
    save(tiles(torch.cat(rows), columns=len(columns) + 2), "restored")


def plot(rows, free, path):
    """Error and patch distance over passes, one column a noise level, free draws last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(rows) + 1, figsize=(15, 7))
    colours = dict(zip([*METHODS, CODERS_NAME], pyplot.cm.tab10.colors))
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
    panels.append((axes[1, -1], free, "from nothing (clouds)", "patch distance"))
    for axis, methods, title, what in panels:
        for name, points in methods.items():
            axis.plot(
                *zip(*points),
                "*" if name == CODERS_NAME else "o-",
                ms=10 if name == CODERS_NAME else 4,
                color=colours[name],
                label=name,
            )
        axis.set(xscale="log", yscale="log", title=title, xlabel="network passes", ylabel=what)
        axis.set_xticks([p for p in (*PASSES, 24) if axis.get_xlim()[0] <= p <= axis.get_xlim()[1]])
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axis.minorticks_off()
    axes[0, -1].axis("off")
    axes[0, -1].legend(*axes[1, 0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def tables(rows, free, floor):
    lines = []
    for sigma, methods in rows.items():
        lines += [
            f"\nRestored from noise {sigma:g}: RMS error / patch distance at 1, 2, 3, ... network passes\n",
            "| sampler | " + " | ".join(map(str, PASSES)) + " |",
            "|---" * (len(PASSES) + 1) + "|",
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
        f"\nFrom nothing: patch distance (one half of the photographs from the other: {floor:.3f})\n",
        "| sampler | " + " | ".join(map(str, FREE_PASSES)) + " |",
        "|---" * (len(FREE_PASSES) + 1) + "|",
    ]
    for name, points in free.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{d:.3f}" for _, d in points) + " |"
            if len(points) > 1
            else f"\n{name}, {points[0][0]} steps: {points[0][1]:.3f}"
        )
    return "\n".join(lines)


def command(args):
    """What was called, for the head of the results: folders without their paths."""
    words = [args.folder.name, f"--limit {args.limit}", f"--side {args.side}"]
    if args.model:
        words.append(f"--model {Path(args.model).name}")
    if args.checkpoint:
        words += ["--checkpoint", *(path.name for path in args.checkpoint)]
    return " ".join(["python -m benchmarks.samplers", *words])


def parser():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=10, help="images to restore")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        nargs="+",
        help="float checkpoint, or all experts', to compare noise levels between the model's with",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/samplers"))
    return parser


def main():
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    model, x = Model.open(args.model), centre_crops(args.folder, args.limit, args.side)
    everything = centre_crops(args.folder, None, args.side)
    tell = lambda line: print(line, flush=True)
    grids(model, centre_crops(args.folder, 3, args.side), args.output)
    rows = measure_restored(model, x, Patches(x), tell)
    floor = Patches(everything[::2]).distance(everything[1::2])
    free = measure_free(model, args.side, args.limit, Patches(everything), tell)
    args.output.with_suffix(".json").write_text(
        json.dumps({"restored": rows, "free": free, "floor": floor}, indent=1)
    )
    plot(rows, free, args.output.with_suffix(".png"))
    text = f"{command(args)}   ({len(x)} centres, model {model.id[:16]}, torch {torch.__version__})\n{tables(rows, free, floor)}\n"
    if args.checkpoint:
        pairs = measure_levels(model, read_checkpoints(args.checkpoint)[0], x)
        text += (
            "\nBetween its levels the shipped model is asked at the lower one for a paler image: error of one pass half-way between two levels, integers against the float network\n\n| sigma | "
            + " | ".join(f"{s:.3g}" for s, _, _ in pairs)
            + " |\n"
            + "|---" * (len(pairs) + 1)
            + "|\n| ratio | "
            + " | ".join(f"{a / b:.3f}" for _, a, b in pairs)
            + " |\n"
        )
    text += (
        f"\nGrids, lossy: `{args.output.name}_free_*.webp` from nothing, `{args.output.name}_restored.webp` a row a noise (8, 25, 75): photograph, noised, ddim in 1 and in "
        "12 passes, seeds3 in 12,\nancestral (head) in 12, the coder's chain.  "
        f"Plot: `{args.output.name}.png`; numbers: `{args.output.name}.json`.\n"
    )
    args.output.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
