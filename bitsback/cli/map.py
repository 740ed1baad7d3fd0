"""The command `map`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.drawing import write_drawing
from bitsback.cli.messages import ProgressBar, print_line
from bitsback.cli.options import (
    EffortType,
    PathName,
    force_option,
    image_output_option,
    model_option,
    quiet_option,
    threads_option,
)
from bitsback.cli.resources import effort_model, set_up
from bitsback.efforts import DEFAULT_EFFORT

if TYPE_CHECKING:
    import numpy as np


@click.command("map")
@click.argument("source", type=PathName())
@image_output_option
@click.option("--levels", is_flag=True, help="Also a panel for each noise level.")
@model_option
@click.option(
    "-e", "--effort", type=EffortType(), default=DEFAULT_EFFORT, help="Of an image: as compress's."
)
@threads_option
@force_option
@quiet_option
def bit_map(
    source: Path,
    output: Path,
    levels: bool,
    model: str | None,
    effort: str,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Draw where the bits of a .bbk file, or of an image coded for this, went.

    A heat map of bits a pixel, and a bar of the file's parts; they add up to the file. Needs
    matplotlib: pip install 'bitsback[plot]'.
    """
    set_up(None, threads, "cpu")
    begin, lines = time.perf_counter(), []

    def draw() -> "np.ndarray":
        from bitsback.cli.map_figure import figure
        from bitsback.codecs.bit_map import bit_map as mapped

        with ProgressBar(source, quiet) as bar:
            data = packed(source, effort_model(effort, model), effort)
            found = mapped(data, model=model, progress=bar)
        share = 100 * found.pixels.sum() / found.total
        seconds = time.perf_counter() - begin
        lines.append(
            f"{source} -> {output}: {found.total // 8} bytes, {share:.1f} % of them at pixels, "
            f"{found.pixels.mean():.3f} bits a pixel, {seconds:.1f} s"
        )
        return figure(found, source.name, levels)

    write_drawing(output, source, force, draw)
    if not quiet:
        print_line(lines[0])


def packed(source: Path, model: str | None, effort: str) -> bytes:
    """The bytes of a .bbk file; of an image, those it would be compressed to."""
    from bitsback.codecs.bitstream.container import MAGIC
    from bitsback.codecs.encoder import encode_image
    from bitsback.codecs.formats.image_files import read_image
    from bitsback.codecs.io.packed import opened_source

    with opened_source(source) as (stream, _):
        head = stream.read(len(MAGIC))
        if head != MAGIC:
            stream.seek(0)
            image = read_image(stream, source, allow_lossy=True)
            return encode_image(image, model=model, effort=effort)
        return head + stream.read()  # a pipe is read once
