"""Helper threads, and loops shared out to them."""

import multiprocessing
import os
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from bitsback import team
from tests.few_threads import at_most


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_parts(three_threads):
    """They cover everything once, in order; none is smaller than asked for, but for the only one.

    There are no more than torch has threads.
    """
    for n in range(0, 200):
        for least in (1, 7, 50):
            found = team.parts(n, least)
            assert found[0][0] == 0 and found[-1][1] == n and len(found) <= 3
            assert all(a[1] == b[0] for a, b in zip(found, found[1:]))
            assert len(found) == 1 or min(end - begin for begin, end in found) >= least
            assert len(found) == max(1, min(3, n // least))


def test_one_thread_has_one_part():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert team.parts(10**6, 1) == [(0, 10**6)]
    finally:
        torch.set_num_threads(before)


def test_shared_out():
    """Results in order; the last part is done by the thread that asks, the others elsewhere."""
    results = team.shared_out(lambda i: (i, threading.get_ident()), [(i,) for i in range(3)])
    assert [i for i, _ in results] == [0, 1, 2]
    assert results[2][1] == threading.get_ident() != results[0][1]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_raised_when_all_have_ended(failing):
    ended = []

    def loop(i):
        if i == failing:
            raise ValueError(f"part {i}")
        time.sleep(0.05)
        ended.append(i)

    with pytest.raises(ValueError, match=f"part {failing}"):
        team.shared_out(loop, [(i,) for i in range(3)])
    assert sorted(ended) == [i for i in range(3) if i != failing]


def test_where_no_thread_can_be_started(monkeypatch):
    """Then all is done by the thread that asks; some helpers are better than none."""
    here = threading.get_ident()
    for most in (0, 1):
        helpers = team.Helpers(f"at most {most}")
        monkeypatch.setattr(team, "_helpers", helpers)
        started = at_most(monkeypatch, most, helpers.name)
        found = team.shared_out(lambda i: (i, threading.get_ident()), [(i,) for i in range(4)])
        assert [i for i, _ in found] == [0, 1, 2, 3] and helpers.ensure(3) == most
        assert len({thread for _, thread in found}) == most + 1 and found[-1][1] == here
        helpers.end()
        assert not any(thread.is_alive() for thread in started)


def test_no_more_threads_than_parts(monkeypatch):
    """However many cores a machine has; they stay for the next loop."""
    helpers = team.Helpers("few")
    monkeypatch.setattr(team, "_helpers", helpers)
    for n in (3, 2, 3):
        team.shared_out(lambda i: i, [(i,) for i in range(n)])
        assert sum(thread.name == "few" for thread in threading.enumerate()) == 2
    helpers.end()


def test_after_ctrl_c_nobody_writes(monkeypatch):
    """Parts that helpers do have ended when KeyboardInterrupt is raised."""
    ended, waits, real = [], [], team.wait

    def wait(begun):
        waits.append(1)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return real(begun)

    def loop(i):
        time.sleep(0.05 * (2 - i))
        ended.append(i)

    monkeypatch.setattr(team, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        team.shared_out(loop, [(0,), (1,), (2,)])
    assert sorted(ended) == [0, 1, 2] and len(waits) == 2


def test_no_array_is_held_by_helpers_that_wait():
    arrays = [np.zeros(3) for _ in range(2)]
    ends = [weakref.ref(array) for array in arrays]
    team.shared_out(lambda array: None, [(array,) for array in arrays])
    del arrays
    end = time.monotonic() + 5
    while any(end() is not None for end in ends) and time.monotonic() < end:
        time.sleep(0.01)
    assert all(end() is None for end in ends)


def _in_a_fork(results):
    results.put(team.shared_out(lambda i: (i, os.getpid()), [(0,), (1,)]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_helpers_of_its_own():
    """Those of the parent do not exist there."""
    team.shared_out(lambda i: i, [(0,), (1,)])
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_in_a_fork, args=(results,))
    process.start()
    found = results.get(timeout=30)
    process.join(30)
    assert [i for i, _ in found] == [0, 1]
    assert {pid for _, pid in found} == {process.pid} and process.exitcode == 0
