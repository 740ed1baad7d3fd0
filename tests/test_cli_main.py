"""The commands: exit statuses, one line for each file that failed, no half-written outputs."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback import __version__
from bitsback.codecs import decode, encode
from bitsback.codecs.bitstream import container
from bitsback.coder.model import Model
from bitsback.integer import model_file
from tests.commands import (
    ROOT,
    TINY_RUN,
    call,
    default_sigint,
    error_lines,
    load,
    names,
    python,
    save,
)
from tests.test_outputs import unnamed

# --- what works ------------------------------------------------------------------------------


def test_compress_and_decompress(folder, tiny_model):
    """Several files there and back, one line on stdout each with bytes and bits a dimension."""
    before = {name: load(folder / name) for name in names(folder)}
    result = call("compress", "--model", tiny_model.path, folder / "a.png", folder / "b.png")
    assert result.exit_code == 0 and not result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and all(
        f"{len((folder / f'{n}.bbk').read_bytes())} bytes" in line and "bits/dim" in line
        for n, line in zip("ab", lines)
    )
    for name in before:
        (folder / name).unlink()
    result = call("decompress", folder / "a.bbk", folder / "b.bbk")
    assert result.exit_code == 0 and not result.stderr and len(result.stdout.splitlines()) == 2
    assert names(folder) == ["a.bbk", "a.png", "b.bbk", "b.png"]
    assert all(np.array_equal(load(folder / name), pixels) for name, pixels in before.items())


def test_the_prior_from_the_command_line(tmp_path, tiny_model, prior_file, photograph):
    """`info` prints the model of a file coded with the prior; --model decodes it."""
    pixels = photograph(64, 48)
    (tmp_path / "x.bbk").write_bytes(prior_file(pixels))
    assert (
        json.loads(call("info", "--json", tmp_path / "x.bbk").stdout)["model"] == tiny_model.id[:16]
    )
    assert call("decompress", "--model", tiny_model.path, tmp_path / "x.bbk", "-q").exit_code == 0
    assert np.array_equal(load(tmp_path / "x.png"), pixels)


def test_output_options(folder):
    """-o names the one output; --dir is made where it is missing, nested too."""
    assert call("compress", folder / "a.png", "-o", folder / "z.bbk").exit_code == 0
    assert (
        call(
            "compress", folder / "a.png", folder / "b.png", "--dir", folder / "out" / "deep"
        ).exit_code
        == 0
    )
    assert call("decompress", folder / "z.bbk", "-o", folder / "z.ppm").exit_code == 0
    assert call("decompress", folder / "z.bbk", "--dir", folder / "back").exit_code == 0
    assert names(folder) == [
        "a.png",
        "b.png",
        "back/z.png",
        "out/deep/a.bbk",
        "out/deep/b.bbk",
        "z.bbk",
        "z.ppm",
    ]
    assert np.array_equal(load(folder / "z.ppm"), load(folder / "a.png"))


def test_quiet_and_verbose(folder, tiny_model):
    """-q prints nothing; -v prints the model and the arithmetic on stderr."""
    result = call("compress", "-q", folder / "a.png")
    assert result.exit_code == 0 and not result.stdout and not result.stderr
    result = call("compress", "-v", "-f", "--model", tiny_model.path, folder / "a.png")
    assert (
        result.exit_code == 0
        and tiny_model.id[:16] in result.stderr
        and len(result.stdout.splitlines()) == 1
    )


def test_info(folder):
    """One line per fact; with --json one object per file, with the facts that scripts need."""
    call("compress", folder / "a.png", folder / "b.png")
    result = call("info", folder / "a.bbk")
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines())
    size = (folder / "a.bbk").stat().st_size
    assert (
        result.exit_code == 0
        and facts["width"] == "11"
        and facts["height"] == "9"
        and facts["file_bytes"] == str(size)
    )
    result = call("info", "--json", folder / "a.bbk", folder / "b.bbk")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (
        result.exit_code == 0
        and first["bits_per_dim"] == pytest.approx(8 * size / 297)
        and second["width"] == 5
    )
    assert (
        first["file"] == str(folder / "a.bbk")
        and first["mode"] == "RGB"
        and first["format_version"] == container.VERSION
    )


def test_models(tmp_path, tiny_model, monkeypatch):
    """The id, size, levels, training data and training time of shipped models; --json too."""
    (tmp_path / "small.safetensors").write_bytes(tiny_model.path.read_bytes())
    monkeypatch.setattr(model_file, "MODELS", tmp_path)
    (line,) = call("models").stdout.splitlines()
    assert (
        line.startswith("small ")
        and tiny_model.id[:16] in line
        and "random weights" in line
        and f"{len(tiny_model.levels)} levels" in line
    )
    facts = json.loads(call("models", "--json").stdout)
    assert (
        facts["id"] == tiny_model.id
        and facts["bytes"] == tiny_model.path.stat().st_size
        and facts["training"]["data"] == "random weights"
    )


def test_a_shipped_model_is_found_by_name_and_by_id(
    tmp_path, tiny_model, prior_file, photograph, monkeypatch
):
    """--model NAME takes a shipped model; a file that names one needs no --model."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.safetensors").write_bytes(tiny_model.path.read_bytes())
    monkeypatch.setattr(model_file, "MODELS", tmp_path / "models")
    pixels = photograph(56, 48)
    (tmp_path / "x.bbk").write_bytes(prior_file(pixels))
    assert call("decompress", tmp_path / "x.bbk").exit_code == 0 and np.array_equal(
        load(tmp_path / "x.png"), pixels
    )
    assert call("compress", "--model", "small", tmp_path / "x.png", "-f").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [[], ["compress"], ["decompress"], ["test"], ["info"], ["models"], ["train"], ["export"]],
    ids=lambda c: " ".join(c) or "alone",
)
def test_help(command):
    """--help and -h of the program and of each command: exit 0, on stdout."""
    for flag in ("--help", "-h"):
        result = call(*command, flag)
        assert result.exit_code == 0 and result.stdout.startswith("Usage:") and not result.stderr


def test_version():
    """--version prints the version."""
    assert __version__ in call("--version").stdout


# --- usage errors ----------------------------------------------------------------------------


SIX = pytest.param(["train", "d", "-o", "m", "--network", "1,2"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["decompress"],
        ["info"],
        ["unknown"],
        ["compress", "--unknown", "a.png"],
        ["compress", "a.png", "b.png", "-o", "x"],
        ["decompress", "a.bbk", "b.bbk", "-o", "x"],
        ["compress", "a.png", "--archive", "x", "-o", "y"],
        ["compress", "a.png", "--device", "toaster"],
        ["compress", "a.png", "-T", "0"],
        ["train", "d"],
        ["train", "d", "-o", "m", "--minutes", "0"],
        ["train", "d", "-o", "m", "--patch", "20"],
        ["train", "d", "-o", "m", "--passes", "5"],
        ["train", "d", "-o", "m", "--only", "0", "3"],
        ["train", "d", "-o", "m", "--at-levels", "--only", "4", "12"],
        ["train", "d", "-o", "m", "--at-levels", "--only", "3", "2"],
        ["train", "d", "-o", "m", "--network", "a,b,c,d,e,f"],
        SIX,
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else None,
)
def test_usage_errors_exit_with_2(folder, monkeypatch, arguments):
    """A command that makes no sense: exit 2, a message on stderr, and nothing is done."""
    monkeypatch.chdir(folder)
    before = names(folder)
    result = call(*arguments)
    assert result.exit_code == 2 and result.stderr and not result.stdout and names(folder) == before


# --- refusals --------------------------------------------------------------------------------


def test_existing_outputs(folder):
    """Refused with exit 1 and a line that names them and -f; other files are done; -f
    overwrites.
    """
    (folder / "a.bbk").write_bytes(b"precious")
    result = call("compress", folder / "a.png", folder / "b.png")
    assert (
        result.exit_code == 1
        and (folder / "a.bbk").read_bytes() == b"precious"
        and (folder / "b.bbk").exists()
    )
    (line,) = error_lines(result)
    assert "a.bbk" in line and "-f" in line
    assert call("compress", "-f", folder / "a.png").exit_code == 0
    assert np.array_equal(decode((folder / "a.bbk").read_bytes()), load(folder / "a.png"))
    result = call("decompress", folder / "a.bbk")
    assert result.exit_code == 1 and "a.png" in error_lines(result)[0]
    assert call("decompress", "--force", folder / "a.bbk").exit_code == 0


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_the_output_is_never_the_input(folder, force):
    """-o the input itself: exit 1 and the input as it was, even with -f."""
    call("compress", folder / "b.png")
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for arguments in (
        ["compress", folder / "a.png", "-o", folder / "a.png"],
        ["decompress", folder / "b.bbk", "-o", folder / "b.bbk"],
    ):
        result = call(*arguments, *force)
        assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


@pytest.mark.parametrize("jobs", [[], pytest.param(["-j", "2"], marks=pytest.mark.slow)])
def test_two_inputs_of_one_stem_keep_apart(folder, jobs):
    """a.png becomes a.bbk, which restores to it; a.bmp, though named first, becomes a.bmp.bbk, with
    -f too; both are restored.
    """
    save(load(folder / "b.png"), folder / "a.bmp")
    for force in ([], ["-f"]):
        result = call(
            "compress", *force, *jobs, folder / "a.bmp", folder / "a.png", folder / "b.png"
        )
        assert result.exit_code == 0 and not result.stderr
    assert names(folder) == ["a.bbk", "a.bmp", "a.bmp.bbk", "a.png", "b.bbk", "b.png"]
    assert (
        call(
            "decompress", folder / "a.bmp.bbk", folder / "a.bbk", "--dir", folder / "back"
        ).exit_code
        == 0
    )
    assert names(folder / "back") == ["a.bmp.png", "a.png"]
    for restored, source in (("a.bmp.png", "a.bmp"), ("a.png", "a.png")):
        assert np.array_equal(load(folder / "back" / restored), load(folder / source))


@pytest.mark.parametrize("jobs", [[], ["-j", "2"]])
@pytest.mark.parametrize("force", [[], ["-f"]])
def test_two_inputs_of_one_name_do_not_share_an_output(folder, force, jobs):
    """x/a.png and y/a.png into one folder: the second is refused, with -f too, which overwrites
    only what was there before the run.
    """
    for name, source in (("x", "a.png"), ("y", "b.png")):
        (folder / name).mkdir()
        save(load(folder / source), folder / name / "a.png")
    result = call(
        "compress", *force, *jobs, folder / "x/a.png", folder / "y/a.png", "--dir", folder / "out"
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "y/a.png" in error_lines(result)[0]
    )
    assert names(folder / "out") == ["a.bbk"] and np.array_equal(
        decode((folder / "out/a.bbk").read_bytes()), load(folder / "a.png")
    )


@pytest.mark.parametrize("archive", [False, True])
def test_names_that_are_no_utf8(folder, archive):
    """A name from an old disk (Latin-1) is coded, or refused in one line."""
    try:
        source = save(load(folder / "a.png"), folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    result = call("compress", "-q", source, *(["--archive", folder / "all.bbk"] if archive else []))
    assert result.exit_code == 0 or result.exit_code == 1 and len(error_lines(result)) == 1


def make_bad(kind, path, photograph):
    """A file at `path` that compress must refuse."""
    pixels = photograph(20, 20)
    image = Image.fromarray(pixels)
    if kind == "text":
        path.write_text("this is no image\n")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "stretched":
        path.write_bytes(b"P6 2 1 100\n" + bytes(6))
    elif kind == "truncated":
        image.save(path)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "animation":
        image.save(path, format="GIF", save_all=True, append_images=[Image.fromarray(255 - pixels)])
    elif kind == "JPEG":
        image.save(path, format="JPEG")


@pytest.mark.parametrize(
    "kind", ["missing", "text", "empty", "folder", "stretched", "JPEG", "animation", "truncated"]
)
def test_a_bad_image_is_one_line_and_the_others_are_done(folder, photograph, kind):
    """compress good bad good: exit 1, one line that names the bad one, an output for each good one
    and none for the bad one.
    """
    make_bad(kind, folder / "bad.png", photograph)
    before = names(folder)
    result = call("compress", folder / "a.png", folder / "bad.png", folder / "b.png")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert (
        line.startswith("bitsback: ")
        and "bad.png" in line
        and "Traceback" not in line
        and "Error" not in line
    )
    assert names(folder) == sorted([*before, "a.bbk", "b.bbk"])
    assert all(
        np.array_equal(decode((folder / f"{n}.bbk").read_bytes()), load(folder / f"{n}.png"))
        for n in "ab"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "text",
        "empty",
        "folder",
        "png",
        "cut",
        "flipped",
        "another model",
        "another version",
    ],
)
def test_a_bad_file_is_one_line_and_the_others_are_done(
    folder, kind, prior_file, other_model, photograph
):
    """decompress good bad good and info good bad good: the same."""
    good = {name: encode(load(folder / f"{name}.png")) for name in "ab"}
    for name, data in good.items():
        (folder / f"{name}.bbk").write_bytes(data)
        (folder / f"{name}.png").unlink()
    bad = folder / "bad.bbk"
    if kind == "folder":
        bad.mkdir()
    elif kind != "missing":
        bad.write_bytes(
            {
                "text": b"hello",
                "empty": b"",
                "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
                "cut": good["a"][:-1],
                "flipped": good["a"][:25] + b"\0" + good["a"][26:],
                "another model": prior_file(photograph(56, 48), other_model),
                "another version": good["a"][:4] + b"\7" + good["a"][5:],
            }[kind]
        )
    before = names(folder)
    result = call("decompress", folder / "a.bbk", bad, folder / "b.bbk")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert line.startswith("bitsback: ") and "bad.bbk" in line and "Traceback" not in line
    assert names(folder) == sorted([*before, "a.png", "b.png"])
    if kind == "another model":
        assert other_model.id[:16] in line
        return
    result = call("info", folder / "a.bbk", bad, folder / "b.bbk")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "bad.bbk" in error_lines(result)[0]
        and result.stdout.count("file_bytes") == 2
    )


@pytest.mark.parametrize("model", ["no-such-model", "text"])
def test_a_bad_model_is_one_line(folder, model):
    """--model that is none: exit 1 and one line that names it."""
    path = folder / "m.safetensors"
    path.write_text("hello")
    result = call("compress", "--model", path if model == "text" else model, folder / "a.png")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and ("m.safetensors" if model == "text" else model) in error_lines(result)[0]
    )


def test_an_output_that_cannot_be_made_leaves_nothing(folder):
    """A suffix that is no lossless format: exit 1, one line, no file."""
    call("compress", folder / "a.png")
    before = names(folder)
    for target in ("x.jpg", "x", "x.bbk"):
        result = call("decompress", folder / "a.bbk", "-o", folder / target)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and target in error_lines(result)[0]
        )
    assert names(folder) == before


def test_a_missing_output_folder_is_named(folder):
    """-o into a folder that is not there: one line that names the folder."""
    result = call("compress", folder / "a.png", "-o", folder / "nowhere" / "x.bbk")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "nowhere" in error_lines(result)[0]
    )


def test_an_output_folder_that_cannot_be_made(folder):
    """--dir below a file: an error without traceback."""
    result = call("compress", folder / "a.png", "--dir", folder / "b.png" / "out")
    assert result.exit_code in (1, 2) and result.stderr


# --- trees, pipes, removal, metadata ---------------------------------------------------------


@pytest.fixture
def tree(tmp_path, photograph):
    """in/a.png, in/sub/b.png, in/sub/deep/c.tif and a text file."""
    for i, name in enumerate(("a.png", "sub/b.png", "sub/deep/c.tif")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(photograph(9 + i, 11, i), tmp_path / "in" / name)
    (tmp_path / "in/sub/notes.txt").write_text("not an image")
    return tmp_path


def test_a_tree_there_and_back(tree):
    """-r takes the images below a folder and no other files; --dir keeps the sub-folders, both
    ways.
    """
    result = call("compress", "-r", tree / "in", "--dir", tree / "packed")
    assert (
        result.exit_code == 0
        and not result.stderr
        and names(tree / "packed") == ["a.bbk", "sub/b.bbk", "sub/deep/c.bbk"]
    )
    assert call("test", "-r", tree / "packed").stdout.count("checksums match") == 3
    assert len(call("info", "-r", "--json", tree / "packed").stdout.splitlines()) == 3
    assert call("decompress", "-r", tree / "packed", "--dir", tree / "out").exit_code == 0
    assert names(tree / "out") == ["a.png", "sub/b.png", "sub/deep/c.png"]
    assert all(
        np.array_equal(load(tree / "out" / f"{n}.png"), load(next((tree / "in").glob(f"{n}.*"))))
        for n in ("a", "sub/b", "sub/deep/c")
    )


def test_recursion_beside_the_sources_and_without_any(tree):
    """Without --dir outputs lie beside their inputs; a folder without images, or without -r, is one
    line and exit 1.
    """
    assert (
        call("compress", "-r", tree / "in").exit_code == 0 and (tree / "in/sub/deep/c.bbk").exists()
    )
    (tree / "empty").mkdir()
    for arguments in (["-r", tree / "empty"], [tree / "in"]):
        result = call("compress", *arguments)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and str(arguments[-1]) in error_lines(result)[0]
        )


def test_removal_after_verification(tree):
    """--rm removes inputs once their outputs are there; a refused one stays."""
    (tree / "in/bad.png").write_text("hello")
    result = call("compress", "--rm", "-r", tree / "in")
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert names(tree / "in") == [
        "a.bbk",
        "bad.png",
        "sub/b.bbk",
        "sub/deep/c.bbk",
        "sub/notes.txt",
    ]
    assert (
        call("decompress", "--rm", tree / "in/a.bbk").exit_code == 0
        and names(tree / "in")[0] == "a.png"
    )


def test_nothing_is_removed_that_is_not_whole(folder, monkeypatch):
    """If verification fails, or the written file is not what was written, the input stays."""
    from bitsback.codecs import decoder
    from bitsback.codecs.io import delivery

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "same", lambda a, b: False)
        result = call("compress", "--rm", folder / "a.png")
        assert (
            result.exit_code == 1
            and "a.png" in error_lines(result)[0]
            and "another image" in error_lines(result)[0]
            and names(folder) == ["a.png", "b.png"]
        )
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "deliver", lambda data, target, *_: target.write_bytes(data[:-1]))
        result = call("compress", "--rm", folder / "a.png")
        assert (
            result.exit_code == 1
            and "is kept" in error_lines(result)[0]
            and (folder / "a.png").exists()
        )


def test_removal_of_an_archives_images(tree):
    """--archive --rm removes the images, not other files; decompress --rm the archive."""
    assert call(
        "compress", "--archive", tree / "all.bbk", "--rm", tree / "in"
    ).exit_code == 0 and names(tree) == ["all.bbk", "in/sub/notes.txt"]
    assert call("decompress", "--rm", tree / "all.bbk", "--dir", tree / "in").exit_code == 0
    assert names(tree) == ["in/a.png", "in/sub/b.png", "in/sub/deep/c.tif", "in/sub/notes.txt"]


@pytest.mark.parametrize("arguments", [["--no-verify"], ["-k"], ["--allow-lossy-source"]])
def test_removal_that_would_lose_something(folder, arguments):
    """--rm without verification, with --keep or of lossy sources is a usage error."""
    assert call("compress", "--rm", *arguments, folder / "a.png").exit_code == 2 and names(
        folder
    ) == ["a.png", "b.png"]


def test_pipes(folder):
    """- is standard input and output, and messages go to stderr; the image survives the round
    trip.
    """
    run = [sys.executable, "-m", "bitsback"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    packed = subprocess.run(
        [*run, "compress", "-"],
        input=(folder / "a.png").read_bytes(),
        capture_output=True,
        cwd=folder,
        env=env,
    )
    assert (
        packed.returncode == 0
        and np.array_equal(decode(packed.stdout), load(folder / "a.png"))
        and b"bytes" in packed.stderr
    )
    back = subprocess.run(
        [*run, "decompress", "-q", "-", "-o", "-"],
        input=packed.stdout,
        capture_output=True,
        cwd=folder,
        env=env,
    )
    assert back.returncode == 0 and not back.stderr and back.stdout.startswith(b"\x89PNG")
    named = subprocess.run(
        [*run, "decompress", "-", "-o", "x.bmp"],
        input=packed.stdout,
        capture_output=True,
        cwd=folder,
        env=env,
    )
    assert named.returncode == 0 and np.array_equal(load(folder / "x.bmp"), load(folder / "a.png"))
    bad = subprocess.run(
        [*run, "compress", "-"], input=b"hello", capture_output=True, cwd=folder, env=env
    )
    assert (
        bad.returncode == 1
        and not bad.stdout
        and bad.stderr.startswith(b"bitsback: ")
        and b"standard input" in bad.stderr
    )
    out = subprocess.run(
        [*run, "compress", "a.png", "-o", "-"], capture_output=True, cwd=folder, env=env
    )
    assert out.returncode == 0 and out.stdout == packed.stdout


def test_no_data_at_a_terminal(folder):
    """Standard output that is a terminal gets no data: exit 2."""
    control, terminal = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-m", "bitsback", "compress", "a.png", "-o", "-"],
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(terminal)
    os.close(control)
    assert process.returncode == 2 and b"terminal" in process.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "-", "-"],
        ["compress", "-", "--dir", "x"],
        ["compress", "--rm", "a.png", "-o", "-"],
    ],
)
def test_pipes_that_make_no_sense(folder, monkeypatch, arguments):
    """Standard input twice or into a folder, removal of what went to standard output: exit 2."""
    monkeypatch.chdir(folder)
    assert call(*arguments).exit_code == 2 and names(folder) == ["a.png", "b.png"]


def test_times_and_permissions(folder):
    """The modification time and permissions of the input are those of the output, both ways."""
    (folder / "a.png").chmod(0o640)
    os.utime(folder / "a.png", ns=(10**18, 10**18 + 123456789))
    assert (
        call("compress", folder / "a.png").exit_code == 0
        and call("decompress", folder / "a.bbk", "--dir", folder / "out").exit_code == 0
    )
    for path in (folder / "a.bbk", folder / "out/a.png"):
        assert (
            path.stat().st_mtime_ns == 10**18 + 123456789 and path.stat().st_mode & 0o777 == 0o640
        )


def test_metadata_from_the_command_line(folder):
    """Kept and listed by info; --strip leaves it out; a format that does not hold it is reported on
    stderr (not with -q), and --rm then keeps the input.
    """
    Image.open(folder / "a.png").save(
        folder / "m.png",
        dpi=(72, 72),
        icc_profile=b"a profile",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
    )
    assert call("compress", folder / "m.png").exit_code == 0
    assert json.loads(call("info", "--json", folder / "m.bbk").stdout)["metadata"] == [
        "icc",
        "exif",
        "dpi",
    ]
    assert call("decompress", "-f", folder / "m.bbk").exit_code == 0
    assert Image.open(folder / "m.png").info["icc_profile"] == b"a profile"
    result = call("decompress", "--rm", folder / "m.bbk", "-o", folder / "m.bmp")
    assert result.exit_code == 0 and (folder / "m.bbk").exists()
    (line,) = error_lines(result)
    assert "m.bmp" in line and "icc, exif" in line
    assert not call("decompress", "-f", "-q", folder / "m.bbk", "-o", folder / "m.bmp").stderr
    assert call("compress", "-f", "--strip", folder / "m.png").exit_code == 0
    assert "none" in next(
        line
        for line in call("info", folder / "m.bbk").stdout.splitlines()
        if line.startswith("metadata")
    )
    assert np.array_equal(decode((folder / "m.bbk").read_bytes()), load(folder / "a.png"))


def test_lossy_sources(folder):
    """A JPEG is refused with the reason; --allow-lossy-source stores what it shows."""
    save(load(folder / "a.png"), folder / "j.jpg")
    result = call("compress", folder / "j.jpg")
    assert (
        result.exit_code == 1
        and "loss" in error_lines(result)[0]
        and "--allow-lossy-source" in error_lines(result)[0]
    )
    assert call("compress", "--allow-lossy-source", folder / "j.jpg").exit_code == 0
    assert np.array_equal(decode((folder / "j.bbk").read_bytes()), load(folder / "j.jpg"))


def test_the_test_command(folder):
    """Good files: a line each, exit 0, nothing written.  A damaged one: exit 1 and its name."""
    call("compress", folder / "a.png", folder / "b.png")
    before = names(folder)
    assert call("test", folder / "a.bbk", folder / "b.bbk").stdout.count("checksums match") == 2
    assert (
        json.loads(call("test", "--json", folder / "a.bbk").stdout)["ok"]
        and names(folder) == before
    )
    (folder / "b.bbk").write_bytes((folder / "b.bbk").read_bytes()[:-1])
    result = call("test", folder / "b.bbk", folder / "a.bbk")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "b.bbk" in error_lines(result)[0]
        and result.stdout.count("checksums match") == 1
    )


def test_json_lines(folder):
    """compress and decompress: an object a file, with errors as objects too."""
    (folder / "bad.png").write_text("hello")
    result = call("compress", "--json", folder / "a.png", folder / "bad.png", folder / "b.png")
    first, bad, second = map(json.loads, result.stdout.splitlines())
    assert (
        result.exit_code == 1
        and first["target"].endswith("a.bbk")
        and first["verified"]
        and "not an image" in bad["error"]
        and second["bytes"] > 0
    )
    facts = json.loads(call("decompress", "--json", "-f", folder / "a.bbk").stdout)
    assert facts["targets"] == [str(folder / "a.png")]


def test_both_names_of_one_output_are_told(folder):
    """Two inputs for one output: the error names both and the output."""
    (folder / "x").mkdir()
    save(load(folder / "b.png"), folder / "x/a.png")
    (line,) = error_lines(call("compress", folder / "a.png", folder / "x/a.png", "--dir", folder))
    assert "/a.png" in line and "x/a.png" in line and "a.bbk" in line


def test_modes_that_png_cannot_hold_become_tiff(folder):
    """CMYK is restored as .tiff; -o x.png is refused before decoding, with a format that can hold
    it.
    """
    Image.fromarray(load(folder / "a.png")).convert("CMYK").save(folder / "c.tif")
    assert call("compress", folder / "c.tif").exit_code == 0
    result = call("decompress", folder / "c.bbk", "-o", folder / "c.png")
    assert result.exit_code == 1 and "PNG cannot hold mode CMYK; TIFF can" in error_lines(result)[0]
    assert call("decompress", folder / "c.bbk").exit_code == 0
    assert (
        np.array_equal(load(folder / "c.tiff"), load(folder / "c.tif"))
        and Image.open(folder / "c.tiff").mode == "CMYK"
    )


def test_an_estimate_before_a_long_run(folder, monkeypatch):
    """Above a megapixel under the prior: time and memory on stderr before the work; not with -q."""
    from bitsback.codecs import estimate

    monkeypatch.setattr(
        estimate, "estimate", lambda images, verify, model, device, tuning: (120.0, 2.0)
    )
    (line,) = error_lines(call("compress", folder / "a.png"))
    assert "2 minutes" in line and "GB" in line and "a.png" in line
    assert not call("compress", "-f", "-q", folder / "a.png").stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(folder, shell):
    """The completion script of each shell in README is generated by click."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "_BITSBACK_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'bitsback'; from bitsback.cli.main import run; run()",
        ],
        env=env,
        capture_output=True,
        text=True,
    )
    assert "_BITSBACK_COMPLETE" in done.stdout and "Traceback" not in done.stderr


# --- train and export ------------------------------------------------------------------------


def test_train_resume_and_export(tmp_path, photograph):
    """train writes a model, a checkpoint and a log; --resume continues; export converts a
    checkpoint.
    """
    (tmp_path / "data").mkdir()
    save(photograph(24, 24), tmp_path / "data" / "p.png")
    arguments = [
        "train",
        tmp_path / "data",
        "-o",
        tmp_path / "m.safetensors",
        "--minutes",
        "0.005",
        *TINY_RUN,
        "--batch",
        "8",
        "-q",
    ]
    result = call(*arguments, "--data-name", "one image")
    assert result.exit_code == 0 and not result.stdout
    assert names(tmp_path) == [
        "data/p.png",
        "m.safetensors",
        "m.safetensors.ckpt",
        "m.safetensors.log.jsonl",
    ]
    assert np.float64(5e-324) * 1.0 > 0  # the processor's mode for denormals is given back
    first = Model(tmp_path / "m.safetensors").description["training"]
    assert first["data"] == "one image" and first["steps"] >= 1
    assert call(*arguments, "--resume", tmp_path / "m.safetensors.ckpt").exit_code == 0
    assert Model(tmp_path / "m.safetensors").description["training"]["steps"] > first["steps"]
    assert (
        call(
            "export",
            tmp_path / "m.safetensors.ckpt",
            "-o",
            tmp_path / "e.safetensors",
            "--data-name",
            "told",
        ).exit_code
        == 0
    )
    exported = Model(tmp_path / "e.safetensors")
    assert (
        exported.id == Model(tmp_path / "m.safetensors").id
        and exported.description["training"]["data"] == "told"
    )


def test_train_without_images(tmp_path):
    """An empty folder and a missing one: exit 1, one line that names them, no model."""
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        result = call(
            "train",
            tmp_path / name,
            "-o",
            tmp_path / "m.safetensors",
            "--minutes",
            "0.01",
            *TINY_RUN,
        )
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and name in error_lines(result)[0]
        )
    assert "m.safetensors" not in names(tmp_path) and "m.safetensors.ckpt" not in names(tmp_path)


def test_train_from_a_foreign_checkpoint(tmp_path, photograph):
    """--resume and export of what is no checkpoint: exit 1, one line that names it."""
    (tmp_path / "data").mkdir()
    save(photograph(24, 24), tmp_path / "data" / "p.png")
    (tmp_path / "x.ckpt").write_text("hello")
    result = call(
        "train",
        tmp_path / "data",
        "-o",
        tmp_path / "m.safetensors",
        "--minutes",
        "0.01",
        *TINY_RUN,
        "--resume",
        tmp_path / "x.ckpt",
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "x.ckpt" in error_lines(result)[0]
    )
    result = call("export", tmp_path / "x.ckpt", "-o", tmp_path / "e.safetensors")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "x.ckpt" in error_lines(result)[0]
        and "e.safetensors" not in names(tmp_path)
    )


def test_train_into_a_missing_folder(tmp_path, photograph):
    """-o into a folder that is not there: an error without traceback."""
    save(photograph(24, 24), tmp_path / "p.png")
    result = call(
        "train",
        tmp_path,
        "-o",
        tmp_path / "nowhere" / "m.safetensors",
        "--minutes",
        "0.01",
        *TINY_RUN,
    )
    assert result.exit_code == 1 and "nowhere" in result.stderr


# --- real processes --------------------------------------------------------------------------


def test_launchers(folder, photograph):
    """python cli.py in the checkout and python -m bitsback elsewhere, as real processes; no
    traceback.
    """
    make_bad("text", folder / "bad.png", photograph)
    process = python(
        "cli.py", "compress", folder / "a.png", folder / "bad.png", folder / "b.png", cwd=ROOT
    )
    out, err = process.communicate()
    assert process.returncode == 1 and len(out.splitlines()) == 2
    assert len(err.splitlines()) == 1 and "bad.png" in err
    before = load(folder / "a.png")
    (folder / "a.png").unlink()
    process = python("-m", "bitsback", "decompress", "a.bbk", cwd=folder)
    out, err = process.communicate()
    assert (
        process.returncode == 0
        and not err
        and out.startswith("a.bbk -> a.png")
        and np.array_equal(load(folder / "a.png"), before)
    )


def test_usage_errors_of_a_real_process(folder):
    """Exit 2 and usage on stderr there too."""
    process = python("-m", "bitsback", "compress", "a.png", "b.png", "-o", "x.bbk", cwd=folder)
    out, err = process.communicate()
    assert process.returncode == 2 and not out and "Usage:" in err and "Traceback" not in err


def test_a_closed_pipe_is_quiet(folder):
    """`bitsback info ... | head -0`: exit 1 without a traceback."""
    call("compress", folder / "a.png")
    reader, writer = os.pipe()
    os.close(reader)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-m", "bitsback", "info", *["a.bbk"] * 2000],
        cwd=folder,
        env=env,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert process.returncode == 1 and not process.stderr


INTERRUPTED = """
import os, signal, sys
from bitsback import whole
from bitsback.codecs import encoder
where, number = sys.argv.pop(1), int(sys.argv.pop(1))
write_all, wrote = whole.write_all, []

def interrupted(stream, data):
    write_all(stream, data[:len(data) // 2])
    wrote.append(sum(name.endswith(".part") for name in os.listdir(".")))
    assert wrote == [where == "writing a named file"]
    os.kill(os.getpid(), number)
    write_all(stream, data[len(data) // 2:])

def encode(image, **options):
    os.kill(os.getpid(), number)
    return b""

if where == "coding":
    encoder.encode_image = encode
else:
    whole.write_all = interrupted
if where == "writing a named file":
    whole._unnamed = lambda *_: False
from bitsback.cli.main import run
run()
"""


@pytest.mark.parametrize(
    "number, status",
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "where", ["coding", "writing a named file", pytest.param("writing", marks=unnamed)]
)
def test_an_interrupt_leaves_nothing(folder, where, number, status):
    """Ctrl-C and what ends a process from outside, while coding, and while the temporary file is
    half-written: no part of an output, later inputs not begun.
    """
    process = python(
        "-c", INTERRUPTED, where, int(number), "compress", "a.png", "b.png", cwd=folder
    )
    out, err = process.communicate()
    assert process.returncode == status and "Traceback" not in err and not out
    assert names(folder) == ["a.png", "b.png"]


def children(process):
    """Processes that a process has started, where /proc tells."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    "number, status, said",
    [
        (signal.SIGINT, 130, "bitsback: interrupted\n"),
        pytest.param(signal.SIGTERM, 143, "", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, "", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_ends_two_jobs(tmp_path, photograph, tiny_model, number, status, said):
    """Ctrl-C at a terminal, which all processes receive, and a signal to the parent alone: all end
    at once, without output or files.
    """
    for name in "ab":
        save(photograph(768, 768), tmp_path / f"{name}.png")
    process = python(
        "-m",
        "bitsback",
        "compress",
        "a.png",
        "b.png",
        "-j",
        "2",
        "--model",
        tiny_model.path,
        cwd=tmp_path,
        start_new_session=True,
    )
    workers = []
    while len(workers) < 3 and process.poll() is None:  # with multiprocessing's own
        workers = children(process.pid)
        time.sleep(0.05)
    while not all("torch" in Path(f"/proc/{worker}/maps").read_text() for worker in workers[1:]):
        time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=30)  # until nobody holds its pipes
    assert (
        process.returncode == status
        and not out
        and (
            err == said
            or number == signal.SIGKILL
            and "semaphore" in err
            and "Traceback" not in err
        )
    )
    assert names(tmp_path) == ["a.png", "b.png"]


def test_nohup_is_respected(folder):
    """A process that was started to live on ignores its terminal's end."""
    code = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from bitsback.cli import process
process.prepare_process()
print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    out, _ = python("-c", code, cwd=folder).communicate()
    assert out == "True\n"


def test_a_name_in_a_usage_error(folder):
    """A file name that looks like an option and has an escape sequence: exit 2, and it is
    escaped.
    """
    process = python("-m", "bitsback", "compress", "--\x1b[31m.png", cwd=folder)
    _, err = process.communicate()
    assert process.returncode == 2 and "\\x1b[31m.png" in err and "\x1b" not in err


def test_a_terminal_without_the_letters_of_a_name(folder, photograph):
    """A name with characters outside standard output's encoding is printed escaped, without an
    error.
    """
    save(photograph(9, 11), folder / "\u5199.png")
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "bitsback", "compress", "\u5199.png"],
        cwd=folder,
        env=env,
        capture_output=True,
    )
    assert done.returncode == 0 and b"\\u5199.bbk" in done.stdout and not done.stderr


def test_an_interrupt_at_a_terminal(tmp_path, tiny_model, photograph):
    """At a terminal a bar appears after a second; Ctrl-C then ends the run with 130 and leaves
    nothing.
    """
    save(
        photograph(768, 768), tmp_path / "large.png"
    )  # the last of its segments is most of it, and takes longer than the bar to appear
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "bitsback",
            "compress",
            "--model",
            str(tiny_model.path),
            "large.png",
        ],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=terminal,
        preexec_fn=default_sigint,
    )
    os.close(terminal)
    shown = b""
    while b"%" not in shown:
        shown += os.read(
            control, 1000
        )  # ends with an OSError, and the test with it, if the process ends without a bar
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    os.close(control)
    assert process.returncode == 130 and not out and b"large.png" in shown
    assert names(tmp_path) == ["large.png"]
