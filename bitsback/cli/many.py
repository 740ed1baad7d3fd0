"""`compress`, `decompress`, `test` of many files at once: tasks, printed results, exit status."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bitsback import outputs
from bitsback.cli.cards import cards
from bitsback.cli.devices import MOST_AT_ONCE
from bitsback.cli.each import is_skipped, print_skipped
from bitsback.cli.inputs import Item
from bitsback.cli.messages import FAILURES, ProgressBar, print_error, print_file_error, print_line
from bitsback.cli.pool import Task, cluster, processes, run
from bitsback.cli.run_outputs import RunOutputs
from bitsback.devices import is_gpu
from bitsback.errors import BitsbackError, MetadataLoss, OutputFailed

if TYPE_CHECKING:
    from bitsback.codecs.groups import Processes


def core_count() -> int:
    """Cores that this process may use (taskset limits them)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def job_count(jobs: int | None, recursive: bool, files: int, gpu: bool = False) -> int:
    """Files at once: `jobs` if given, else with -r one per core; never more than files.

    gpu: on each device, where the default with -r is MOST_AT_ONCE.
    """
    many = MOST_AT_ONCE if gpu else core_count()
    return min(files, jobs or (many if recursive else 1))


def group_processes(jobs: int | None) -> "Processes | None":
    """What codes groups of one archive at once: -j processes; None without -j."""
    return functools.partial(processes, jobs) if jobs and jobs > 1 else None


@contextmanager
def _executor(
    jobs: int, devices: list[str], address: str | None, verbose: bool
) -> Iterator[Executor]:
    if not address:
        own = len(devices) > 1 or is_gpu(devices[0])
        with cards(devices, jobs, verbose) if own else processes(jobs) as local:
            yield local
        return
    executor, client = cluster(address)
    with client:
        yield executor


def run_many(
    action: str,
    items: list[Item],
    targets_of: Callable[[Path, Path | None], tuple[list[Path], list[Path]]],
    model: str | None,
    devices: list[str],
    options: dict,
    report: Callable[..., None],
    *,
    jobs: int,
    address: str | None = None,
    force: bool = False,
    quiet: bool = False,
    as_json: bool = False,
    failed: int = 0,
    verbose: bool = False,
) -> NoReturn:
    """Runs one pool.Task for each item and exits the program, with status 1 if any failed.

    action, options, model: as of pool.Task; devices: of the run; jobs: files at once, on GPUs on
    each; address: of a dask cluster, whose workers find the device; targets_of(source, root): the
    outputs, of which no two may be the same, and where the worker may write instead of them;
    report(source, target, *result): called for each task that succeeded, may raise MetadataLoss;
    failed: number of earlier failures.  Whether the outputs of "decompress" exist is checked by the
    worker, which determines their names by what is in the file.
    """
    tasks: list[Task] = []
    roots, run_outputs, skipped = {}, RunOutputs(items), 0
    for source, root in items:
        try:
            targets, instead = targets_of(source, root)
            compresses = action == "compress"
            for target in targets:
                make_folder = compresses or bool(options.get("folder")) and len(targets) == 1
                run_outputs.check(target, source, make_folder)
            if compresses:  # with --rm the worker looks what is there: codecs/io/interrupted.py
                outputs.refuse(targets[0], [source], force or options["remove"])
        except FAILURES as error:
            failed += 1
            print_file_error(error, source, as_json)
            continue
        run_outputs.add(targets, source)
        run_outputs.add_substitutes(instead, source)
        task_options = options if action == "check" else options | {"force": force}
        if compresses:
            target = targets[0]
            if address:  # a worker runs in another folder
                source, target = source.absolute(), target.absolute()
            task = Task(
                action,
                str(source),
                str(target),
                task_options,
                model,
                devices[0],
                on_cluster=bool(address),
            )
        else:
            task_options = task_options | ({"root": root} if action == "decompress" else {})
            task = Task(action, str(source), None, task_options, model, devices[0])
        tasks.append(task)
        roots[task.source] = root
    if action == "decompress":
        claimed = run_outputs.claimed()
        for task in tasks:
            task.options["claimed"] = claimed.get(Path(task.source), {})
    if verbose and not address:
        name = Path(model).name if model else None
        how = f"{jobs} processes with one thread each"
        if len(devices) > 1 or is_gpu(devices[0]):
            how = f"up to {jobs} images at once on each of {', '.join(devices)}"
        print_line(f"model {name}, {how}", to_stderr=True)
    try:
        title = f"{len(tasks)} files"
        with (
            _executor(jobs, devices, address, verbose) as executor,
            ProgressBar(title, quiet) as bar,
        ):
            for done, (task, result, task_error) in enumerate(run(tasks, executor), 1):
                bar(done / len(tasks))
                if task_error is None:
                    try:
                        report(Path(task.source), task.target and Path(task.target), *result)
                    except (MetadataLoss, OutputFailed) as kept:
                        task_error = kept
                if task_error is None:
                    continue
                if is_skipped(task_error, task.source, roots[task.source], as_json):
                    skipped += 1
                else:
                    failed += 1
                    print_file_error(task_error, task.source, as_json)
    except BitsbackError as error:
        print_error(error, address or "")
        sys.exit(1)
    except KeyboardInterrupt:
        raise click.Abort() from None
    print_skipped(skipped, quiet)
    sys.exit(1 if failed else 0)
