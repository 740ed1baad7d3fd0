"""The commands in processes of their own: launchers, pipes, terminals."""

import os
import subprocess
import sys

import numpy as np

from tests.commands import (
    ROOT,
    call,
    load,
    python,
    save,
)


def test_launchers(folder):
    """python cli.py in the checkout and python -m bitsback elsewhere, as real processes; no
    traceback.
    """
    (folder / "bad.png").write_text("not an image")
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
