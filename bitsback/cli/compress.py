"""The command `compress`."""

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bitsback.cli.devices import torch_devices, with_memory
from bitsback.cli.each import process_each
from bitsback.cli.estimate import estimate_printer
from bitsback.cli.inputs import Item, check_streams, find_inputs, has_pipes
from bitsback.cli.many import group_processes, job_count, run_many
from bitsback.cli.messages import ProgressBar, print_line, print_log, print_result
from bitsback.cli.options import CommonOptions, EffortType, PathName, common_options
from bitsback.cli.resources import effort_model, make_ready, model_path, open_model
from bitsback.cli.run_outputs import RunOutputs
from bitsback.devices import is_gpu
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS

if TYPE_CHECKING:
    from bitsback.codecs.bitstream.container import Header


def _check_options(
    common: CommonOptions, archive: Path | None, verify: bool, allow_lossy: bool, dask: bool
) -> None:
    """Usage errors for options that cannot be combined."""
    if archive and (common.output or common.folder or Path("-") in common.sources):
        raise click.UsageError("--archive names the output, of files: no -o, --dir, standard input")
    if common.remove and (common.keep or not verify or allow_lossy):
        raise click.UsageError(
            "--rm cannot be combined with --keep, --no-verify or --allow-lossy-source"
        )
    if dask and (archive or common.remove):
        raise click.UsageError("--dask cannot be combined with --archive or --rm")


@dataclass(frozen=True)
class _Reporter:
    """Prints the results of a run.

    archive: all images go into one file; to_stdout: the file goes to standard output.
    """

    common: CommonOptions
    archive: bool
    verify: bool
    to_stdout: bool

    def print_loss(self, path: Path, names: Iterable[str]) -> None:
        """Prints which metadata of an input are not kept."""
        if not self.common.quiet:
            print_line(f"bitsback: {path}: not kept: {', '.join(names)}", to_stderr=True)

    def print_file(
        self, source: str | Path, target: Path, header: "Header", size: int, begin: float
    ) -> None:
        """Prints the result for one output of `size` bytes; begin: time.perf_counter()."""
        if header.lost and not self.archive:
            self.print_loss(Path(source), header.lost)
        count = f"{len(header.entries)} images, " if header.archive else ""
        seconds, rate = time.perf_counter() - begin, 8 * size / header.dims
        facts = {
            "source": str(source),
            "target": str(target),
            "bytes": size,
            "bits_per_dim": rate,
            "method": "prior" if header.model else "fallback",
            "images": len(header.entries),
            "lost": list(header.lost),
            "verified": self.verify,
            "removed": self.common.remove,
            "seconds": seconds,
        }
        print_result(
            facts,
            f"{source} -> {target}: {count}{size} bytes, {rate:.3f} bits/dim, {seconds:.1f} s",
            as_json=self.common.as_json,
            quiet=self.common.quiet,
            to_stderr=self.to_stdout,
        )


@click.command()
@common_options
@click.option(
    "--archive",
    type=PathName(),
    help="One file for all images of the files and folders given; none if one is refused.",
)
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Decode and compare each output before it gets its name.",
)
@click.option(
    "--strip",
    is_flag=True,
    help="Leave out metadata: ICC profile, Exif with its orientation, XMP, resolution, text.",
)
@click.option(
    "--allow-metadata-loss",
    "allow_loss",
    is_flag=True,
    help="With --rm: also remove inputs with metadata that cannot be kept.",
)
@click.option(
    "--allow-lossy-source",
    "allow_lossy",
    is_flag=True,
    help="Also compress the pixels of JPEG, lossy WebP and the like, into larger files.",
)
@click.option(
    "-e",
    "--effort",
    type=EffortType(),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="Model and tuning: fast, default and best, from the smallest model to the largest; max "
    "is best with its biases tuned to each image, for several times its time. Numbers are "
    "aliases: 1-3 fast, 4-6 default, 7-8 best, 9 max.",
)
@click.option(
    "--dask",
    "address",
    metavar="ADDRESS",
    help="Use the workers of this dask scheduler; they need the same paths.",
)
def compress(
    common: CommonOptions,
    archive: Path | None,
    verify: bool,
    strip: bool,
    allow_loss: bool,
    allow_lossy: bool,
    effort: str,
    address: str | None,
) -> None:
    """Compress each image to NAME.bbk; - is standard input and output.

    An input is any image that Pillow reads, but not an animation.
    """
    from bitsback.codecs.formats import image_files
    from bitsback.codecs.io import files

    _check_options(common, archive, verify, allow_lossy, dask=bool(address))
    items: list[Item]
    if archive:
        items, failed = [(archive, None)], 0
    else:
        kinds = image_files.IMAGE_SUFFIXES
        items, failed = find_inputs(
            common.sources, common.recursive, kinds, common.as_json, common.remove
        )
    to_stdout = check_streams(items, common.output, common.folder, common.remove)
    make_ready(common.folder, common.threads)
    print_log(common.verbose)
    devices = [common.device] if address else torch_devices(common.device)
    device = devices[0]
    name, tuning = effort_model(effort, common.model), EFFORTS[effort].tuning
    options: dict[str, Any] = {
        "verify": verify,
        "strip": strip,
        "allow_lossy": allow_lossy,
        "remove": common.remove,
        "allow_loss": allow_loss,
        "effort": effort,
    }
    targets = dict(zip(items, files.compressed_paths(items, common.folder, common.remove)))
    jobs = job_count(common.jobs, common.recursive, len(items), gpu=is_gpu(device))
    outputs = RunOutputs(items)
    reporter = _Reporter(common, bool(archive), verify, to_stdout)

    def target_of(source: Path, root: Path | None) -> Path:
        return common.output or targets[source, root]

    many = jobs > 1 or len(devices) > 1 and len(items) > 1
    if address or many and not (archive or has_pipes(items) or common.output):
        run_begin = time.perf_counter()
        run_many(
            "compress",
            items,
            lambda source, root: ([target_of(source, root)], []),
            model_path(name),
            devices,
            options,
            functools.partial(reporter.print_file, begin=run_begin),
            jobs=jobs,
            address=address,
            force=common.force,
            quiet=common.quiet,
            as_json=common.as_json,
            failed=failed,
            verbose=common.verbose,
        )
    model = open_model(name, device, common.verbose)
    options |= {"force": common.force, "model": model}

    def estimate_for(path: Path, where: str) -> Callable:
        return estimate_printer(
            path, verify=verify, quiet=common.quiet, model=model, device=where, tuning=tuning
        )

    def compress_one(source: Path, root: Path | None) -> None:
        begin, target = time.perf_counter(), target_of(source, root)
        outputs.check(target, source, make_folder=bool(common.folder and root))
        with ProgressBar(source, common.quiet) as bar:

            def work(where: str) -> tuple:
                announce = estimate_for(source, where)
                return files.compress_file(
                    source, target, progress=bar, announce=announce, device=where, **options
                )

            header, size = with_memory(work, device, source)
        outputs.add([target], source, written=True)
        reporter.print_file(source, target, header, size, begin)

    def compress_all(target: Path, _: Path | None) -> None:
        begin = time.perf_counter()
        with ProgressBar(target, common.quiet) as bar:

            def work(where: str) -> tuple:
                return files.compress_archive(
                    common.sources,
                    target,
                    note=reporter.print_loss,
                    progress=bar,
                    announce=estimate_for(target, where),
                    device=where,
                    processes=group_processes(common.jobs),
                    **options,
                )

            header, size = with_memory(work, device, target)
        reporter.print_file(" ".join(map(str, common.sources)), target, header, size, begin)

    process_each(
        items,
        compress_all if archive else compress_one,
        output=common.output,
        as_json=common.as_json,
        failed=failed,
        quiet=common.quiet,
    )
