"""A system that starts few threads."""

import threading


def at_most(monkeypatch, most, name):
    """No more than `most` threads of a name can be started; returns those that are."""
    start, started = threading.Thread.start, []

    def limited(thread):
        if thread.name == name:
            if len(started) >= most:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    return started
