"""`compress` of many files at once: the tasks of many.py, what is told of them, the exit status."""
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from .commands_shared import Bar, fail
from .errors import BitsbackError, OutputExists
from .many import Task, cluster, processes, run


def job_count(jobs, recursive, files):
    """Processes to use: as asked, or with -r as many as there are cores; never more than files."""
    return min(files, jobs or (os.cpu_count() if recursive else 1) or 1)


@contextmanager
def _executor(jobs, address):
    if not address:
        with processes(jobs) as executor:
            yield executor
        return
    executor, client = cluster(address)
    with client:
        yield executor


def compress_many(items, target_of, model, device, options, told, *, jobs, address, force, quiet):
    """Compresses items [(source, root)] to target_of(source, root); told(source, target, header, size) of each.

    Ends the program: status 1 if any failed.  options as codecs.files.compress_file's, without force.
    """
    from .codecs import files
    tasks, written, failed = [], {}, 0
    for source, root in items:
        try:
            target = target_of(source, root)
            if target in written:
                raise OutputExists(f"{source}: {target} is also the output of {written[target]}; give --dir or other names")
            target.parent.mkdir(parents=True, exist_ok=True)
            files.refuse_existing(target, source, force)
        except (BitsbackError, OSError) as error:
            failed += 1
            fail(error, source)
            continue
        written[target] = source
        place = (str(source), str(target)) if not address else (str(source.absolute()), str(target.absolute()))
        tasks.append(Task("compress", *place, options, str(model.path) if model else None, device))
    try:
        with _executor(jobs, address) as executor, Bar(f"{len(tasks)} files", quiet) as bar:
            for done, (task, result, error) in enumerate(run(tasks, executor), 1):
                bar(done / len(tasks))
                if error:
                    failed += 1
                    fail(BitsbackError("not enough memory for this file") if isinstance(error, MemoryError) else error, task.source)
                else:
                    told(Path(task.source), Path(task.target), *result)
    except BitsbackError as error:
        fail(error, address)
        sys.exit(1)
    except KeyboardInterrupt:
        raise click.Abort() from None
    sys.exit(1 if failed else 0)
