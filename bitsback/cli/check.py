"""The command `test`."""

import time
from pathlib import Path
from typing import Any

import click

from bitsback.cli.devices import with_memory
from bitsback.cli.each import process_each
from bitsback.cli.inputs import find_inputs
from bitsback.cli.messages import ProgressBar, print_result
from bitsback.cli.options import (
    device_option,
    json_option,
    model_option,
    quiet_option,
    recursive_option,
    sources_argument,
    threads_option,
)
from bitsback.cli.resources import open_model, set_up


@click.command("test")
@sources_argument
@recursive_option
@json_option
@model_option
@device_option
@threads_option
@quiet_option
def check(
    sources: tuple[Path, ...],
    recursive: bool,
    as_json: bool,
    model: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Decode .bbk files to check all checksums; write nothing."""
    from bitsback.codecs.io import files

    items, failed = find_inputs(sources, recursive, {files.SUFFIX}, as_json)
    device = set_up(None, threads, device)
    prior = open_model(model, device, verbose=False)

    def check_one(source: Path, _: Path | None) -> None:
        begin = time.perf_counter()
        with ProgressBar(source, quiet) as bar:

            def work(where: str) -> Any:
                return files.check_file(source, model=prior, device=where, progress=bar)

            header = with_memory(work, device, source)
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

    process_each(items, check_one, as_json=as_json, failed=failed)
