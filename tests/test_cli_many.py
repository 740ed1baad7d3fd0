"""-j: the same outputs as of one process, an error line per failure, exit status 1 if any
failed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bitsback.cli.many import job_count
from tests.commands import ROOT, call, error_lines, names


@pytest.fixture
def tree(tmp_path, photograph):
    """Four images, one of them below, two of one name, and a text named .png."""
    (tmp_path / "in" / "below").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "b.webp", "below/c.png")):
        Image.fromarray(photograph(20, 21 + i, i)).save(tmp_path / "in" / name, lossless=True)
    (tmp_path / "in" / "text.png").write_text("no image")
    return tmp_path


def test_two_jobs(tree, tiny_model):
    """The bytes are those of one process; two files of one stem get two names; the text is an
    error; the tree is kept.
    """
    result = call(
        "compress", "-r", tree / "in", "--dir", tree / "two", "-j", "2", "--model", tiny_model.path
    )
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 4
    assert len(error_lines(result)) == 1 and "text.png" in error_lines(result)[0]
    call(
        "compress", "-r", tree / "in", "--dir", tree / "one", "-j", "1", "--model", tiny_model.path
    )
    assert (
        names(tree / "two")
        == names(tree / "one")
        == ["a.bbk", "b.bbk", "b.webp.bbk", "below/c.bbk"]
    )
    for name in names(tree / "one"):
        assert (tree / "one" / name).read_bytes() == (tree / "two" / name).read_bytes()
    again = call(
        "compress", "-r", tree / "in", "--dir", tree / "two", "-j", "1", "--model", tiny_model.path
    )
    assert again.exit_code == 1 and len(error_lines(again)) == 5 and not again.stdout


def test_two_jobs_that_test(tree, tiny_model):
    """`test -j 2` tells what one process tells, of a damaged file too, and exits as it does."""
    model = "--model", tiny_model.path
    call("compress", "-r", tree / "in", "--dir", tree / "packed", "-j", "1", *model)
    (tree / "packed/bad.bbk").write_bytes((tree / "packed/a.bbk").read_bytes()[:-3])
    before, told = names(tree / "packed"), []
    for jobs in ["-j", 1], ["-j", 2]:
        result = call("test", "-r", tree / "packed", *jobs, *model, "--json")
        (line,) = error_lines(result)
        assert result.exit_code == 1 and "bad.bbk: cut short" in line
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        told.append({one["source"]: (one.get("ok"), one.get("error")) for one in lines})
    assert told[0] == told[1] and len(told[0]) == 5 and names(tree / "packed") == before
    result = call("test", "-j", 2, tree / "packed/a.bbk", tree / "packed/b.bbk", *model)
    assert result.exit_code == 0 and result.stdout.count("RGB, checksums match") == 2


@pytest.mark.slow
def test_two_jobs_that_decompress(tree, tiny_model):
    """The images are those of one process; a damaged file and an existing output are errors, in
    JSON too; a mode that PNG cannot hold becomes TIFF.
    """
    Image.open(tree / "in/a.png").convert("CMYK").save(tree / "in/d.tif")
    for name in ("in/text.png", "in/b.webp"):
        (tree / name).unlink()
    assert (
        call(
            "compress",
            "-r",
            tree / "in",
            "--dir",
            tree / "packed",
            "-j",
            "1",
            "--model",
            tiny_model.path,
        ).exit_code
        == 0
    )
    (tree / "packed/bad.bbk").write_bytes((tree / "packed/a.bbk").read_bytes()[:-3])
    result = call(
        "decompress",
        "-r",
        tree / "packed",
        "--dir",
        tree / "two",
        "-j",
        "2",
        "--model",
        tiny_model.path,
        "--json",
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "bad.bbk" in error_lines(result)[0]
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 5 and [line["source"] for line in lines if "error" in line] == [
        str(tree / "packed/bad.bbk")
    ]
    call(
        "decompress",
        "-r",
        tree / "packed",
        "--dir",
        tree / "one",
        "-j",
        "1",
        "--model",
        tiny_model.path,
    )
    assert names(tree / "two") == names(tree / "one") == ["a.png", "b.png", "below/c.png", "d.tiff"]
    for name in names(tree / "one"):
        assert (tree / "one" / name).read_bytes() == (tree / "two" / name).read_bytes()
    again = call(
        "decompress",
        "-r",
        tree / "packed",
        "--dir",
        tree / "two",
        "-j",
        "1",
        "--model",
        tiny_model.path,
    )
    assert again.exit_code == 1 and len(error_lines(again)) == 5 and not again.stdout


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_the_parent_of_many_opens_no_model(tree, tiny_model, command, monkeypatch):
    """The workers do; but a missing model is one error, before any worker is started."""
    call("compress", tree / "in/a.png", tree / "in/b.png", "--model", tiny_model.path)
    monkeypatch.setattr(
        "bitsback.coder.model.Model.__init__", lambda *_: pytest.fail("a model was opened")
    )
    suffix = ".png" if command == "compress" else ".bbk"
    arguments = [
        command,
        *(tree / "in" / (name + suffix) for name in "ab"),
        "-j",
        "2",
        "--dir",
        tree / "out",
    ]
    result = call(*arguments, "-v", "--model", tiny_model.path)
    assert result.exit_code == 0 and error_lines(result) == [
        f"model {tiny_model.path.name}, 2 processes with one thread each"
    ]
    missing = call(*arguments, "--model", "nowhere")
    assert (
        missing.exit_code == 1
        and len(error_lines(missing)) == 1
        and "nowhere" in error_lines(missing)[0]
    )


@pytest.mark.slow
def test_a_cluster_that_is_not_there(tree, tiny_model):
    """One line with the address, exit status 1; --rm cannot be combined with --dask."""
    pytest.importorskip("distributed")
    result = call(
        "compress", tree / "in/a.png", "--dask", "tcp://127.0.0.1:9", "--model", tiny_model.path
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "127.0.0.1:9" in error_lines(result)[0]
        and names(tree / "in") == ["a.png", "b.png", "b.webp", "below/c.png", "text.png"]
    )
    assert call("compress", tree / "in/a.png", "--dask", "x", "--rm").exit_code == 2


@pytest.mark.parametrize(
    "jobs, recursive, files, cores, expected",
    [(None, False, 9, 4, 1), (None, True, 9, 4, 4), (None, True, 3, 4, 3), (7, False, 9, 4, 7)],
)
def test_how_many_jobs(monkeypatch, jobs, recursive, files, cores, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert job_count(jobs, recursive, files) == expected


def test_too_little_memory_to_read_a_file(tree, tiny_model, monkeypatch):
    """One line, and the other files are done."""
    from bitsback.codecs.io import files

    where = ("--dir", tree / "out", "--model", tiny_model.path)
    call("compress", "-r", tree / "in", *where)
    read = files.read_packed

    def without_memory(path):
        if Path(path).name == "a.bbk":
            raise MemoryError
        return read(path)

    monkeypatch.setattr(files, "read_packed", without_memory)
    inputs = [tree / "out" / name for name in ("a.bbk", "b.bbk")]
    result = call("decompress", *inputs, *where, "-j", "2")
    assert result.exit_code == 1 and (tree / "out/b.png").exists()
    assert error_lines(result) == [f"bitsback: {inputs[0]}: not enough memory for this file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
def test_a_standard_output_that_is_full(tree, tiny_model):
    """As without -j: a line with the file's name for each, and all files are done."""
    command = ("compress", "-r", tree / "in/below", tree / "in/b.webp", "-j", "2")
    arguments = (*command, "--dir", tree / "out", "--model", tiny_model.path)
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "bitsback", *map(str, arguments)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    lines = process.stderr.splitlines()
    assert process.returncode == 1 and names(tree / "out") == ["b.bbk", "c.bbk"]
    assert len(lines) == 2 and all("No space left on device" in line for line in lines)
    assert all(any(name in line for line in lines) for name in ("b.webp: ", "c.png: "))
