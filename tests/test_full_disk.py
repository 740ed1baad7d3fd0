"""A disk that is full: one error with the output's name, exit 1, no part of an output, all inputs.

The disk is a small one where this process may mount one; else the calls that change a disk fail.
"""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image

from bitsback import outputs, whole
from bitsback.ans import compiled
from bitsback.errors import OutputFailed
from bitsback.train.mixture import Source, read_images, save_images
from tests.commands import call, error_lines, names
from tests.test_outputs import unnamed
from tests.writers import WRITERS, arguments_of

resource = pytest.importorskip("resource")  # not on Windows

NO_SPACE = os.strerror(errno.ENOSPC)
REMOVING = "compress", "archive", "decompress", "unpack"


@pytest.fixture
def folder(inputs):
    return inputs


def refused(command, request, folder, monkeypatch, model, failing):
    """Runs a writer's command in the block failing(): one line, exit 1, all as before; with --rm
    too where there is one.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, model)
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for more in ([], ["--rm"])[: 2 if command in REMOVING else 1]:
        with failing():
            result = call(*arguments, *more)
        lines = error_lines(result)
        assert result.exit_code == 1 and len(lines) == 1, lines
        assert f"{output}: " in lines[0] or f"{Path(output).parent}: " in lines[0]  # its folder
        assert NO_SPACE in lines[0] or "File too large" in lines[0]
        left = {name: (folder / name).read_bytes() for name in names(folder)}
        assert {name: left[name] for name in left if not name.endswith(".log.jsonl")} == before
    assert call(*arguments).exit_code == 0  # nothing that is left hinders the next run


def failing_call(monkeypatch, name, number=1):
    """A block in which a function of os raises ENOSPC from its call `number` on."""

    @contextmanager
    def block():
        real, calls = getattr(os, name), []

        def fail(*arguments, **options):
            calls.append(arguments)
            if len(calls) >= number:
                raise OSError(errno.ENOSPC, NO_SPACE)
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            yield
        assert len(calls) >= number

    return block


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("room", [0, 30])
def test_no_room_for_all_of_an_output(command, room, request, folder, monkeypatch, tiny_model):
    """The disk takes so many bytes, then no more."""

    @contextmanager
    def block():
        def fill(stream, data):
            stream.write(memoryview(data)[:room])
            raise OSError(errno.ENOSPC, NO_SPACE)

        with monkeypatch.context() as patch:
            patch.setattr(whole, "write_all", fill)
            yield

    refused(command, request, folder, monkeypatch, tiny_model, block)


@pytest.mark.parametrize("way", [pytest.param(False, marks=unnamed), True])
@pytest.mark.parametrize("name", ["fsync", "link"])
@pytest.mark.parametrize("command", REMOVING)
def test_a_step_that_finds_no_room(command, name, way, request, folder, monkeypatch, tiny_model):
    """The flush of the data, or of a name, says that they do not fit."""
    if way:
        monkeypatch.setattr(whole, "_unnamed", lambda *_: False)
    if name == "link":  # then the name is reserved and replaced, which finds no room either
        inner = failing_call(monkeypatch, "link")

        @contextmanager
        def block():
            with inner(), failing_call(monkeypatch, "replace")():
                yield

        return refused(command, request, folder, monkeypatch, tiny_model, block)
    refused(command, request, folder, monkeypatch, tiny_model, failing_call(monkeypatch, name))


def test_the_files_after_it_go_on(folder, opened_model, photograph):
    """An image that does not fit is an error; the next one, which does, is compressed."""
    Image.fromarray(photograph(64, 64)).save(folder / "0.png")
    with limited(3000):
        result = call(
            "compress", "--rm", folder / "0.png", folder / "a.png", "--dir", folder / "in"
        )
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert "0.bbk: File too large" in error_lines(result)[0]
    assert (folder / "in/a.bbk").exists() and not (folder / "a.png").exists()
    assert (folder / "0.png").exists() and not (folder / "in/0.bbk").exists()


@contextmanager
def limited(most):
    """No file may grow beyond so many bytes in the block.

    Python writes no byte code in it: before 3.14 it leaves a part of that, which stops later runs.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with patch.object(sys, "dont_write_bytecode", True):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_model_that_does_not_fit(tiny_model, tmp_path, monkeypatch):
    """models add: the error has the kept file's name, and nothing is kept."""
    monkeypatch.setenv("BITSBACK_MODELS", str(tmp_path / "models"))
    with limited(1000):
        result = call("models", "add", tiny_model.path)
    kept = tmp_path / "models" / f"{tiny_model.id[:16]}.safetensors"
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert f"{kept}: File too large" in error_lines(result)[0] and names(tmp_path) == []


def test_a_map_that_does_not_fit(folder):
    """Its figure is an output as others."""
    pytest.importorskip("matplotlib")
    with limited(1000):
        result = call("map", folder / "a.bbk", "-o", folder / "map.png")
    assert result.exit_code == 1 and "map.png: File too large" in error_lines(result)[-1]
    assert not (folder / "map.png").exists()


def test_an_archive_that_ends_on_a_full_disk(folder, opened_model, photograph):
    """decompress --rm of several images of which the last does not fit: the archive stays, and the
    next run restores the rest.
    """
    for i, side in enumerate((8, 16, 64)):
        Image.fromarray(photograph(side, side, i)).save(folder / "in" / f"{side}.png")
    assert call("compress", "--archive", folder / "four.bbk", folder / "in").exit_code == 0
    with limited(3000):
        result = call("decompress", "--rm", folder / "four.bbk", "--dir", folder / "out")
    assert result.exit_code == 1 and "out/64.png: File too large" in error_lines(result)[0]
    assert names(folder / "out") == ["16.png", "8.png", "b.png"] and (folder / "four.bbk").exists()
    assert call("decompress", "--rm", folder / "four.bbk", "--dir", folder / "out").exit_code == 0
    assert len(names(folder / "out")) == 4 and not (folder / "four.bbk").exists()


# --- a real disk ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A mounted disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk):
    """Leaves no room on a disk."""
    with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


@pytest.mark.parametrize("command", [name for name in WRITERS if name not in ("train", "export")])
def test_a_disk_that_is_full(command, request, inputs, small_disk, monkeypatch, tiny_model):
    """The same on a disk."""
    folder = small_disk / "work"
    shutil.copytree(inputs, folder, ignore=lambda *_: ["disk"])

    @contextmanager
    def block():
        fill(small_disk)
        yield
        (small_disk / "filler").unlink()

    refused(command, request, folder, monkeypatch, tiny_model, block)


# --- logs, decoded images, compiled loops ---------------------------------------------------------


def test_a_log_on_a_full_disk(tmp_path):
    """A line is there or not; the error has the log's name."""
    log = tmp_path / "x.log.jsonl"
    outputs.append_line(log, "a" * 50)
    with limited(60), pytest.raises(OutputFailed, match="x.log.jsonl: File too large"):
        outputs.append_line(log, "b" * 50)
    assert log.read_text("utf-8") == "a" * 50 + "\n"
    outputs.append_line(log, "\u00e4")
    assert log.read_text(encoding="utf-8").splitlines()[1] == "\u00e4"


def test_training_whose_log_does_not_fit(folder, monkeypatch, tiny_model, request):
    """One line with the log's name, not the folder's of the images."""
    arguments, _ = arguments_of("train", request, folder, monkeypatch, tiny_model)
    monkeypatch.setattr("bitsback.train.loop.train", lambda *_, report, **__: report({"share": 0}))
    with limited(10):
        result = call(*arguments)
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert "new.log.jsonl: File too large" in error_lines(result)[0]


def test_decoded_images_that_do_not_fit(tmp_path, photograph):
    """What processes that train side by side share: an error of ours, not torch's."""
    Image.fromarray(photograph(64, 64)).save(tmp_path / "a.png")
    images = read_images([Source(tmp_path)], 32)
    with limited(5000), pytest.raises(OutputFailed, match="images.pt: .* full"):
        save_images(images, tmp_path / "images.pt")


LOOP = """
import numpy as np
from bitsback.ans.compiled import compiled

@compiled
def twice(x):
    return 2 * x
"""


@pytest.mark.skipif(not compiled.HAVE_NUMBA, reason="numba is not installed")
def test_a_cache_that_is_full_or_was_cut(tmp_path, monkeypatch):
    """Compiled loops work without their cache, and mend one whose files a power cut left empty."""
    import importlib.util

    (tmp_path / "loop.py").write_text(LOOP)
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))

    def twice():
        spec = importlib.util.spec_from_file_location("loop", tmp_path / "loop.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    with limited(10):
        assert twice()(3) == 6
    assert twice()(3) == 6
    kept = [path for path in tmp_path.rglob("*.nb*")]
    assert len(kept) == 2
    for path in kept:
        before = path.read_bytes()
        for cut in (0, len(before) // 2):
            path.write_bytes(before[:cut])
            assert twice()(3) == 6
        again = twice()
        assert again(3) == 6 and sum(again.stats.cache_hits.values()) == 1, path
