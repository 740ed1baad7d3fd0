"""The command `sample`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.drawing import GRAY_LEVELS, STEPS, write_drawing
from bitsback.cli.messages import print_line
from bitsback.cli.options import (
    FiniteRange,
    PathName,
    device_option,
    force_option,
    image_output_option,
    quiet_option,
    threads_option,
    torch_seed,
)
from bitsback.cli.resources import set_up
from bitsback.errors import UnsupportedImage

if TYPE_CHECKING:
    import numpy as np
    import torch

# Copies of names in bitsback.sampling, which loads torch (--help must not).
SAMPLER_NAMES = ("ancestral", "seeds1", "seeds2", "seeds3", "ddim", "restoration-degradation")
GRADE_NAMES = ("passes", "head", "scalar", "beta", "beta-tilde")
TOP_NAMES = ("clouds", "coder")
MAX_PIXELS = 2**24  # drawn at once: about 1 KB of memory each
ROW = 4  # up to so many images of --from lie in one row; more are laid out as a square


def _size(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """ "128x96" -> (height 96, width 128); None stays None."""
    if value is None:
        return None
    try:
        width, height = map(int, value.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise click.BadParameter("WIDTHxHEIGHT is needed, such as 128x128")
    return height, width


def _size_error(count: int, height: int, width: int) -> str | None:
    """The message for more than MAX_PIXELS pixels, else None."""
    if count * height * width <= MAX_PIXELS:
        return None
    return (
        f"{count} x {width}x{height} are more than {MAX_PIXELS} pixels to draw at once: "
        "give a smaller --size or --count"
    )


def _read_photograph(path: Path, size: tuple[int, int] | None) -> "torch.Tensor":
    """(3, H, W) float32, gray levels - 128: an image file, or its centre of (height, width)."""
    import torch

    from bitsback.codecs.formats.image_files import read_image

    colour = read_image(path, path, allow_lossy=True).colour
    if colour is None:
        raise UnsupportedImage(f"{path}: an image of 8 bits, colour or gray, is needed")
    pixels = torch.from_numpy(colour.copy()).permute(2, 0, 1).float().expand(3, -1, -1) - 128
    height, width = (min(a, b) for a, b in zip(size or pixels.shape[1:], pixels.shape[1:]))
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


@click.command()
@image_output_option
@click.option("--sampler", type=click.Choice(SAMPLER_NAMES), default="seeds3", show_default=True)
@click.option(
    "--steps", type=STEPS, help="Network evaluations (default: the model's own noise levels)."
)
@click.option(
    "--count", type=click.IntRange(1), help="Number of images (default: 16, or 2 with --from)."
)
@click.option(
    "--size",
    callback=_size,
    help="WIDTHxHEIGHT of an image (default: 128x128); with --from, of the photograph's centre "
    "(default: all of it).",
)
@click.option(
    "--seed",
    type=int,
    callback=torch_seed,
    default=1,
    show_default=True,
    help="A seed draws the same images again, on one machine.",
)
@click.option(
    "--from",
    "source",
    type=PathName(),
    help="Start from this photograph with noise added, and show both before the results.",
)
@click.option(
    "--sigma",
    type=GRAY_LEVELS,
    help="Noise added to the photograph, in gray levels (default: 25).",
)
@click.option(
    "--top",
    type=click.Choice(TOP_NAMES),
    default="clouds",
    show_default=True,
    help="Start from noise with a photograph's spectrum (clouds), or from the distribution that "
    "the coder uses for the noisiest level, gray at large scales (coder).",
)
@click.option(
    "--grade",
    type=click.Choice(GRADE_NAMES),
    help="Variance of the ancestral steps; passes draws from the coder's own chain with random "
    "bits (the default where it is possible: a model and no --steps).",
)
@click.option(
    "--depth",
    type=FiniteRange(0, 1),
    help="How far restoration-degradation restores: 1 (the default) is clean data, as in DDIM.",
)
@click.option(
    "--model", help="Name of a shipped model, a path, or a checkpoint (.ckpt) of `train`."
)
@device_option
@threads_option
@force_option
@quiet_option
def sample(
    output: Path,
    sampler: str,
    steps: int | None,
    count: int | None,
    size: tuple[int, int] | None,
    seed: int,
    source: Path | None,
    sigma: float | None,
    top: str,
    grade: str | None,
    depth: float | None,
    model: str | None,
    device: str,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Draw images from the prior, or restore a noised photograph with it."""
    if sigma and not source:
        raise click.UsageError("--sigma needs --from")
    if grade and sampler != "ancestral":
        raise click.UsageError("--grade needs --sampler ancestral")
    if grade == "passes" and (steps or str(model).endswith(".ckpt")):
        raise click.UsageError(
            "--grade passes draws from the chain of an exported model at its own levels: "
            "neither --steps nor a checkpoint can be given"
        )
    if depth is not None and sampler != "restoration-degradation":
        raise click.UsageError("--depth needs --sampler restoration-degradation")
    count, drawn_size = count or (2 if source else 16), size or (128, 128)
    if not source and (message := _size_error(count, *drawn_size)):
        raise click.UsageError(message)
    device, begin = set_up(None, threads, device), time.perf_counter()

    def draw() -> "np.ndarray":
        import torch

        from bitsback.sampling.gallery import draw_images, open_prior
        from bitsback.sampling.starts import image_sheet

        generator = torch.Generator().manual_seed(seed)
        photograph = _read_photograph(source, size) if source else None
        height, width = drawn_size if photograph is None else photograph.shape[1:]
        if message := _size_error(count, height, width):
            raise UnsupportedImage(f"{source}: {message}")
        start, images = draw_images(
            open_prior(model),
            (count, 3, height, width),
            generator,
            sampler=sampler,
            steps=steps,
            grade=grade,
            depth=1.0 if depth is None else depth,
            photo=photograph,
            sigma=sigma or (25.0 if source else None),
            top=top,
            device=device,
        )
        if photograph is None:
            return image_sheet(images)
        sheet = torch.cat([photograph[None], start[:1], images])
        return image_sheet(sheet, len(sheet) if len(sheet) <= ROW else None)

    write_drawing(output, source, force, draw)
    if not quiet:
        print_line(f"{output}: {sampler}, {time.perf_counter() - begin:.1f} s")
