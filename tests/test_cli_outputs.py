"""The commands and files: no output replaced without -f, no input removed that has changed; streams
as outputs and inputs.
"""

import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bitsback import outputs
from bitsback.cli import pool
from bitsback.codecs import archive, decode
from bitsback.codecs.io import files
from bitsback.errors import OutputExists
from tests.commands import ROOT, TINY_RUN, call, error_lines, load, names, save
from tests.test_outputs import read_from

OTHER = b"another's"


@pytest.fixture
def folder(tmp_path, photograph):
    """a.png, its a.bbk, an archive all.bbk of in/b.png, and data/ with an image to train on."""
    save(photograph(9, 11, 1), tmp_path / "a.png")
    for place in ("in", "data"):
        (tmp_path / place).mkdir()
    save(photograph(7, 5, 2), tmp_path / "in" / "b.png")
    save(photograph(24, 24), tmp_path / "data" / "p.png")
    files.compress_file(tmp_path / "a.png", tmp_path / "a.bbk")
    files.compress_archive([tmp_path / "in"], tmp_path / "all.bbk")
    return tmp_path


@pytest.fixture
def checkpoint(folder):
    """start.ckpt, a checkpoint."""
    assert (
        call(
            "train",
            folder / "data",
            "-o",
            folder / "m",
            "--minutes",
            "0.001",
            "--batch",
            8,
            "-q",
            *TINY_RUN,
        ).exit_code
        == 0
    )
    for name in ("m", "m.log.jsonl"):
        (folder / name).unlink()
    return (folder / "m.ckpt").rename(folder / "start.ckpt")


WRITERS = {  # name: (arguments, output)
    "compress": (["compress", "a.png", "-o", "new.bbk"], "new.bbk"),
    "archive": (["compress", "--archive", "new.bbk", "in"], "new.bbk"),
    "decompress": (["decompress", "a.bbk", "-o", "new.png"], "new.png"),
    "unpack": (["decompress", "all.bbk", "--dir", "out"], "out/b.png"),
    "preview": (["preview", "a.bbk", "-o", "new.png"], "new.png"),
    "sample": (
        ["sample", "-o", "new.png", "--count", "1", "--size", "8x8", "--steps", "1"],
        "new.png",
    ),
    "train": (
        ["train", "data", "-o", "new", "--minutes", "0.001", "--batch", "8", *TINY_RUN],
        "new.ckpt",
    ),
    "export": (["export", "start.ckpt", "-o", "new"], "new"),
}


def arguments_of(command, request, folder, monkeypatch, tiny_model):
    """(arguments, output), in the folder that these are about."""
    monkeypatch.chdir(folder)
    if command == "export":
        request.getfixturevalue("checkpoint")
    arguments, output = WRITERS[command]
    return arguments + (["--model", str(tiny_model.path)] if command == "sample" else []), output


def before_writing(monkeypatch, deed):
    """Has `deed` done once when all is computed and written but for the last step."""
    real, done = os.fsync, []

    def fsync(handle):
        if not done:
            done.append(True)
            deed()
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


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


def test_two_processes_with_one_output(tmp_path, photograph):
    """a.png and a.webp at once with --rm: one is done, the other is an error with exit 1 and
    kept.
    """
    images = {"a.png": photograph(40, 40, 1), "a.webp": photograph(30, 50, 2)}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / name, lossless=True)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bitsback", "compress", "--rm", name],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in images
    ]
    ended = {
        name: (process.communicate(), process.returncode) for name, process in zip(images, running)
    }
    assert sorted(code for _, code in ended.values()) == [0, 1], ended
    winner, loser = sorted(ended, key=lambda name: ended[name][1])
    assert "a.bbk: exists" in ended[loser][0][1] and names(tmp_path) == sorted(["a.bbk", loser])
    assert np.array_equal(decode((tmp_path / "a.bbk").read_bytes()), images[winner])


# --- done by others, done twice -----------------------------------------------------------------


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


def test_a_task_that_is_done_twice(folder, photograph):
    """On a cluster: the second run returns the result of the first, but not for an output of
    another image.
    """
    task = pool.Task("compress", str(folder / "a.png"), str(folder / "new.bbk"), repeatable=True)
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


# --- inputs that change -------------------------------------------------------------------------


def change(how, path, photograph):
    """A newer version in the input's place: by rename, as editors do, or written over it."""
    data = path.read_bytes() + b"newer"
    if how == "replaced":
        (path.parent / "newer").write_bytes(data)
        os.replace(path.parent / "newer", path)
    else:
        with open(path, "r+b") as stream:
            stream.write(data[:-1] if how == "same size" else data)
            stream.truncate(path.stat().st_size if how == "same size" else len(data))
    return path.read_bytes()


CHANGES = ["replaced", "written in place", "same size"]


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("command", ["compress", "archive", "decompress", "unpack"])
def test_an_input_that_changes_is_not_removed(
    command, how, request, folder, monkeypatch, tiny_model, photograph
):
    """--rm keeps a file that changed after it was read, with exit 1; the output has the earlier
    version.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    source, newer = (
        folder
        / {"compress": "a.png", "archive": "in/b.png", "decompress": "a.bbk", "unpack": "all.bbk"}[
            command
        ],
        [],
    )
    os.utime(source, ns=(10**18, 10**18))
    before_writing(monkeypatch, lambda: newer.append(change(how, source, photograph)))
    result = call(*arguments, "--rm")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and source.name in error_lines(result)[0]
        and "is kept" in error_lines(result)[0]
    )
    assert [source.read_bytes()] == newer and (folder / output).exists()


def test_one_image_of_an_archive_that_changes(folder, photograph, monkeypatch):
    """It is kept; those that did not change are removed."""
    save(photograph(8, 8, 5), folder / "in" / "c.png")
    before_writing(monkeypatch, lambda: change("replaced", folder / "in/b.png", photograph))
    result = call("compress", "--rm", "--archive", folder / "new.bbk", folder / "in")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "b.png" in error_lines(result)[0]
    )
    assert names(folder / "in") == ["b.png"]


@pytest.mark.parametrize("command", ["compress", "archive", "decompress"])
def test_an_input_that_is_written_while_it_is_read(command, folder, monkeypatch, photograph):
    """Parts of two versions may have been read: exit 1 and no output, without --rm too."""
    source, output = {
        "compress": ("a.png", "new.bbk"),
        "archive": ("in/b.png", "new.bbk"),
        "decompress": ("a.bbk", "new.png"),
    }[command]
    from bitsback import inputs
    from bitsback.codecs.formats import image_files

    real_image, real_read = image_files.read_image, inputs.read_limited

    def read_image(*arguments, **options):
        image = real_image(*arguments, **options)
        change("same size", folder / source, photograph)
        return image

    def read(stream):
        data = real_read(stream)
        change("same size", folder / source, photograph)
        return data

    os.utime(folder / source, ns=(10**18, 10**18))
    monkeypatch.setattr(files, "read_image", read_image)
    monkeypatch.setattr(archive, "read_image", read_image)
    if command == "decompress":
        monkeypatch.setattr(inputs, "read_limited", read)
    monkeypatch.chdir(folder)
    result = call(*WRITERS[command][0])
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "while it was read" in error_lines(result)[0]
    )
    assert not (folder / output).exists()


def test_archives_that_are_not_what_was_written(folder, monkeypatch):
    """decompress --rm of an archive compares what lies on the disk as well."""
    real = outputs.write
    monkeypatch.setattr(
        outputs, "write", lambda data, path, **options: real(data[:-1], path, **options)
    )
    result = call("decompress", "--rm", folder / "all.bbk", "--dir", folder / "out")
    assert (
        result.exit_code == 1
        and "is kept" in error_lines(result)[0]
        and (folder / "all.bbk").exists()
    )


# --- outputs that are no regular files ------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [command for command in WRITERS if command not in ("train", "unpack")]
)
def test_commands_write_into_fifos(command, request, folder, monkeypatch, tiny_model):
    """With -f the reader gets all; the FIFO stays one."""
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.mkfifo(output)
    assert call(*arguments).exit_code == 1
    thread, got = read_from(folder / output)
    result = call(*arguments, "-f")
    if result.exit_code:  # let the reader go
        os.close(os.open(output, os.O_WRONLY))
    thread.join(10)
    assert result.exit_code == 0 and len(got[0]) > 20 and stat.S_ISFIFO(os.stat(output).st_mode)


def test_a_stream_without_a_suffix_gets_what_standard_output_would(folder):
    """decompress into a FIFO of any name: PNG."""
    os.mkfifo(folder / "sink")
    thread, got = read_from(folder / "sink")
    assert call("decompress", "-f", folder / "a.bbk", "-o", folder / "sink").exit_code == 0
    thread.join(10)
    assert got[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("command", [command for command in WRITERS if command != "unpack"])
def test_commands_write_through_links(command, dangling, request, folder, monkeypatch, tiny_model):
    """The link stays, what it leads to is written; not without -f."""
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.mkdir("far")
    os.symlink("far/target", output)
    if not dangling:
        (folder / "far/target").write_bytes(OTHER)
    assert call(*arguments).exit_code == 1 and (folder / "far/target").exists() != dangling
    assert call(*arguments, "-f").exit_code == 0
    assert (
        os.readlink(output) == "far/target"
        and len((folder / "far/target").read_bytes()) > 20
        and names(folder / "far") == ["target"]
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
@pytest.mark.parametrize(
    "command", [command for command in WRITERS if command not in ("train", "unpack")]
)
def test_commands_and_a_device_that_is_full(command, request, folder, monkeypatch, tiny_model):
    """One line with the output's name, exit 1, inputs and device unchanged.  The output is a link,
    so that no device can be replaced.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.symlink("/dev/full", output)
    before = names(folder)
    result = call(*arguments, "-f")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and f"{output}: No space left on device" in error_lines(result)[0]
    )
    assert (
        names(folder) == before
        and os.readlink(output) == "/dev/full"
        and stat.S_ISCHR(os.stat("/dev/full").st_mode)
    )


def test_removal_needs_files_on_both_sides(folder):
    """--rm into what cannot be read again, or of what is no file: refused before any work."""
    (folder / "null").symlink_to(os.devnull)
    os.mkfifo(folder / "fifo.png")
    for arguments in (
        ["a.png", "-f", "-o", folder / "null"],
        ["fifo.png", "-o", folder / "new.bbk"],
    ):
        result = call("compress", "--rm", folder / arguments[0], *arguments[1:])
        assert result.exit_code == 1 and len(error_lines(result)) == 1, error_lines(result)
    assert (
        (folder / "a.png").exists()
        and (folder / "null").is_symlink()
        and (folder / "fifo.png").exists()
        and not (folder / "new.bbk").exists()
    )


def test_an_archive_is_not_unpacked_through_links(folder):
    """Its names are not trusted: a link in the place of an image is refused before any work, with
    -f too.
    """
    (folder / "out").mkdir()
    (folder / "precious").write_bytes(OTHER)
    for target in ("../precious", "../nothing"):
        (folder / "out/b.png").symlink_to(target)
        result = call("decompress", "-f", folder / "all.bbk", "--dir", folder / "out")
        assert result.exit_code == 1 and "out/b.png: is a link" in error_lines(result)[0]
        (folder / "out/b.png").unlink()
    assert (folder / "precious").read_bytes() == OTHER and not (folder / "nothing").exists()


@pytest.mark.parametrize("length", [235, 251, 255])
def test_long_names(folder, length):
    """Up to the file system's limit, there and back."""
    source = (folder / "a.png").rename(folder / ("x" * (length - 4) + ".png"))
    before = load(source)
    assert call("compress", "--rm", "-q", source).exit_code == 0
    assert call(
        "decompress", "--rm", "-q", source.with_suffix(".bbk")
    ).exit_code == 0 and np.array_equal(load(source), before)
    result = call("compress", source, "-o", folder / ("y" * 256))
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "yyy: File name too long" in error_lines(result)[0]
    )


# --- training goes on -----------------------------------------------------------------------------


@pytest.mark.slow
def test_training_overwrites_what_it_goes_on_from(folder, checkpoint):
    """--resume of the output or of its checkpoint replaces both; of another run's does not."""
    arguments = [
        "train",
        folder / "data",
        "-o",
        folder / "m",
        "--minutes",
        "0.001",
        "--batch",
        8,
        "-q",
        *TINY_RUN,
    ]
    assert call(*arguments, "--resume", checkpoint).exit_code == 0
    first = (folder / "m").read_bytes()
    result = call(
        "train", folder / "data", "-o", folder / ("m" * 256), *arguments[4:], "--resume", checkpoint
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "name too long" in error_lines(result)[0]
    )
    result = call(*arguments, "--resume", checkpoint)
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "exists already" in error_lines(result)[0]
        and (folder / "m").read_bytes() == first
    )
    assert call(*arguments, "--resume", folder / "m.ckpt").exit_code == 0
    assert call(*arguments, "--resume", checkpoint, "-f").exit_code == 0
    (folder / "m.ckpt").unlink()
    shutil.copy(folder / "m", folder / "m.safetensors")
    assert (
        call(
            "train",
            folder / "data",
            "-o",
            folder / "m.safetensors",
            *arguments[4:],
            "--resume",
            folder / "m.safetensors",
        ).exit_code
        == 0
    )


# --- standard streams and pipes -------------------------------------------------------------------


def shell(line, cwd):
    """bash's (exit status, lines of stderr, stdout) of a line in which BB is the program."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    line = line.replace("BB", '"$PYTHON" -m bitsback')
    done = subprocess.run(["bash", "-c", line], cwd=cwd, env=env, capture_output=True)
    return done.returncode, done.stderr.decode().splitlines(), done.stdout


@pytest.mark.slow
def test_standard_streams_that_are_closed(folder):
    """A command that needs one prints one line, exit 1; others work."""
    assert shell("BB compress a.png -o one.bbk >&- <&-", folder) == (0, [], b"")
    assert (
        shell("BB compress a.png -o two.bbk 2>&-", folder)[0] == 0
        and shell("BB compress a.png -o two.bbk 2>&- >&-", folder)[0] == 1
    )
    assert (folder / "one.bbk").read_bytes() == (folder / "two.bbk").read_bytes()
    for line, said in (
        ("BB compress a.png -o - >&-", "standard output: is closed"),
        ("BB decompress a.bbk -o - >&-", "standard output: is closed"),
        ("BB compress - -o new.bbk <&-", "standard input: is closed"),
        ("BB info - <&-", "standard input: is closed"),
    ):
        code, lines, _ = shell(line, folder)
        assert code == 1 and len(lines) == 1 and said in lines[0], lines
    assert not (folder / "new.bbk").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
@pytest.mark.parametrize(
    "command",
    [
        "compress a.png -o -",
        "compress a.png -o new.bbk",
        "info a.bbk",
        "test --json a.bbk",
        "models",
        "--help",
    ],
)
def test_a_standard_output_that_is_full(folder, command):
    """One line with the reason, exit 1, and no traceback when Python exits."""
    code, lines, _ = shell(f"BB {command} >/dev/full", folder)
    assert (
        code == 1
        and len(lines) == 1
        and lines[0].endswith("standard output: No space left on device")
    )


@pytest.mark.slow
def test_pipes_as_inputs(folder):
    """What cannot seek is read whole: a process substitution is an input like any file."""
    assert shell("BB compress <(cat a.png) -o new.bbk", folder)[:2] == (0, [])
    assert np.array_equal(decode((folder / "new.bbk").read_bytes()), load(folder / "a.png"))
    assert (
        shell("BB test <(cat new.bbk)", folder)[:2]
        == shell("BB info --borders <(cat new.bbk)", folder)[:2]
        == (0, [])
    )
    assert shell("BB decompress <(cat new.bbk) -o new.png", folder)[:2] == (
        0,
        [],
    ) and np.array_equal(load(folder / "new.png"), load(folder / "a.png"))
    assert shell("BB preview <(cat new.bbk) -o look.png", folder)[:2] == (0, [])
    code, lines, got = shell("BB compress -f -q a.png -o >(cat)", folder)
    assert (code, lines) == (0, []) and got == (folder / "new.bbk").read_bytes()
