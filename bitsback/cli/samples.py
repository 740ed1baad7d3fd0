"""The commands that look at a prior: `sample` and `preview`.  Parse, call, print."""

import math
import sys
import time
from pathlib import Path

import click

from bitsback.errors import BitsbackError, UnsupportedImage

SAMPLER_NAMES = ("ancestral", "seeds1", "seeds2", "seeds3", "ddim", "restoration-degradation")
GRADE_NAMES = ("passes", "head", "scalar", "beta", "beta-tilde")
TOP_NAMES = ("clouds", "coder")
MAX_PIXELS = 2**24  # pixels of a call of sample, which take about 1 KB of memory each
STEPS = click.IntRange(1, 10_000)
IN_A_ROW = 4  # tiles with --from that stand beside each other; more are put into a square


def _size(context, parameter, value):
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


def _seed(context, parameter, value):
    """A number that torch takes.  A callback, since click would print the range of a type in --help."""
    if not -(2**63) <= value < 2**63:
        raise click.BadParameter("seeds are -2^63 to 2^63 - 1")
    return value


def _too_many(count, height, width):
    """What is said of more pixels than MAX_PIXELS, or None."""
    if count * height * width > MAX_PIXELS:
        return f"{count} x {width}x{height} are more than {MAX_PIXELS} pixels to draw at once: give a smaller --size or --count"


class _Noise(click.FloatRange):
    """A noise in gray levels: positive and finite."""

    def __init__(self):
        super().__init__(0, min_open=True)

    def convert(self, value, parameter, context):
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", parameter, context)
        return number


def _write_to(path, source, force, make):
    """Writes make(), (H, W, 3) uint8, losslessly by the path's suffix; what can be refused is, before make is called."""
    from bitsback import outputs
    from bitsback.codecs.formats.image_files import image_bytes, image_format
    from bitsback.codecs.image import ImageData

    file_format = image_format(path)
    outputs.refuse(path, [source] if source and source != outputs.STDIO else [], force)
    data, _ = image_bytes(ImageData("RGB", make()), file_format, path)
    outputs.write(data, path, force=force)


def _guarded(name, work):
    """work(), or one line on stderr that begins with the file's name, and exit status 1."""
    from bitsback.cli.shared import fail

    try:
        work()
    except (BitsbackError, OSError) as error:
        fail(error, name)
        sys.exit(1)


def _photo(path, size):
    """(3, H, W) float32, minus 128: an image file, or its centre if a size is given."""
    import torch

    from bitsback.codecs.formats.image_files import read_image

    colour = read_image(path, path, allow_lossy=True).colour
    if colour is None:
        raise UnsupportedImage(f"{path}: 8 bits of colour or gray are needed to start from")
    pixels = torch.from_numpy(colour.copy()).permute(2, 0, 1).float().expand(3, -1, -1) - 128
    height, width = (min(a, b) for a, b in zip(size or pixels.shape[1:], pixels.shape[1:]))
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


@click.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Image file, lossless by its suffix.",
)
@click.option("--sampler", type=click.Choice(SAMPLER_NAMES), default="seeds3", show_default=True)
@click.option("--steps", type=STEPS, help="Network passes (default: the model's own levels).")
@click.option("--count", type=click.IntRange(1), help="Images (default: 16, 2 with --from).")
@click.option(
    "--size",
    callback=_size,
    help="WIDTHxHEIGHT of one (default: 128x128); with --from, of the photograph's centre (default: all of it).",
)
@click.option(
    "--seed",
    type=int,
    callback=_seed,
    default=1,
    show_default=True,
    help="The same images again, on one machine.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Begin with this photograph, noised; it and its noised version come first.",
)
@click.option(
    "--sigma", type=_Noise(), help="Noise put on the photograph, gray levels (default: 25)."
)
@click.option(
    "--top",
    type=click.Choice(TOP_NAMES),
    default="clouds",
    show_default=True,
    help="Begin with clouds of a photograph's spectrum, or with the coder's top, gray at large.",
)
@click.option(
    "--grade",
    type=click.Choice(GRADE_NAMES),
    help="Variance of ancestral's steps; passes is the coder's own chain, drawn from random bits (default where it can be: a model, no --steps).",
)
@click.option(
    "--depth",
    type=click.FloatRange(0, 1),
    help="How far restoration-degradation restores: 1, clean data (default), is DDIM.",
)
@click.option(
    "--model", help="A shipped model's name, the path of one, or a checkpoint (.ckpt) of train."
)
@click.option(
    "--device", default="cpu", show_default=True, help="Of the network: auto, cpu, cuda or cuda:N."
)
@click.option("-T", "--threads", type=click.IntRange(1), help="CPU threads of the network.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def sample(
    output,
    sampler,
    steps,
    count,
    size,
    seed,
    source,
    sigma,
    top,
    grade,
    depth,
    model,
    device,
    threads,
    force,
    quiet,
):
    """Draw images from the prior, or let it restore a noised photograph, and write them side by side."""
    import torch

    from bitsback.cli.shared import say, torch_device
    from bitsback.sampling.gallery import draw_images, open_prior
    from bitsback.sampling.starts import tiles

    if sigma and not source:
        raise click.UsageError("--sigma goes with --from")
    if grade and sampler != "ancestral":
        raise click.UsageError("--grade goes with --sampler ancestral")
    if grade == "passes" and (steps or str(model).endswith(".ckpt")):
        raise click.UsageError(
            "--grade passes is the chain of an exported model at its own levels: neither --steps nor a checkpoint"
        )
    if depth is not None and sampler != "restoration-degradation":
        raise click.UsageError("--depth goes with --sampler restoration-degradation")
    count, size = count or (2 if source else 16), size or (None if source else (128, 128))
    if not source and (refusal := _too_many(count, *size)):
        raise click.UsageError(refusal)
    device = torch_device(device)
    if threads:
        torch.set_num_threads(threads)

    begin = time.perf_counter()

    def make():
        generator = torch.Generator().manual_seed(seed)
        photo = _photo(source, size) if source else None
        shape = (count, 3, *(photo.shape[1:] if source else size))
        if refusal := _too_many(count, *shape[2:]):
            raise UnsupportedImage(f"{source}: {refusal}")
        start, end = draw_images(
            open_prior(model),
            shape,
            generator,
            sampler=sampler,
            steps=steps,
            grade=grade,
            depth=1.0 if depth is None else depth,
            photo=photo,
            sigma=sigma or (25.0 if source else None),
            top=top,
            device=device,
        )
        if not source:
            return tiles(end)
        sheet = torch.cat([photo[None], start[:1], end])
        return tiles(sheet, len(sheet) if len(sheet) <= IN_A_ROW else None)

    _guarded(source or output, lambda: _write_to(output, source, force, make))
    if not quiet:
        say(f"{output}: {sampler}, {time.perf_counter() - begin:.1f} s")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Image file, lossless by its suffix.",
)
@click.option(
    "--sigma",
    type=_Noise(),
    default=9.0,
    show_default=True,
    help="Decode down to the level nearest to this noise, gray levels; more is quicker and smoother.",
)
@click.option(
    "--steps",
    type=STEPS,
    default=2,
    show_default=True,
    help="Steps of DDIM from there to an image.",
)
@click.option(
    "--segments",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts of the file to show; all but the last of them are decoded fully.",
)
@click.option("--model", help="A shipped model's name, or the path of one.")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("-T", "--threads", type=click.IntRange(1), help="CPU threads of the network.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def preview(source, output, sigma, steps, segments, model, device, threads, force, quiet):
    """Show the part of a .bbk file that decodes first, after a fraction of a full decode's time.

    That part is a fifth to a third of an image, at one side; its noisier levels are decoded and the prior removes the noise
    left.  No other part can be read before those that were coded after it: the rest is blurred, out of the means of blocks that a file
    tells first, or gray where it tells none.  It takes 5 to 15 % of a full decode's time; the share of network passes is told.
    """
    import torch

    from bitsback.cli.shared import say, torch_device
    from bitsback.codecs.io.packed import read_packed
    from bitsback.sampling.preview import preview as look

    device = torch_device(device)
    if threads:
        torch.set_num_threads(threads)

    begin, lines = time.perf_counter(), []

    def make():
        seen = look(
            read_packed(source),
            model=model,
            sigma=sigma,
            steps=steps,
            segments=segments,
            device=device,
        )
        done = (
            f"{100 * seen.known.mean():.0f} % of the image, decoded to noise {seen.sigma:.1f}, {100 * seen.share:.0f} % of a full decode's "
            "network passes"
            if seen.sigma
            else "stored conventionally, decoded whole"
        )
        lines.append(f"{source} -> {output}: {done}, {time.perf_counter() - begin:.1f} s")
        return seen.pixels

    _guarded(source, lambda: _write_to(output, source, force, make))
    if not quiet:
        say(lines[0])
