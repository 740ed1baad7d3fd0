"""The commands when they are interrupted or killed: no half of an output stays."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import (
    ROOT,
    default_sigint,
    names,
    python,
    save,
)
from tests.test_outputs import unnamed

fcntl = pytest.importorskip("fcntl")  # not on Windows
pty = pytest.importorskip("pty")  # not on Windows
termios = pytest.importorskip("termios")  # not on Windows

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
    "where, number, status",
    [
        ("coding", signal.SIGINT, 130),
        pytest.param("coding", signal.SIGTERM, 143, marks=pytest.mark.slow),
        ("writing a named file", signal.SIGINT, 130),
        pytest.param("writing a named file", signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param("writing", signal.SIGINT, 130, marks=unnamed),
    ],
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


COMPILING = """
import os, sys, time
from bitsback.cli import main

def act():
    os.kill(os.getpid(), int(sys.argv[1]))
    print("compiled", flush=True)

def command(**_):
    place["compile"]()
    time.sleep(20)
    print("went on")

place = {"__name__": "numba.core.compiler", "act": act}
exec("def compile(): act()", place)
main.main = command
main.run()
"""


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_of_a_compiler_comes_later(tmp_path, number, status):
    """Within numba, whose callbacks from C drop exceptions or end the process by a fault."""
    process = python("-c", COMPILING, int(number), cwd=tmp_path)
    out, _ = process.communicate()
    assert process.returncode == status and out == "compiled\n"


def children(process):
    """Processes that a process has started, where /proc tells."""
    return Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()


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
    while not all(
        "torch" in Path(f"/proc/{worker}/maps").read_text("utf-8") for worker in workers[1:]
    ):
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
