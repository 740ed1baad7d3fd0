"""Runs with --rm that were interrupted: the next one takes what is there, and nothing else."""

import os
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.io import delivery, files
from bitsback.errors import BitsbackError, InputChanged, VerifyFailed
from tests.commands import call, error_lines, names


@pytest.fixture
def tree(tmp_path, photograph):
    """in/a.png and in/b.png."""
    (tmp_path / "in").mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(photograph(8, 9, i)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_an_archive_is_not_replaced_by_the_rest_of_its_images(tree, opened_model, force):
    """Killed while inputs were removed: the same command, with -f too, removes the others."""
    shutil.copytree(tree / "in", tree / "copy", copy_function=shutil.copy2)
    arguments = ["compress", "--rm", "--archive", tree / "all.bbk", tree / "in", *force]
    assert call(*arguments).exit_code == 0
    before = (tree / "all.bbk").read_bytes()
    shutil.copy2(tree / "copy/b.png", tree / "in/b.png")
    assert call(*arguments).exit_code == 0
    assert (tree / "all.bbk").read_bytes() == before and names(tree / "in") == []
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tree / "in/b.png")
    result = call(*arguments)
    assert result.exit_code == 1 and (tree / "all.bbk").read_bytes() == before
    assert names(tree / "in") == ["b.png"]


def test_an_archive_with_the_last_copies_of_images_is_not_replaced(tree, opened_model):
    """A new image has come after a run with --rm that was killed, or not: -f does not lose those
    that only the archive holds; without --rm it does what it says."""
    arguments = ["compress", "-f", "--archive", tree / "all.bbk", tree / "in"]
    assert call(*arguments, "--rm").exit_code == 0
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tree / "in/c.png")
    before = (tree / "all.bbk").read_bytes()
    (line,) = error_lines(result := call(*arguments, "--rm"))
    assert result.exit_code == 1 and "a.png and 1 more" in line
    assert (tree / "all.bbk").read_bytes() == before and names(tree / "in") == ["c.png"]
    assert call(*arguments).exit_code == 0 and (tree / "all.bbk").read_bytes() != before


@pytest.mark.parametrize("command", ["compress", "archive", "decompress"])
def test_an_input_with_another_content_and_the_same_time(tree, opened_model, monkeypatch, command):
    """Written in place while it is coded, its time set back: it is not what the output holds."""
    path, output = tree / "in/a.png", tree / "in/a.bbk"
    arguments = ["compress", "--rm", path, "-o", output]
    if command == "archive":
        arguments = ["compress", "--rm", "--archive", output, path]
    elif command == "decompress":
        assert call("compress", path, "-o", output, "--rm").exit_code == 0
        arguments = ["decompress", "--rm", output]
        path, output = output, path
    compare = delivery.compare

    def changed(*arguments):
        compare(*arguments)
        times, data = os.stat(path), bytearray(path.read_bytes())
        data[-1] ^= 1
        with open(path, "r+b") as stream:
            stream.write(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    monkeypatch.setattr(delivery, "compare", changed)
    (line,) = error_lines(result := call(*arguments))
    assert result.exit_code == 1 and f"{path}: was changed or replaced" in line
    assert path.exists() and output.exists()


def test_an_image_in_an_archive_with_another_time_is_another(tree, opened_model):
    """An input that was touched since is not the one that the archive keeps."""
    arguments = ["compress", "--rm", "--archive", tree / "all.bbk", tree / "in"]
    assert call(*(word for word in arguments if word != "--rm")).exit_code == 0
    os.utime(tree / "in/a.png", (1, 1))
    result = call(*arguments)
    assert result.exit_code == 1 and "all.bbk: exists" in error_lines(result)[0]
    assert names(tree / "in") == ["a.png", "b.png"]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_output_of_another_image_is_refused(tree, opened_model, jobs):
    """--rm takes nothing for its own that is not; without --rm nothing is looked into."""
    assert call("compress", tree / "in/a.png", "-o", tree / "in/b.bbk").exit_code == 0
    assert call("compress", tree / "in/a.png").exit_code == 0
    result = call("compress", "--rm", "-r", "-q", tree / "in", "-j", jobs)
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert "b.bbk: exists already" in error_lines(result)[0] and "-f" in error_lines(result)[0]
    assert names(tree / "in") == ["a.bbk", "b.bbk", "b.png"]
    result = call("decompress", "--rm", "-r", "-q", tree / "in", "-j", jobs)  # b.bbk holds a
    assert result.exit_code == 1 and "b.png: exists already" in error_lines(result)[0]
    assert names(tree / "in") == ["a.png", "b.bbk", "b.png"]


def test_an_archive_beside_another_image(tree, opened_model):
    """decompress --rm: a file that is none of the archive's is refused before anything is done."""
    for name in "ab":
        assert call("compress", "--archive", tree / f"{name}.bbk", tree / "in").exit_code == 0
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tree / "in/b.png")
    (tree / "in/a.png").unlink()
    result = call("decompress", "--rm", tree / "a.bbk", "--dir", tree / "in")
    assert result.exit_code == 1 and "b.png: exists already" in error_lines(result)[0]
    assert names(tree) == ["a.bbk", "b.bbk", "in/b.png"]


@pytest.mark.parametrize("force", [[], ["-f"]])
@pytest.mark.parametrize("gone", [["a.png"], ["a.tiff"], ["a.png", "a.tiff"], []])
def test_images_of_one_stem(tmp_path, photograph, opened_model, gone, force):
    """Killed after one of them was removed, or its output written: the other does not take the
    name of the first one's output, nor overwrite it.
    """
    folder, whole = tmp_path / "in", tmp_path / "whole"
    folder.mkdir()
    for i, name in enumerate(("a.png", "a.tiff", "a.webp")):
        Image.fromarray(photograph(8, 9, i)).save(folder / name, lossless=True)
    shutil.copytree(folder, whole, copy_function=shutil.copy2)
    assert call("compress", "--rm", "-r", "-q", folder, "-j", 1).exit_code == 0
    outputs = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(outputs) == ["a.bbk", "a.tiff.bbk", "a.webp.bbk"]
    for name in ("a.png", "a.tiff", "a.webp"):
        if name not in gone:
            shutil.copy2(whole / name, folder / name)
    assert call("compress", "--rm", "-r", "-q", folder, "-j", 1, *force).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == outputs


def _pair(folder, photograph):
    """a.png and a.bbk of it, with its time."""
    Image.fromarray(photograph(8, 9)).save(folder / "a.png")
    assert call("compress", folder / "a.png").exit_code == 0


@pytest.mark.parametrize("first", ["compress", "decompress"])
def test_two_runs_do_not_remove_each_others_input(
    tmp_path, photograph, opened_model, monkeypatch, first
):
    """compress --rm and decompress --rm of one pair, the second while the first is about to remove
    its input: one of both files is left, whichever comes first.
    """
    _pair(tmp_path, photograph)
    inside, go_on, unlink = threading.Event(), threading.Event(), os.unlink

    def slow(path, *args, **options):
        if str(path).startswith(str(tmp_path)) and not inside.is_set():
            inside.set()
            assert go_on.wait(20)
        return unlink(path, *args, **options)

    monkeypatch.setattr(delivery.os, "unlink", slow)
    png, packed, failed = tmp_path / "a.png", tmp_path / "a.bbk", []
    work = {
        "compress": lambda: files.compress_file(png, packed, remove=True, model=opened_model),
        "decompress": lambda: files.decompress_file(packed, remove=True, model=opened_model),
    }

    def run():
        try:
            work[first]()
        except BitsbackError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(20)
    (other,) = set(work) - {first}
    with pytest.raises(InputChanged, match="another run"):
        work[other]()
    go_on.set()
    thread.join()
    assert not failed and names(tmp_path) == ["a.bbk" if first == "compress" else "a.png"]


@pytest.mark.skipif(delivery.fcntl is None, reason="no locks here")
@pytest.mark.parametrize("archive", [[], ["--archive"]])
def test_an_output_that_another_run_is_about_to_remove(tree, opened_model, archive):
    """-f does not replace it, since the new one would be removed, and then the input."""
    output = tree / "a.bbk"
    arguments = ["compress", *(["--archive", output] if archive else ["-o", output])]
    arguments += [tree / "in/a.png", "-f"]
    assert call(*arguments).exit_code == 0
    before = output.read_bytes()
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tree / "in/a.png")
    with delivery.locked(output, exclusive=True):
        (line,) = error_lines(result := call(*arguments, "--rm"))
    assert result.exit_code == 1 and "another run" in line
    assert output.read_bytes() == before and (tree / "in/a.png").exists()
    assert call(*arguments, "--rm").exit_code == 0 and not (tree / "in/a.png").exists()


def test_an_output_that_is_gone_before_its_input_is_removed(tmp_path, photograph, monkeypatch):
    """Removed, or replaced after it was opened: the input stays."""
    for name in ("a.bbk", "b.bbk"):
        (tmp_path / name).write_bytes(b"")
    with delivery.locked(tmp_path / "a.bbk", exclusive=False):
        pass
    status = os.stat(tmp_path / "b.bbk")
    with monkeypatch.context() as patch, pytest.raises(InputChanged, match="replaced"):
        patch.setattr(delivery.os, "stat", lambda path: status)
        with delivery.locked(tmp_path / "a.bbk", exclusive=False):
            raise AssertionError
    with monkeypatch.context() as patch:  # Windows: what is open there cannot be removed
        patch.setattr(delivery, "fcntl", None)
        patch.setattr("builtins.open", None)
        with delivery.locked(tmp_path / "a.bbk", exclusive=True):
            pass
    (tmp_path / "a.bbk").unlink()
    with pytest.raises(InputChanged, match="removed"):
        with delivery.locked(tmp_path / "a.bbk", exclusive=True):
            raise AssertionError
    with pytest.raises(VerifyFailed, match="a.bbk"):
        delivery.refuse_gone([tmp_path / "b.bbk", tmp_path / "a.bbk"])


@pytest.mark.parametrize("change", [{"time": 1e9}, {"mode": 0o600}])
def test_the_same_image_with_another_time_or_permissions(
    tmp_path, photograph, opened_model, change
):
    """Of two inputs with the same pixels, one output is not taken for both: their times and
    permissions differ, and one of them would be lost.
    """
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "x.png"
        Image.fromarray(photograph(8, 9)).save(path)
        path.chmod(0o644)
        os.utime(path, (5e8, 5e8))
    os.utime(path, (5e8, change.get("time", 5e8)))
    path.chmod(change.get("mode", 0o644))
    for folder, status in (("a", 0), ("b", 1)):
        result = call("compress", "--rm", "--dir", tmp_path, tmp_path / folder / "x.png")
        assert result.exit_code == status
    assert "another time or other permissions" in error_lines(result)[0]
    assert names(tmp_path) == ["b/x.png", "x.bbk"]


def test_a_fifo_at_the_outputs_name(tmp_path, photograph, opened_model):
    """It is refused, not opened: nobody would ever write to it."""
    Image.fromarray(photograph(8, 9)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.bbk")
    result = call("compress", "--rm", tmp_path / "a.png")
    assert result.exit_code == 1 and "a.bbk" in error_lines(result)[0]
    assert names(tmp_path) == ["a.png"]  # and the FIFO


def test_a_fifo_as_input(tmp_path, photograph, opened_model):
    """It is refused, not opened, also where a run of before has left an output of its name."""
    Image.fromarray(photograph(8, 9)).save(tmp_path / "a.png")
    assert call("compress", tmp_path / "a.png").exit_code == 0
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    result = call("compress", "--rm", tmp_path / "a.png")
    assert result.exit_code == 1 and "not a regular file" in error_lines(result)[0]


def test_a_wrong_suffix(tmp_path, photograph, opened_model):
    """A PNG that is named .jpg: a run that was killed before it was removed is completed."""
    path = tmp_path / "a.jpg"
    Image.fromarray(photograph(8, 9)).save(path, "PNG")
    assert call("compress", path).exit_code == 0
    assert call("compress", "--rm", path).exit_code == 0 and names(tmp_path) == ["a.bbk"]
