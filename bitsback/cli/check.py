"""The command `test`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.devices import torch_devices, with_memory
from bitsback.cli.each import process_each
from bitsback.cli.inputs import find_inputs, has_pipes
from bitsback.cli.many import group_processes, job_count, run_many
from bitsback.cli.messages import ProgressBar, print_result
from bitsback.cli.options import (
    device_option,
    jobs_option,
    json_option,
    model_option,
    quiet_option,
    recursive_option,
    sources_argument,
    threads_option,
)
from bitsback.cli.resources import model_path, open_model, set_threads
from bitsback.devices import is_gpu

if TYPE_CHECKING:
    from bitsback.codecs.bitstream.container import Header


@click.command("test")
@sources_argument
@recursive_option
@json_option
@model_option
@device_option
@threads_option
@jobs_option
@quiet_option
def check(
    sources: tuple[Path, ...],
    recursive: bool,
    as_json: bool,
    model: str | None,
    device: str,
    threads: int | None,
    jobs: int | None,
    quiet: bool,
) -> None:
    """Decode .bbk files to check all checksums; write nothing.

    With -j, files are decoded at once, or the groups of one archive.
    """
    from bitsback.codecs.io import files

    items, failed = find_inputs(sources, recursive, {files.SUFFIX}, as_json)
    set_threads(threads)
    devices = torch_devices(device)
    at_once = job_count(jobs, recursive, len(items), gpu=is_gpu(devices[0]))

    def report(source: Path, header: "Header", begin: float) -> None:
        count, seconds = len(header.entries), time.perf_counter() - begin
        what = f"{header.width}x{header.height} {header.entries[0].mode}"
        if header.archive:
            what = f"{count} images"
        print_result(
            {"source": str(source), "ok": True, "images": count, "seconds": seconds},
            f"{source}: {what}, checksums match, {seconds:.1f} s",
            as_json=as_json,
            quiet=quiet,
            to_stderr=False,
        )

    many = at_once > 1 or len(devices) > 1 and len(items) > 1
    if many and not has_pipes(items):
        run_begin = time.perf_counter()
        run_many(
            "check",
            items,
            lambda source, root: ([], []),
            model_path(model),
            devices,
            {},
            lambda source, _, header: report(source, header, run_begin),
            jobs=at_once,
            quiet=quiet,
            as_json=as_json,
            failed=failed,
        )
    prior = open_model(model, devices[0], verbose=False)

    def check_one(source: Path, _: Path | None) -> None:
        begin = time.perf_counter()
        with ProgressBar(source, quiet) as bar:

            def work(where: str) -> "Header":
                return files.check_file(
                    source,
                    processes=group_processes(jobs),
                    model=prior,
                    device=where,
                    progress=bar,
                )

            header = with_memory(work, devices[0], source)
        report(source, header, begin)

    process_each(items, check_one, as_json=as_json, failed=failed)
