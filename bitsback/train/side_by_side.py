"""Processes that train the experts of a recipe side by side on one device.

They share it by their number of steps: each takes them as fast as the others let it, and one whose
share is less than 1 pauses between them.
"""

import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess

from bitsback.train.expert_run import Task

ATTEMPTS = 4
NO_GRAPH = 3  # exit status of a process that could not capture its step
GIVE_UP_BEFORE = 20.0  # seconds before the end: a process that dies then is not started again

Work = Callable[[Task], None]


def weaker(task: Task, status: int, attempt: int) -> Task:
    """The task for another attempt after an exit status: without what may have failed."""
    if status == NO_GRAPH:
        return dataclasses.replace(task, graph=False)
    if attempt >= 2:
        return dataclasses.replace(task, graph=False, fused=False)
    return task


def train_side_by_side(tasks: Sequence[Task], work: Work, note: Callable[[str], None]) -> list[str]:
    """Runs work(task) for each task in a process of its own; returns the names of the failed.

    A process that fails is started again, from its checkpoint, a few times; the others go on.
    note: called with what happened to a process.
    """
    context = multiprocessing.get_context("spawn")

    def start(task: Task) -> BaseProcess:
        process = context.Process(target=work, args=(task,), daemon=True)
        process.start()
        return process

    running = {task.expert.name: (task, start(task), 1) for task in tasks}
    failed = []
    try:
        while running:
            time.sleep(0.2)
            for name, (task, process, attempt) in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[name]
                if process.exitcode == 0:
                    continue
                late = task.until is not None and time.time() > task.until - GIVE_UP_BEFORE
                again = attempt < ATTEMPTS and not late
                note(f"{name}: ended with status {process.exitcode}" + ", again" * again)
                if again:
                    task = weaker(task, process.exitcode, attempt)
                    running[name] = (task, start(task), attempt + 1)
                else:
                    failed.append(name)
    finally:
        for _, process, _ in running.values():
            process.terminate()
    return failed
