"""`compress` and `decompress` of many files at once: tasks, printed results, exit status."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from bitsback import outputs
from bitsback.cli.each import RunOutputs, is_skipped, print_skipped
from bitsback.cli.inputs import Item
from bitsback.cli.messages import ProgressBar, print_error, print_file_error, print_line
from bitsback.cli.pool import Task, cluster, processes, run
from bitsback.errors import BitsbackError


def core_count() -> int:
    """Cores that this process may use (taskset limits them)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def job_count(jobs: int | None, recursive: bool, files: int) -> int:
    """Processes to use: `jobs` if given, else with -r one per core; never more than files."""
    return min(files, jobs or (core_count() if recursive else 1))


@contextmanager
def _executor(jobs: int, address: str | None) -> Iterator[Executor]:
    if not address:
        with processes(jobs) as local:
            yield local
        return
    executor, client = cluster(address)
    with client:
        yield executor


def run_many(
    action: str,
    items: list[Item],
    targets_of: Callable[[Path, Path | None], list[Path]],
    model: str | None,
    device: str,
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

    action, options, model, device: as of pool.Task; targets_of(source, root): the outputs, of
    which no two may be the same; report(source, target, *result): called for each task that
    succeeded; failed: number of earlier failures.  Whether the outputs of "decompress" exist is
    checked by the worker, which determines their names by what is in the file.
    """
    tasks: list[Task] = []
    roots, run_outputs, skipped = {}, RunOutputs(), 0
    for source, root in items:
        try:
            targets = targets_of(source, root)
            compresses = action == "compress"
            for target in targets:
                make_folder = compresses or bool(options.get("folder")) and len(targets) == 1
                run_outputs.check(target, source, make_folder)
            if compresses:
                outputs.refuse(targets[0], [source], force)
        except (BitsbackError, OSError) as error:
            failed += 1
            print_file_error(error, source, as_json)
            continue
        run_outputs.add(targets, source)
        task_options = options | {"force": force}
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
                device,
                repeatable=bool(address),
            )
        else:
            task = Task(action, str(source), None, task_options | {"root": root}, model, device)
        tasks.append(task)
        roots[task.source] = root
    if verbose and not address:
        name = Path(model).name if model else None
        print_line(f"model {name}, {jobs} processes with one thread each", to_stderr=True)
    try:
        title = f"{len(tasks)} files"
        with _executor(jobs, address) as executor, ProgressBar(title, quiet) as bar:
            for done, (task, result, task_error) in enumerate(run(tasks, executor), 1):
                bar(done / len(tasks))
                if task_error is None:
                    report(Path(task.source), task.target and Path(task.target), *result)
                elif is_skipped(task_error, task.source, roots[task.source], as_json):
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
