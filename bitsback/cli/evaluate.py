"""The command `evaluate`."""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bitsback.cli.image_sets import as_array, read_images
from bitsback.cli.messages import FAILURES, ProgressBar, print_error, print_line
from bitsback.cli.options import (
    EffortType,
    PathName,
    device_option,
    json_option,
    model_option,
    quiet_option,
    threads_option,
)
from bitsback.cli.resources import set_up
from bitsback.efforts import EFFORTS

if TYPE_CHECKING:
    from bitsback.codecs.image import ImageData
    from bitsback.coder.model import Model

MEASURES = ("bound", "net", "file", "archive")
PARTS = ("reconstruction", "diffusion", "prior")
LEARNED = 64  # training images from which grades are estimated: moments need few
SECOND = 1.0  # an estimate of less than so many seconds is not printed


@click.command()
@click.argument("images", type=PathName())
@model_option
@click.option(
    "-e",
    "--effort",
    type=EffortType(),
    help="The model of this effort of compress, in place of --model (default: default). Not max, "
    "which tunes to each file.",
)
@click.option("--levels", type=click.IntRange(2, 64), help="Noise levels other than the model's.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many images.")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    type=click.Choice(MEASURES),
    help="Only this; may be repeated (default: all four).",
)
@click.option(
    "--grades",
    "training",
    type=PathName(),
    help="Also the bound by grade of the variance, and calibrated: on centre crops, by what these "
    "training images (a folder or an array) tell.",
)
@click.option("--verify/--no-verify", default=True, help="Decode and compare all files.")
@click.option(
    "--allow-lossy-source", "allow_lossy", is_flag=True, help="Also JPEG and other lossy images."
)
@click.option(
    "--row",
    type=click.Choice(["markdown", "latex"]),
    is_flag=False,
    flag_value="markdown",
    help="Print a row of a table instead: markdown (default) or latex.",
)
@json_option
@device_option
@threads_option
@quiet_option
def evaluate(
    images: Path,
    model: str | None,
    effort: str | None,
    levels: int | None,
    limit: int | None,
    measures: tuple[str, ...],
    training: Path | None,
    verify: bool,
    allow_lossy: bool,
    row: str | None,
    as_json: bool,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Bits a dimension of a folder, or of an array (N, H, W, 3) in a .npy file.

    The bound with its parts, the coder's net rate, real files of one image each, and an archive of
    all, with standard errors over images.  Bound and net are of tiles of at most 256x256.
    """
    from bitsback.coder.model import Model

    if effort and model:
        raise click.UsageError("--effort and --model both choose the model: give one")
    if effort and EFFORTS[effort].tuning:
        raise click.UsageError(f"evaluate does not tune to each file, as {effort} does: give best")
    device = set_up(None, threads, device)
    try:
        found = read_images(images, limit, allow_lossy)
        learned = read_images(training, LEARNED, allow_lossy) if training else []
        with tempfile.TemporaryDirectory() as folder:
            chosen = Model.open(EFFORTS[effort].model if effort else model)
            if levels and levels != len(chosen.levels):
                from bitsback.evaluation import with_levels

                chosen = with_levels(chosen, levels, Path(folder) / "levels.safetensors")
            facts = measured(
                images, found, learned, chosen, measures or MEASURES, verify, device, quiet
            )
    except FAILURES as error:
        print_error(error, getattr(error, "filename", None) or images)
        sys.exit(1)
    if as_json:
        print_line(json.dumps(facts))
    elif row:
        for line in table_rows(facts, row):
            print_line(line)
    else:
        print_facts(facts)


def measured(
    source: Path,
    images: "list[ImageData]",
    training: "list[ImageData]",
    model: "Model",
    measures: tuple[str, ...],
    verify: bool,
    device: str,
    quiet: bool,
) -> dict[str, Any]:
    """The facts that are printed; rates are [bits/dim, standard error or null]."""
    from bitsback import evaluation
    from bitsback.codecs.encoder import Encoder

    arrays = [as_array(image) for image in images]
    pixels = sum(image.width * image.height for image in images)
    encoder = Encoder(model, device, verify=verify)
    if not quiet:
        print_estimate(pixels, model, device, measures, verify)
    begin = time.perf_counter()
    rates: dict[str, evaluation.Rate] = {}

    def run(name: str, work: Callable) -> Any:
        with ProgressBar(f"{source}: {name}", quiet) as bar:
            return work(bar)

    tiled = [name for name in ("bound", "net") if name in measures]
    if tiled:
        rates |= run(
            " and ".join(tiled),
            lambda bar: evaluation.tile_rates(arrays, model, tiled, device=device, progress=bar),
        )
    if "file" in measures:
        rates["file"] = run("file", lambda bar: evaluation.file_rate(images, encoder, bar))
    if "archive" in measures:
        rates["archive"] = run("archive", lambda bar: evaluation.archive_rate(images, encoder, bar))
    facts: dict[str, Any] = {
        "source": str(source),
        "images": len(images),
        "dims": sum(image.samples.size for image in images),
        "model": model.id[:16],
        "levels": len(model.levels),
        "verified": verify and bool({"file", "archive"} & set(measures)),
        "files_by_prior": rates["file"].by_prior if "file" in rates else None,
        "rates": {
            name: [one.mean, None if math.isnan(one.error) else one.error]
            for name, one in rates.items()
        },
    }
    if training:
        facts["grades"] = evaluation.graded_rates(arrays, list(map(as_array, training)), model)
    return facts | {"seconds": time.perf_counter() - begin}


def print_estimate(
    pixels: int, model: "Model", device: str, measures: tuple[str, ...], verify: bool
) -> None:
    """Prints how long it will take at the machine's present speed."""
    from bitsback.codecs.estimate import seconds_per_megapixel

    runs = {"bound": 1.5, "net": 1, "file": 1 + verify, "archive": 1 + verify}
    seconds = seconds_per_megapixel(model, device) * sum(runs[m] for m in measures) * pixels / 1e6
    if seconds >= SECOND:
        print_line(
            f"bitsback: {pixels / 1e6:.2f} megapixels take about "
            + (f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} s"),
            to_stderr=True,
        )


def print_facts(facts: dict[str, Any]) -> None:
    """Prints a table for people."""
    print_line(
        f"{facts['source']}: {facts['images']} images, {facts['dims']} dimensions, model "
        f"{facts['model']}, {facts['levels']} levels, {facts['seconds']:.0f} s"
    )
    print_line(f"{'':28} {'bits/dim':>9} {'s.e.':>8}")
    for name, (mean, error) in facts["rates"].items():
        spread = "" if error is None else f"{error:8.4f}"
        told = name + fallback_share(facts) * (name == "file")
        print_line(f"{'  ' * (name in PARTS) + told:28} {mean:9.4f} {spread}".rstrip())
    for grade, mean in facts.get("grades", {}).items():
        print_line(f"{'bound, ' + grade:28} {mean:9.4f}".rstrip())


def fallback_share(facts: dict[str, Any]) -> str:
    """What is told of files where the fallback codec made some: their rate is not the model's."""
    by_prior = facts["files_by_prior"]
    return "" if by_prior in (None, facts["images"]) else f" ({by_prior} by the prior)"


def table_rows(facts: dict[str, Any], form: str) -> list[str]:
    """The lines of a table with one row: markdown with its head, or LaTeX."""
    rates = facts["rates"]
    texts = [
        f"{mean:.3f}" + ("" if error is None else f" {plus} {error:.3f}")
        for plus in ["±" if form == "markdown" else r"$\pm$"]
        for mean, error in rates.values()
    ]
    name = Path(facts["source"]).name
    cells = [name, str(facts["images"]), facts["model"], str(facts["levels"]), *texts]
    head = ["images", "N", "model", "levels", *rates]
    head = [name + fallback_share(facts) * (name == "file") for name in head]
    if form == "latex":
        cells[0] = name.replace("_", r"\_")
        return ["% " + " & ".join(head), " & ".join(cells) + r" \\"]
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), cells)]
