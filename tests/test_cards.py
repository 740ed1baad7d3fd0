"""cards.py: a process for each device, threads in it; every task has one result, also of a process
that ends.
"""

import os
import signal
import threading
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pipe

import pytest
from PIL import Image

from bitsback.cli import cards as module
from bitsback.cli import pool
from bitsback.cli.cards import Cards, _Card, cards
from bitsback.cli.many import MOST_AT_ONCE, job_count
from bitsback.errors import BitsbackError, NotOurFile
from tests.commands import call, error_lines, names


class Process:
    """A process that the test is: what it was sent, and answers."""

    def __init__(self):
        ours, self.theirs = Pipe()
        self.card = _Card(self, ours)

    def join(self):
        pass

    def sent(self, count):
        """The next messages; there are no more than these."""
        found = [self.theirs.recv() for _ in range(count)]
        assert not self.theirs.poll(0.05)
        return found


@pytest.fixture
def two():
    return Process(), Process()


def test_tasks_go_to_the_process_that_works_on_the_fewest(two):
    """At most two at once each; the next one when a result is there; errors are raised here."""
    executor = Cards([process.card for process in two], 2)
    futures = [executor.submit(pool.run_task, number) for number in range(6)]
    first, second = (process.sent(2) for process in two)
    assert first == [(1, 0), (3, 2)] and second == [(2, 1), (4, 3)]
    two[1].theirs.send_bytes(module.pickle.dumps((4, "done", None)))
    assert futures[3].result(10) == "done" and two[1].sent(1) == [(5, 4)]
    two[0].theirs.send_bytes(module.pickle.dumps((1, None, NotOurFile("x"))))
    with pytest.raises(NotOurFile):
        futures[0].result(10)
    assert two[0].sent(1) == [(6, 5)]
    with pytest.raises(ValueError):
        executor.submit(print, 1)


def test_a_process_that_ends(two):
    """What it worked on is lost; the other goes on, until that ends too.  Nothing waits forever."""
    executor = Cards([process.card for process in two], 1)
    futures = [executor.submit(pool.run_task, number) for number in range(4)]
    two[0].theirs.close()
    with pytest.raises(BrokenProcessPool, match="ended"):
        futures[0].result(10)
    assert two[1].sent(1) == [(2, 1)]
    two[1].theirs.send_bytes(module.pickle.dumps((2, "done", None)))
    assert futures[1].result(10) == "done" and two[1].sent(1) == [(3, 2)]
    two[1].theirs.close()
    for future in futures[2:]:
        with pytest.raises(BrokenProcessPool):
            future.result(10)
    with pytest.raises(BrokenProcessPool, match="no process is left"):
        executor.submit(pool.run_task, 9).result(10)


def test_shutdown_cancels_what_waits(two):
    executor = Cards([two[0].card], 1)
    running, waiting = (executor.submit(pool.run_task, number) for number in range(2))
    executor.shutdown(cancel_futures=True)
    assert waiting.cancelled() and not running.done() and two[0].sent(2) == [(1, 0), None]


@pytest.fixture
def tree(tmp_path, photograph):
    (tmp_path / "in" / "below").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "below/c.png")):
        Image.fromarray(photograph(20, 21 + i, i)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "text.png").write_text("no image")
    return tmp_path


def test_what_a_process_does(tree, tiny_model, monkeypatch):
    """Three tasks at once, results in any order, errors as they are, until it is sent None."""
    monkeypatch.setattr(module, "start_worker", lambda parent: None)  # it is this process
    monkeypatch.setattr(module, "print_log", lambda verbose: None)
    ours, theirs = Pipe()
    process = threading.Thread(target=module.serve, args=(theirs, None, "cpu", 3, False))
    process.start()
    model = str(tiny_model.path)
    for number, name in enumerate(("a.png", "b.png", "text.png")):
        source = str(tree / "in" / name)
        ours.send((number, pool.Task("compress", source, source + ".bbk", model=model)))
    answers = sorted((ours.recv() for _ in range(3)), key=lambda answer: answer[0])
    ours.send(None)
    process.join(60)
    assert not process.is_alive() and [number for number, *_ in answers] == [0, 1, 2]
    for (_, result, error), name in zip(answers, ("a.png", "b.png")):
        assert error is None and result[1] == os.path.getsize(tree / "in" / f"{name}.bbk")
    assert isinstance(answers[2][2], BitsbackError) and "text.png" in str(answers[2][2])


@pytest.mark.slow
def test_devices_of_one_run(tree, tiny_model):
    """Two devices (of which this machine surely has one, twice), two threads on each: the files of
    one process, one error line for what is no image; and back.
    """
    options = "--model", tiny_model.path
    several = "-j", 2, "--device", "cpu,cpu", *options
    result = call("compress", "-r", tree / "in", "--dir", tree / "two", "-v", *several)
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 3
    assert "up to 2 images at once on each of cpu, cpu" in error_lines(result)[0]
    assert len(error_lines(result)) == 2 and "text.png" in error_lines(result)[1]
    call("compress", "-r", tree / "in", "--dir", tree / "one", "-j", 1, *options)
    assert names(tree / "two") == names(tree / "one") == ["a.bbk", "b.bbk", "below/c.bbk"]
    for name in names(tree / "one"):
        assert (tree / "one" / name).read_bytes() == (tree / "two" / name).read_bytes()


def of_two_devices(tree, model, command, *arguments):
    """The result of a command on three files, of which one is none, shared by two devices."""
    options = "--model", model.path
    call("compress", "-r", tree / "in", "--dir", tree / "one", "-j", 1, *options)
    (tree / "one" / "a.bbk").write_bytes(b"no file")
    several = "-j", 2, "--device", "cpu,cpu"
    return call(command, "-r", tree / "one", *arguments, *several, *options)


@pytest.mark.slow
def test_devices_of_one_run_that_decompresses(tree, tiny_model):
    result = of_two_devices(tree, tiny_model, "decompress", "--dir", tree / "back")
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert names(tree / "back") == ["b.png", "below/c.png"]
    for name in names(tree / "back"):
        assert Image.open(tree / "back" / name) == Image.open(tree / "in" / name)


@pytest.mark.slow
def test_devices_of_one_run_that_tests(tree, tiny_model):
    result = of_two_devices(tree, tiny_model, "test")
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert result.stdout.count("checksums match") == 2


@pytest.mark.slow
def test_real_processes_end_at_once(tree, tiny_model):
    """One that is killed loses its task; the block ends when it raises, and no process is left."""
    source, model = str(tree / "in" / "a.png"), str(tiny_model.path)
    task = pool.Task("compress", source, source + ".bbk", model=model)
    with pytest.raises(KeyError), cards(["cpu", "cpu"], 2) as executor:
        assert executor.submit(pool.run_task, task).result(100)[1] == os.path.getsize(task.target)
        bad = executor.submit(pool.run_task, pool.Task("compress", str(tree / "in"), "x"))
        with pytest.raises((BitsbackError, OSError)):
            bad.result(100)
        os.kill(executor._cards[0].process.pid, signal.SIGKILL)
        executor._cards[0].process.join(10)
        again = [executor.submit(pool.run_task, task) for _ in range(2)]  # of another file: errors
        for future in again:
            with pytest.raises((BitsbackError, BrokenProcessPool)):
                future.result(100)
        raise KeyError
    assert not any(card.process.is_alive() for card in executor._cards)
    assert threading.active_count() < 20


def test_images_at_once(monkeypatch, tiny_model):
    """As many as fit the card's memory, at most eight; one on other devices."""
    import torch

    from bitsback.cli.devices import images_at_once
    from bitsback.codecs.estimate import device_bytes
    from bitsback.coder.model import Model

    one = device_bytes(Model.open())
    for cards_memory, expected in ((0.5, 1), (7, 3), (100, MOST_AT_ONCE)):
        facts = type("", (), {"total_memory": int(cards_memory * one)})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, f=facts: f)
        assert images_at_once(Model.open(), "cuda:0") == expected
    assert images_at_once(tiny_model, "cpu") == 1
    assert job_count(None, True, 99, gpu=True) == MOST_AT_ONCE and job_count(3, True, 99, True) == 3
    assert job_count(None, False, 99, gpu=True) == 1 and job_count(None, True, 2, gpu=True) == 2
