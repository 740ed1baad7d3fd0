"""`compress` and `decompress` of many files at once: the tasks of many.py, what is told of them, the exit status."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from bitsback import outputs
from bitsback.cli.pool import Task, cluster, processes, run
from bitsback.cli.shared import Bar, claim, fail, fail_file, left_alone, real_path, say, tell_left
from bitsback.errors import BitsbackError


def cores():
    """How many this process may use, as taskset says where there is such a thing."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def job_count(jobs, recursive, files):
    """Processes to use: as asked, or with -r as many as there are cores; never more than files."""
    return min(files, jobs or (cores() if recursive else 1))


@contextmanager
def _executor(jobs, address):
    if not address:
        with processes(jobs) as executor:
            yield executor
        return
    executor, client = cluster(address)
    with client:
        yield executor


def run_many(
    action,
    items,
    targets_of,
    model,
    device,
    options,
    told,
    *,
    jobs,
    address=None,
    force=False,
    quiet=False,
    as_json=False,
    failed=0,
    verbose=False,
):
    """Does an action of many.Task to items [(source, root)]; told(source, target, *result) of each.  Ends the program: status 1 if any failed.

    targets_of(source, root): where it goes, a list of paths of which no two may be the same; model: a path or None; options as of
    codecs.files' function.  A worker that decompresses names its targets itself, by what is in the file, and asks whether they exist.
    """
    tasks, roots, written, left = [], {}, {}, 0
    for source, root in items:
        try:
            targets = targets_of(source, root)
            for target in targets:
                claim(
                    written,
                    target,
                    source,
                    action == "compress" or options.get("folder") and len(targets) == 1,
                )
            if action == "compress":
                outputs.refuse(targets[0], [source], force)
        except (BitsbackError, OSError) as error:
            failed += 1
            fail_file(error, source, as_json)
            continue
        written.update((real_path(target), source) for target in targets)
        if action == "compress":
            place = [path.absolute() if address else path for path in (source, targets[0])]
            tasks.append(
                Task(
                    action,
                    *map(str, place),
                    options | {"force": force},
                    model,
                    device,
                    again=bool(address),
                )
            )
        else:
            tasks.append(
                Task(
                    action,
                    str(source),
                    None,
                    options | {"root": root, "force": force},
                    model,
                    device,
                )
            )
        roots[tasks[-1].source] = root
    if verbose and not address:
        say(f"model {model and Path(model).name}, {jobs} processes with one thread each", err=True)
    try:
        with _executor(jobs, address) as executor, Bar(f"{len(tasks)} files", quiet) as bar:
            for done, (task, result, error) in enumerate(run(tasks, executor), 1):
                bar(done / len(tasks))
                if error and left_alone(error, task.source, roots[task.source], as_json):
                    left += 1
                elif error:
                    failed += 1
                    fail_file(error, task.source, as_json)
                else:
                    told(Path(task.source), task.target and Path(task.target), *result)
    except BitsbackError as error:
        fail(error, address)
        sys.exit(1)
    except KeyboardInterrupt:
        raise click.Abort() from None
    tell_left(left, quiet)
    sys.exit(1 if failed else 0)
