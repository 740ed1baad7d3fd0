"""Commands with --rm that are killed: every image is there, and the next run completes the job."""

import os
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from benchmarks import kills
from bitsback import whole
from tests.commands import call, error_lines, names
from tests.test_outputs import unnamed

CHANGES = "fsync", "link", "mkdir", "open", "replace", "unlink"  # calls of os that change the disk


@contextmanager
def watched(call_of):
    """Each of CHANGES calls call_of(name, arguments), and then does what it does."""

    def watch(name, real):
        def act(*arguments, **options):
            call_of(name, arguments)
            return real(*arguments, **options)

        return act

    with patch.multiple(os, **{name: watch(name, getattr(os, name)) for name in CHANGES}):
        yield


def killed_at(number, arguments):
    """Runs a command in a child that is killed just before so many changes; whether it was."""
    pid = os.fork()
    if not pid:
        try:
            done = []

            def count(*_):
                done.append(True)
                if len(done) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.stdout = sys.stderr = open(os.devnull, "w")
            with watched(count):
                call(*arguments, "-j", 1)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize(
    "way", [pytest.param(False, marks=unnamed), pytest.param(True, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", kills.KINDS)
def test_killed_before_each_change_of_the_disk(kind, way, opened_model, tmp_path, monkeypatch):
    """At every point where the disk differs from the point before: every file is whole, every
    image in one of them; the second run leaves all in the new form, each once.
    """
    if way:
        monkeypatch.setattr(whole, "_unnamed", lambda *_: False)
    begun, work = tmp_path / "begun", tmp_path / "work"
    images = kills.prepare(kind, opened_model, np.random.default_rng(1), begun, 2)
    arguments, packs = kills.arguments_of(kind, work, opened_model), kind in ("compress", "archive")
    points = seen = 0
    while True:
        shutil.copytree(begun, work)
        if not killed_at(points + 1, arguments):
            break
        points += 1
        after = kills.look(work, images, packs, opened_model)
        assert not after.lost(2) and not after.broken, (points, after)
        seen += any(count > 1 for count in after.images.values())
        result = call(*arguments, "-j", 1)
        end = kills.look(work, images, packs, opened_model)
        assert end.complete(2) and end.temporary == after.temporary, (points, after, end)
        assert result.exit_code == 0 or "no" in error_lines(result)[0]
        shutil.rmtree(work)
    assert points > 5 and seen > 1
    assert kills.look(work, images, packs, opened_model).complete(2)


@pytest.mark.parametrize("kind", ["compress", "unpack"])
def test_killed_at_random_moments(kind, opened_model, tmp_path):
    """benchmarks.kills in small."""
    table, faults = kills.rounds(kind, 3, 1, opened_model, tmp_path, (0, 1), 5)
    assert not faults and sum(row["killed"] for row in table.values()) == 3


def test_the_rounds_notice(opened_model, tmp_path):
    """An image that is in no file, one that is in two, and a file that is not whole."""
    images = kills.make_images(tmp_path, np.random.default_rng(1), 2)
    assert kills.look(tmp_path, images, False, opened_model).complete(2)
    shutil.copy(tmp_path / "0.png", tmp_path / "2.png")
    (tmp_path / "below/1.tiff").unlink()
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes()[:-80])
    (tmp_path / ".bitsback.0123456789ab.part").touch()
    state = kills.look(tmp_path, images, False, opened_model)
    assert state.lost(2) == [1] and state.images[0] == 2 and state.temporary == 1
    assert state.broken == ["3.png"] and not state.complete(2)


# --- power cuts: what is not flushed is lost ------------------------------------------------------


@pytest.mark.parametrize("way", [pytest.param(False, marks=unnamed), True])
@pytest.mark.parametrize("kind", kills.KINDS)
def test_an_input_is_removed_after_its_output_is_on_disk(
    kind, way, opened_model, tmp_path, monkeypatch
):
    """Flush of the file, then its name, then the flush of its folder and of new folders' names,
    then the removal.
    """
    if way:
        monkeypatch.setattr(whole, "_unnamed", lambda *_: False)
    begun, events = tmp_path / "begun", []
    kills.prepare(kind, opened_model, np.random.default_rng(1), begun, 2)
    arguments = kills.arguments_of(kind, begun, opened_model)
    if kind != "archive":
        arguments += ["--dir", tmp_path / "new" / "out"]
    inputs = [begun / name for name in names(begun)]

    def inode(of):
        return os.fstat(of).st_ino if isinstance(of, int) else os.stat(of).st_ino

    def note(name, arguments):
        if name != "open":
            told = inode(arguments[0]) if name in ("fsync", "link", "replace") else 0
            events.append((name, told, str(arguments[-1])))

    with watched(note):
        assert call(*arguments, "-j", 1).exit_code == 0
    outputs = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert outputs and not any(path.exists() for path in inputs)
    gone = [i for i, e in enumerate(events) if e[0] == "unlink" and e[2] in map(str, inputs)]
    assert len(gone) == len(inputs)

    def first(name, told, after):
        return next(i for i, e in enumerate(events) if i > after and e[:2] == (name, told))

    for output in outputs:
        file = inode(output)
        flushed = first("fsync", file, -1)
        ready = first("fsync", inode(output.parent), first("link", file, flushed))
        several = kind in ("archive", "unpack")
        mine = [i for i in gone if several or output.stem == Path(events[i][2]).stem]
        assert mine and all(ready < i for i in mine)
    folders = {path.parent for path in outputs} | {tmp_path / "new"}
    for folder in folders if kind != "archive" else ():
        assert first("fsync", inode(folder.parent), -1) < gone[-1]


def test_a_folder_that_cannot_be_flushed(opened_model, tmp_path, monkeypatch, photograph):
    """A disk that fails: exit 1 with the output's name, and the input stays."""
    Image.fromarray(photograph(8, 8)).save(tmp_path / "a.png")
    real = os.fsync

    def fsync(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    result = call("compress", "--rm", tmp_path / "a.png")
    assert result.exit_code == 1 and "a.bbk: Input/output error" in error_lines(result)[0]
    assert (tmp_path / "a.png").exists()
    monkeypatch.setattr(os, "fsync", real)
    assert call("compress", "--rm", tmp_path / "a.png").exit_code == 0
    assert names(tmp_path) == ["a.bbk"]
