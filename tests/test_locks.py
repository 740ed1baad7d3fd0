"""locks.py, and what it is for: threads of one process, and processes forked while they work."""

import multiprocessing
import os
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from bitsback.locks import ForkLock
from bitsback.recent import Recent

FORK = "fork" in multiprocessing.get_all_start_methods()


def in_a_child(function, *arguments):
    """Whether a forked process that calls this ends by itself."""
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join(20)
    ended = not child.is_alive()
    child.kill()
    return ended and child.exitcode == 0


@contextmanager
def another_thread_in(block):
    """Another thread is in the block of a context manager until this one ends."""
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with block:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(10)
    try:
        yield
    finally:
        leave.set()
        thread.join()


@pytest.mark.skipif(not FORK, reason="no fork here")
def test_a_forked_process_has_a_free_lock():
    """Another thread holds the lock when the process is forked, and keeps it in the parent."""
    lock, recent = ForkLock(), Recent[int](10)
    held, done = threading.Event(), threading.Event()

    def make():
        held.set()
        done.wait()
        return 1, 1

    def hold():
        with lock:
            recent.get(0, make)

    def take():
        with lock, lock:  # the thread that holds it may take it again
            assert recent.get(1, lambda: (2, 1)) == 2

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_a_child(take)
        assert not lock._lock.acquire(blocking=False)
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(not FORK, reason="no fork here")
def test_a_process_that_is_forked_by_the_holder():
    """It leaves the block as its parent does, and can enter it again."""
    lock = ForkLock()
    with lock:
        child = os.fork()
    if not child:
        with lock:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not FORK, reason="no fork here")
def test_threads_that_enter_at_once_in_a_forked_process():
    """One lock for all of them: none is released by a thread that has not got it."""
    lock = ForkLock()

    def enter_at_once():
        start, inside, most = threading.Barrier(4), [0], [0]

        def enter():
            start.wait()
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(most[0] != 1)

    before = lock._lock
    assert all(in_a_child(enter_at_once) for _ in range(5))
    assert lock._lock is before


def test_threads_share_what_is_kept():
    """Room for one value of three: each is made again and again while others are read."""
    recent, wrong, rng = Recent[int](1), [], np.random.default_rng(0)

    def read(keys):
        try:
            wrong.extend(key for key in keys if recent.get(key, lambda: (10 * key, 1)) != 10 * key)
        except KeyError as error:
            wrong.append(error)

    drawn = rng.integers(0, 3, (6, 20000)).tolist()
    threads = [threading.Thread(target=read, args=(keys,)) for keys in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and recent.size == 1
