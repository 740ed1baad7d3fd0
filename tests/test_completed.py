"""Futures in the order in which they complete."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bitsback import completed as module
from bitsback.completed import completed


def test_order():
    """Those that are done, failed or cancelled before; then as they end."""
    futures = [Future() for _ in range(4)]
    futures[2].set_result(2)
    futures[1].cancel()
    found = completed(futures)
    assert [next(found), next(found)] == [futures[1], futures[2]]
    futures[3].set_exception(OSError())
    assert next(found) is futures[3]
    futures[0].set_result(0)
    assert list(found) == [futures[0]] and list(completed([])) == []


def test_waits_are_short(monkeypatch):
    """So that an interrupt between two of them is told; a late future is not lost."""
    monkeypatch.setattr(module, "SLICE", 0.01)
    go = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        found = completed([pool.submit(go.wait)])
        threading.Timer(0.2, go.set).start()
        assert next(found).result() is True
    with pytest.raises(StopIteration):
        next(found)
