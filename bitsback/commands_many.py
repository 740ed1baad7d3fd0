"""`compress` and `decompress` of many files at once: the tasks of many.py, what is told of them, the exit status."""
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from .commands_shared import Bar, claim, fail, fail_file, left_alone, say, tell_left
from .errors import BitsbackError
from .many import Task, cluster, processes, run


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


def run_many(action, items, target_of, model, device, options, told, *, jobs, address=None, force=False, quiet=False, as_json=False, failed=0,
             verbose=False):
    """Does an action of many.Task to items [(source, root)]; told(source, target, *result) of each.  Ends the program: status 1 if any failed.

    target_of(source, root): where it goes, of which no two may be the same; model: a path or None; options as of codecs.files' function.
    A worker that decompresses names its target itself, by the mode in the file, and asks whether it exists.
    """
    from .codecs import files
    tasks, roots, written, left = [], {}, {}, 0
    for source, root in items:
        try:
            target = target_of(source, root)
            claim(written, target, source, options.get("folder") or action == "compress")
            if action == "compress":
                files.refuse_existing(target, source, force)
        except (BitsbackError, OSError) as error:
            failed += 1
            fail_file(error, source, as_json)
            continue
        written[target] = source
        place = (str(source), str(target)) if not address else (str(source.absolute()), str(target.absolute()))
        if action == "compress":
            tasks.append(Task(action, *place, options, model, device))
        else:
            tasks.append(Task(action, str(source), None, options | {"root": root, "force": force}, model, device))
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
