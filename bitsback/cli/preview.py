"""The command `preview`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.drawing import GRAY_LEVELS, STEPS, write_drawing
from bitsback.cli.messages import print_line
from bitsback.cli.options import (
    PathName,
    device_option,
    force_option,
    image_output_option,
    model_option,
    quiet_option,
    threads_option,
)
from bitsback.cli.resources import set_up

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("source", type=PathName())
@image_output_option
@click.option(
    "--sigma",
    type=GRAY_LEVELS,
    default=9.0,
    show_default=True,
    help="Decode down to the level nearest to this noise, in gray levels; more is quicker and "
    "smoother.",
)
@click.option(
    "--steps",
    type=STEPS,
    default=2,
    show_default=True,
    help="Steps of DDIM from that level to an image.",
)
@click.option(
    "--segments",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Segments to show; all but the last of them are decoded fully.",
)
@model_option
@device_option
@threads_option
@force_option
@quiet_option
def preview(
    source: Path,
    output: Path,
    sigma: float,
    steps: int,
    segments: int,
    model: str | None,
    device: str,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Show the segment of a .bbk file that decodes first, in a fraction of the full time.

    The segment is a fifth to a third of an image, at one side. Its noisier levels are decoded, and
    the prior removes the remaining noise. The other segments can be decoded only after it: they are
    shown blurred, from the block means in the file, or gray if it has none. Of a photograph
    this takes 5 to 15 % of a full decode's time; the share of network evaluations is printed. The
    pixels are not compared with the file's digest, which is that of the whole image: `bitsback
    test` does that.
    """
    device = set_up(None, threads, device)
    begin, lines = time.perf_counter(), []

    def draw() -> "np.ndarray":
        from bitsback.codecs.io.packed import read_packed
        from bitsback.sampling import preview as sampling

        seen = sampling.preview(
            read_packed(source),
            model=model,
            sigma=sigma,
            steps=steps,
            segments=segments,
            device=device,
        )
        done = "coded by the fallback codec, decoded whole"
        if seen.sigma:
            done = (
                f"{100 * seen.known.mean():.0f} % of the image, decoded to noise "
                f"{seen.sigma:.1f}, {100 * seen.share:.0f} % of a full decode's network "
                "evaluations"
            )
        lines.append(f"{source} -> {output}: {done}, {time.perf_counter() - begin:.1f} s")
        return seen.pixels

    write_drawing(output, source, force, draw)
    if not quiet:
        print_line(lines[0])
