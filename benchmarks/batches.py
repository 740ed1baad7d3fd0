"""How a step's pixels are best spent: few large patches or many small ones, and how many.

    python -m benchmarks.batches RECIPE DATA --levels 0 5 --pixels 150
    python -m benchmarks.batches RECIPE DATA --levels 5 --start fast --batches 32x64 --passes 4

The expert of a level is trained on from the recipe's start for as many megapixels with each batch,
on the CPU, by the steps that a GPU takes (graph.py), one process each.  Measured is the bound on
centre crops of 128x128 of held-out images, in shares of WebP's bits, as `export --keep-better`
measures it.  Runs this short tell what to try on a card, not what a model will be.  With --passes
the expert grows into one of more coding passes first (grow.py).
"""

import argparse
import dataclasses
import multiprocessing
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.report import summary, table
from bitsback.diffusion.levels import default_levels
from bitsback.integer.installed import find_model
from bitsback.integer.model_file import read_model
from bitsback.train.graph import GraphTrainer
from bitsback.train.held_out import bounds_of_images, held_out, network_of
from bitsback.train.mixture import Mixture, load_images, read_images, save_images
from bitsback.train.recipe import read_recipe

BATCHES = ((32, 128), (128, 64), (8, 128), (32, 64))  # patches, side
SIDE, CROPS = 128, 32  # of held-out images


def shape(text: str) -> tuple[int, int]:
    """ "32x64" -> 32 patches of 64x64."""
    count, side = map(int, text.split("x"))
    return count, side


def run(job: tuple) -> list:
    """A row: level, patches a step, side, steps, shares before and after."""
    torch.set_num_threads(1)
    path, data, images, rate, pixels, start, passes, ema, level, (batch, patch) = job
    recipe = read_recipe(path, data)
    expert = next(one for one in recipe.experts if level in one.only)
    if passes:
        expert = dataclasses.replace(expert, passes=passes)
    config = dataclasses.replace(
        recipe.config(expert, bfloat16=False), batch=batch, patch=patch, lr_scale=rate
    )
    if ema:
        config = dataclasses.replace(config, ema=ema)
    mixture = Mixture(load_images(images), patch, "cpu", recipe.augment)
    trainer = GraphTrainer(expert.config, config, mixture, fused=False)
    trainer.load(start)
    held = [held_out(source, SIDE, CROPS) for source in recipe.sources]

    def share() -> float:
        network = network_of({"config": expert.config.as_dict(), "average": trainer.average})
        costs = [bounds_of_images(network, default_levels(), h.x, expert.only) for h in held]
        return sum((c.sum(1) / h.bits).mean().item() for c, h in zip(costs, held)) / len(held)

    before = share()
    torch.manual_seed(config.seed)
    trainer.prepare(graph=False)
    steps = round(pixels * 1e6 / (batch * patch**2))
    for step in range(steps):
        trainer.set_rates(step / steps)
        trainer.steps_on_device(1)
    after = share()
    change = f"{100 * (after / before - 1):+.2f} %"
    return [level, batch, f"{patch}x{patch}", steps, f"{before:.5f}", f"{after:.5f}", change]


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("recipe", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--levels", type=int, nargs="+", default=[0])
    parser.add_argument("--pixels", type=float, default=150, help="megapixels a run")
    parser.add_argument("--batches", type=shape, nargs="+", default=BATCHES, metavar="COUNTxSIDE")
    parser.add_argument("--start", help="a model, default: the recipe's start")
    parser.add_argument("--passes", type=int, help="coding passes, default: the recipe's")
    parser.add_argument("--ema", type=float, help="of the average, default: the recipe's")
    parser.add_argument("--rate", type=float, default=0.5, help="factor of the learning rates")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.pt")
        recipe = read_recipe(args.recipe, args.data)
        save_images(read_images(recipe.sources, SIDE), images)
        start = find_model(args.start) if args.start else recipe.start
        fixed = args.recipe, args.data, images, args.rate, args.pixels, start, args.passes, args.ema
        jobs = [(*fixed, level, batch) for level in args.levels for batch in args.batches]
        with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
            rows = pool.map(run, jobs, chunksize=1)
    assert start is not None
    model = f"{start.stem} {read_model(start)[2][:16]}"
    print(f"python -m benchmarks.batches {' '.join(sys.argv[1:])}   ({model})\n")
    head = ["level", "patches", "side", "steps", "before", "after", "change"]
    print(table(head, rows), end="")


if __name__ == "__main__":
    main()
