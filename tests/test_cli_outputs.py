"""The commands and their outputs: none replaced without -f, none written twice."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.cli import pool, run_outputs
from bitsback.codecs import decode
from bitsback.codecs.io import archive_files, files, salvaged
from bitsback.errors import OutputExists
from tests.commands import call, error_lines, load, names, python, save
from tests.writers import OTHER, WRITERS, arguments_of, before_writing


@pytest.fixture
def folder(inputs):
    return inputs


@pytest.mark.parametrize("command", WRITERS)
def test_what_another_process_wrote_meanwhile_is_not_replaced(
    command, request, folder, monkeypatch, tiny_model
):
    """An output that exists, or appears during the work: exit 1, one line with its name and -f, and
    it is not changed.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)

    def appear():
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
        with open(output, "wb") as stream:
            stream.write(OTHER)

    with monkeypatch.context() as patch:
        before_writing(patch, appear)
        during = call(*arguments)
    for result in (during, call(*arguments)):
        assert (
            result.exit_code == 1
            and output in error_lines(result)[-1]
            and "-f" in error_lines(result)[-1]
        ), error_lines(result)
        with open(output, "rb") as stream:
            assert stream.read() == OTHER
    assert not [name for name in names(folder) if name.endswith(".part")]
    assert call(*arguments, "-f").exit_code == 0
    with open(output, "rb") as stream:
        assert stream.read() != OTHER


@pytest.mark.parametrize("command", ["compress", "archive", "decompress", "unpack"])
def test_the_loser_keeps_its_input(command, request, folder, monkeypatch, tiny_model):
    """The same with --rm."""
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    before = names(folder)
    before_writing(
        monkeypatch, lambda: (os.makedirs("out", exist_ok=True), open(output, "wb").write(OTHER))
    )
    result = call(*arguments, "--rm")
    assert result.exit_code == 1 and names(folder) == sorted({*before, output})


MEETING = """
import os, stat, sys, time
from pathlib import Path

from bitsback.cli.main import main

real = os.fsync

def fsync(handle):
    if stat.S_ISREG(os.fstat(handle).st_mode):  # no folder
        Path(f"at-{os.getpid()}").touch()
        while len(list(Path().glob("at-*"))) < 2:
            time.sleep(0.01)
    real(handle)

os.fsync = fsync
main()
"""


def test_two_processes_with_one_output(tmp_path, photograph):
    """a.png and a.webp at once with --rm, each ready to write before the other has: one is done,
    the other is an error with exit 1 and kept.
    """
    images = {"a.png": photograph(40, 40, 1), "a.webp": photograph(30, 50, 2)}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / name, lossless=True)
    running = [python("-c", MEETING, "compress", "--rm", name, cwd=tmp_path) for name in images]
    ended = {
        name: (process.communicate(timeout=120), process.returncode)
        for name, process in zip(images, running)
    }
    assert sorted(code for _, code in ended.values()) == [0, 1], ended
    winner, loser = sorted(ended, key=lambda name: ended[name][1])
    left = [name for name in names(tmp_path) if not name.startswith("at-")]
    assert "a.bbk: exists" in ended[loser][0][1] and left == sorted(["a.bbk", loser])
    assert np.array_equal(decode((tmp_path / "a.bbk").read_bytes()), images[winner])


def test_the_second_process_takes_another_name(tmp_path, photograph, monkeypatch):
    """a.png with --rm when another process has made a.bbk of a.webp: a.png.bbk beside it."""
    images = {"a.webp": photograph(30, 50, 2), "a.png": photograph(40, 40, 1)}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / name, lossless=True)
    monkeypatch.chdir(tmp_path)
    assert [call("compress", "--rm", name).exit_code for name in images] == [0, 0]
    assert names(tmp_path) == ["a.bbk", "a.png.bbk"]
    for name, pixels in zip(["a.bbk", "a.png.bbk"], images.values()):
        assert np.array_equal(decode((tmp_path / name).read_bytes()), pixels)


def test_a_worker_replaces_nothing(folder, monkeypatch):
    """A worker of -j does not replace a file that appeared after the parent checked; with -f it
    does.
    """
    task = pool.Task("compress", str(folder / "a.png"), str(folder / "new.bbk"))
    before_writing(monkeypatch, lambda: (folder / "new.bbk").write_bytes(OTHER))
    with pytest.raises(OutputExists, match="new.bbk"):
        pool.run_task(task)
    assert (folder / "new.bbk").read_bytes() == OTHER
    pool.run_task(pool.Task(task.action, task.source, task.target, {"force": True}))
    assert np.array_equal(decode((folder / "new.bbk").read_bytes()), load(folder / "a.png"))


@pytest.mark.parametrize("option", ["on_cluster", "again"])
def test_a_task_that_is_done_twice(folder, option):
    """On a cluster, or where a process was killed: the second run returns the result of the first,
    but not for an output of another image.
    """
    task = pool.Task("compress", str(folder / "a.png"), str(folder / "new.bbk"), **{option: True})
    first = pool.run_task(task)
    assert pool.run_task(task) == first and first[1] == (folder / "new.bbk").stat().st_size
    with pytest.raises(OutputExists):
        pool.run_task(pool.Task("compress", task.source, task.target))
    for other in (OTHER, (folder / "all.bbk").read_bytes()):
        (folder / "new.bbk").write_bytes(other)
        with pytest.raises(OutputExists):
            pool.run_task(task)
        assert (folder / "new.bbk").read_bytes() == other
    (folder / "new.bbk").unlink()
    (folder / "new.bbk").mkdir()
    with pytest.raises(OutputExists):
        pool.run_task(task)


@pytest.mark.parametrize("jobs", [1, 2])
def test_outputs_of_one_run_are_one_through_links_too(folder, jobs, photograph):
    """x.bbk and y.bbk are one file: with -f the second input is refused and does not overwrite the
    first.
    """
    (folder / "x.bbk").write_bytes(OTHER)
    (folder / "y.bbk").symlink_to("x.bbk")
    save(photograph(8, 8, 5), folder / "x.png")
    save(photograph(8, 8, 6), folder / "y.png")
    result = call("compress", "-f", "--rm", "-j", jobs, folder / "x.png", folder / "y.png")
    assert (
        result.exit_code == 1 and "y.png" in error_lines(result)[0] and (folder / "y.png").exists()
    )
    assert np.array_equal(decode((folder / "x.bbk").read_bytes()), photograph(8, 8, 5))


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_archives_of_one_name_inside(folder, jobs, photograph):
    """With -f the second does not write over what the first one restored in the same run."""
    save(photograph(8, 8, 5), folder / "in" / "b.png")
    files.compress_archive([folder / "in"], folder / "other.bbk")
    result = call(
        "decompress",
        "-f",
        "--rm",
        "-j",
        jobs,
        folder / "all.bbk",
        folder / "other.bbk",
        "--dir",
        folder / "out",
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "other.bbk" in error_lines(result)[0]
        and "all.bbk" in error_lines(result)[0]
    )
    assert (
        load(folder / "out/b.png").shape == (7, 5, 3)
        and (folder / "other.bbk").exists()
        and not (folder / "all.bbk").exists()
    )


def test_an_output_that_is_one_of_several_inputs(folder, checkpoint):
    """An archive over one of its images, an image of an archive over the archive, a model over its
    checkpoint: refused with -f too.
    """
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    (folder / "in/b.bbk").write_bytes(before["all.bbk"])
    (folder / "in/b.bbk").rename(folder / "b.png")
    for arguments in (
        ["compress", "--archive", folder / "in/b.png", folder / "in"],
        ["decompress", folder / "b.png"],
        ["export", checkpoint, "-o", checkpoint],
    ):
        result = call(*arguments, "-f")
        assert result.exit_code == 1 and "is the input itself" in error_lines(result)[0], (
            error_lines(result)
        )
    assert (folder / "b.png").read_bytes() == before["all.bbk"]
    (folder / "b.png").unlink()
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_output_that_is_another_input_of_the_run(tmp_path, photograph, jobs):
    """a.bbk is a photograph with a wrong suffix: -f does not write over it before it is read."""
    pixels = photograph(9, 11)
    save(photograph(7, 8), tmp_path / "a.png")
    save(pixels, tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "a.bbk")
    result = call("compress", "-q", "-f", "-j", jobs, tmp_path / "a.png", tmp_path / "a.bbk")
    assert result.exit_code == 1 and "is an input of this run" in error_lines(result)[0]
    assert np.array_equal(load(tmp_path / "a.bbk"), pixels)


def test_one_of_several_inputs_that_cannot_be_read(tmp_path, photograph, monkeypatch):
    """It is an error of its own; the others are done."""
    for name in ("a.png", "b.png"):
        save(photograph(9, 11), tmp_path / name)
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **k: "a.png" not in str(path) and access(path, mode, **k)
    )
    (tmp_path / "a.png").write_bytes(b"")
    result = call("compress", "-q", tmp_path / "a.png", tmp_path / "b.png")
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert names(tmp_path) == ["a.png", "b.bbk", "b.png"]


def test_links_are_removed_before_their_files(tmp_path, photograph):
    """With --rm in a folder: a link whose file was removed first could not be read."""
    save(photograph(9, 11), tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a2.png")
    (tmp_path / "a2.png").symlink_to("a.png")  # a link to a link goes before that
    assert call("compress", "-q", "--rm", "-r", "-j", "1", tmp_path).exit_code == 0
    assert names(tmp_path) == ["a.bbk", "a2.bbk", "b.bbk"]
    assert not any(path.is_symlink() for path in tmp_path.iterdir())
    save(photograph(9, 11), tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a2.png")
    (tmp_path / "a2.png").symlink_to("a.png")
    result = call("compress", "-q", "--rm", "--archive", tmp_path / "all.bbk", tmp_path)
    assert result.exit_code == 0 and not any(path.is_symlink() for path in tmp_path.iterdir())


def test_case_twins_keep_their_names(tmp_path, photograph):
    """a.png is a.bbk and comes back as a.png; a.PNG does not take its place."""
    pixels = {"a.PNG": photograph(9, 11), "a.png": photograph(7, 8)}
    for name, one in pixels.items():
        save(one, tmp_path / name)
    if len(names(tmp_path)) < 2:
        pytest.skip("names that differ in case are one here")
    assert call("compress", "-q", "--rm", "-r", tmp_path).exit_code == 0
    assert call("decompress", "-q", "--rm", "-r", tmp_path).exit_code == 0
    assert names(tmp_path) == ["a.PNG.png", "a.png"]
    assert np.array_equal(load(tmp_path / "a.png"), pixels["a.png"])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_name_that_shows_when_an_image_is_decoded(tmp_path, photograph, jobs):
    """x/a becomes a.tiff, since PNG cannot hold its profile, and y/a would too: with -f the second
    is refused, at once or not, and no input is lost.
    """
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    pixels = photograph(9, 11)
    profile = np.random.default_rng(0).bytes(2**21)
    Image.fromarray(pixels).save(tmp_path / "x/a.tif", icc_profile=profile)
    Image.fromarray(photograph(9, 11, 2)).convert("CMYK").save(tmp_path / "y/a.tif")
    sources = [tmp_path / name / "a.bbk" for name in ("x", "y")]
    assert call("compress", "-q", *(path.with_suffix(".tif") for path in sources)).exit_code == 0
    result = call("decompress", "-q", "-f", "--rm", "-j", jobs, "--dir", tmp_path / "out", *sources)
    assert result.exit_code == 1 and "is also the output of" in error_lines(result)[0]
    assert names(tmp_path / "out") == ["a.tiff"] and sum(path.exists() for path in sources) == 1
    with Image.open(tmp_path / "out/a.tiff") as image:
        assert (image.mode == "CMYK") == sources[0].exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_archives_name_that_shows_when_it_is_decoded(tmp_path, photograph, jobs):
    """The same of images in archives, and of another input of the run."""
    profile = np.random.default_rng(0).bytes(2**21)
    for name, mode, options in (
        ("x/a.webp", "RGB", {"icc_profile": profile, "lossless": True}),
        ("y/a.webp.tiff", "CMYK", {}),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        Image.fromarray(photograph(9, 11)).convert(mode).save(path, **options)
        files.compress_archive([path.parent], tmp_path / f"{path.parent.name}.bbk")
    sources = [tmp_path / "x.bbk", tmp_path / "y.bbk"]
    result = call("decompress", "-q", "-f", "--rm", "-j", jobs, "--dir", tmp_path / "out", *sources)
    assert result.exit_code == 1 and "is also the output of" in error_lines(result)[0]
    assert (
        names(tmp_path / "out") == ["a.webp.tiff"] and sum(path.exists() for path in sources) == 1
    )


@pytest.fixture
def twins(tmp_path, photograph, monkeypatch):
    """x/A.png and y/a.png, seen as by a file system on which their outputs' names are one file."""

    def key(path):
        there = os.listdir(os.path.dirname(path)) if os.path.dirname(path) else []
        name = os.path.basename(path).lower()
        return (os.path.dirname(path), name) if name in map(str.lower, there) else None

    for module in (run_outputs, archive_files, salvaged):
        monkeypatch.setattr(module, "file_key", key)
    for i, name in enumerate(("x/A.png", "y/a.png")):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(photograph(8, 9, i)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def no_case(monkeypatch):
    """Paths are looked up as by a file system that ignores case and the form of Unicode."""

    def there(path):
        folder, name = os.path.split(path)
        return os.path.isdir(folder) and run_outputs._fold(name) in map(
            run_outputs._fold, os.listdir(folder)
        )

    monkeypatch.setattr(os.path, "lexists", there)


def test_names_that_are_one_file(tmp_path, no_case):
    """By a trial, of which nothing stays; or by what is there."""
    for name, other in (("A.bbk", "a.bbk"), ("\u00e9.bbk", "e\u0301.bbk")):
        outputs = run_outputs.RunOutputs()
        outputs.add([tmp_path / name], Path("x"))
        with pytest.raises(OutputExists, match="is also the output of x"):
            outputs.check(tmp_path / other, Path("y"))
    assert not os.listdir(tmp_path)
    (tmp_path / "B.bbk").touch()
    assert run_outputs._are_one(tmp_path, "B.bbk", "b.bbk")
    assert not run_outputs._are_one(tmp_path, "B.bbk", "c.bbk")


def test_names_that_are_two_files(tmp_path):
    """Where case counts: none, one or both of them there; and folders that will be made."""
    outputs = run_outputs.RunOutputs()
    for source, target in enumerate(("A.bbk", "a.bbk", "new/X/a.bbk", "new/x/a.bbk", "b/A", "b/a")):
        outputs.check(tmp_path / target, Path(str(source)))
        outputs.add([tmp_path / target], Path(str(source)))
    assert not os.listdir(tmp_path)
    (tmp_path / "A.bbk").touch()
    assert not run_outputs._are_one(tmp_path, "A.bbk", "a.bbk")
    (tmp_path / "a.bbk").touch()
    assert not run_outputs._are_one(tmp_path, "A.bbk", "a.bbk")


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_names_of_one_file(twins, no_case, opened_model, jobs):
    """-f --rm: the second output does not replace the first one, and its input stays."""
    inputs = twins / "x/A.png", twins / "y/a.png"
    result = call("compress", "-f", "--rm", "-j", jobs, "--dir", twins / "out", *inputs)
    assert result.exit_code == 1 and "is also the output of" in error_lines(result)[0]
    assert names(twins) == ["out/A.bbk", "y/a.png"]


def test_two_names_of_one_file_in_an_archive(twins, opened_model):
    """Nor does the second image of an archive, which stays."""
    packed = twins / "all.bbk"
    for name in ("x/A.png", "y/a.png"):
        os.rename(twins / name, twins / os.path.basename(name))
    inputs = twins / "A.png", twins / "a.png"
    assert call("compress", "--rm", "--archive", packed, *inputs).exit_code == 0
    result = call("decompress", "-f", "--rm", packed, "--dir", twins / "out")
    (line,) = error_lines(result)
    assert result.exit_code == 1 and "a.png: is the file of another image" in line
    assert names(twins) == ["all.bbk", "out/A.png"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_folder_by_two_paths(tmp_path, photograph, tiny_model, jobs):
    """A mount is no link: -f --rm keeps the input whose output would replace the other's."""
    for name in ("in/x", "in/y", "out/x", "out/y"):
        (tmp_path / name).mkdir(parents=True)
    for i, name in enumerate("xy"):
        Image.fromarray(photograph(8, 9, i)).save(tmp_path / "in" / name / "a.png")
    out = tmp_path / "out"
    if subprocess.run(["mount", "--bind", out / "x", out / "y"], capture_output=True).returncode:
        pytest.skip("this process may not mount")
    try:
        command = ("compress", "-f", "--rm", "-r", tmp_path / "in", "--dir", out, "-j", jobs)
        result = call(*command, "--model", tiny_model.path)
    finally:
        subprocess.run(["umount", out / "y"], check=True)
    assert result.exit_code == 1 and "is also the output of" in error_lines(result)[0]
    assert names(tmp_path) == ["in/y/a.png", "out/x/a.bbk"]
