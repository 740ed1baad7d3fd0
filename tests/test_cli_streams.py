"""The commands on standard streams and pipes."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from bitsback.cli import main as program
from bitsback.cli.messages import ProgressBar
from bitsback.codecs import decode
from tests.commands import (
    ROOT,
    call,
    load,
    names,
)

pty = pytest.importorskip("pty")  # not on Windows


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


def shell(line, cwd):
    """bash's (exit status, lines of stderr, stdout) of a line in which BB is the program."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    line = line.replace("BB", '"$PYTHON" -m bitsback')
    done = subprocess.run(["bash", "-c", line], cwd=cwd, env=env, capture_output=True)
    return done.returncode, done.stderr.decode().splitlines(), done.stdout


def test_a_bar_where_standard_error_is_closed(monkeypatch):
    """It would write into nothing after the first second, and end the command."""
    monkeypatch.setattr(sys, "stderr", None)
    with ProgressBar("x", quiet=False) as bar:
        assert bar.bar.disable


@pytest.mark.slow
def test_standard_streams_that_are_closed(inputs):
    """A command that needs one prints one line, exit 1; others work."""
    assert shell("BB compress a.png -o one.bbk >&- <&-", inputs) == (0, [], b"")
    assert (
        shell("BB compress a.png -o two.bbk 2>&-", inputs)[0] == 0
        and shell("BB compress a.png -o two.bbk 2>&- >&-", inputs)[0] == 1
    )
    assert (inputs / "one.bbk").read_bytes() == (inputs / "two.bbk").read_bytes()
    for line, said in (
        ("BB compress a.png -o - >&-", "standard output: is closed"),
        ("BB decompress a.bbk -o - >&-", "standard output: is closed"),
        ("BB compress - -o new.bbk <&-", "standard input: is closed"),
        ("BB info - <&-", "standard input: is closed"),
    ):
        code, lines, _ = shell(line, inputs)
        assert code == 1 and len(lines) == 1 and said in lines[0], lines
    assert not (inputs / "new.bbk").exists()


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
def test_a_standard_output_that_is_full(inputs, command):
    """One line with the reason, exit 1, and no traceback when Python exits."""
    code, lines, _ = shell(f"BB {command} >/dev/full", inputs)
    assert (
        code == 1
        and len(lines) == 1
        and lines[0].endswith("standard output: No space left on device")
    )


@pytest.mark.parametrize(
    "number, name", [(errno.EMFILE, "this process"), (errno.ENOSPC, "standard output")]
)
def test_an_error_without_a_file(monkeypatch, capsys, number, name):
    """Of a process that cannot start, and of standard output; each is told as what it is."""

    def fail(**options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(program, "main", fail)
    monkeypatch.setattr(program, "exit_program", sys.exit)
    with pytest.raises(SystemExit, match="1"):
        program.run()
    assert capsys.readouterr().err == f"bitsback: {name}: {os.strerror(number)}\n"


@pytest.mark.slow
def test_pipes_as_inputs(inputs):
    """What cannot seek is read whole: a process substitution is an input like any file."""
    assert shell("BB compress <(cat a.png) -o new.bbk", inputs)[:2] == (0, [])
    assert np.array_equal(decode((inputs / "new.bbk").read_bytes()), load(inputs / "a.png"))
    assert (
        shell("BB test <(cat new.bbk)", inputs)[:2]
        == shell("BB info --borders <(cat new.bbk)", inputs)[:2]
        == (0, [])
    )
    assert shell("BB decompress <(cat new.bbk) -o new.png", inputs)[:2] == (
        0,
        [],
    ) and np.array_equal(load(inputs / "new.png"), load(inputs / "a.png"))
    (inputs / "b.png").write_bytes((inputs / "a.png").read_bytes())
    assert shell("BB compress -q -j 2 --dir out <(cat a.png) b.png", inputs)[:2] == (0, [])
    assert len(names(inputs / "out")) == 2  # a pipe is read by this process alone
    assert shell("BB preview <(cat new.bbk) -o look.png", inputs)[:2] == (0, [])
    code, lines, got = shell("BB compress -f -q a.png -o >(cat)", inputs)
    assert (code, lines) == (0, []) and got == (inputs / "new.bbk").read_bytes()


def test_names_in_capitals_and_a_map_of_standard_input(inputs):
    """X.BBK becomes X.png; `map -` reads standard input like other commands."""
    pytest.importorskip("matplotlib")
    (inputs / "a.bbk").rename(inputs / "X.BBK")
    assert call("decompress", "-q", inputs / "X.BBK").exit_code == 0
    assert np.array_equal(load(inputs / "X.png"), load(inputs / "a.png"))
    code, lines, _ = shell("BB map - -q -o map.png < a.png", inputs)
    assert (code, lines) == (0, []) and load(inputs / "map.png").ndim == 3
