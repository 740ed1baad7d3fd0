"""Running the command line in tests, in this process and in one of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from bitsback.cli.main import main
from tests.conftest import TINY

ROOT = Path(__file__).resolve().parents[1]
SIZES = ",".join(str(TINY.as_dict()[name]) for name in ("c1", "n1", "c2", "n2", "c3", "n3"))
TINY_RUN = ["--device", "cpu", "--network", SIZES, "--patch", "16"]  # options of `train`


def call(*arguments):
    """Runs a command in this process: click's result, whose stdout and stderr are apart."""
    try:
        runner = CliRunner(mix_stderr=False)  # click 8.1
    except TypeError:
        runner = CliRunner()
    result = runner.invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def error_lines(result):
    """The lines of standard error."""
    return result.stderr.strip().splitlines()


def default_sigint():
    """Restores signals in a child: a suite in the background, as by nohup, ignores some."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def python(*arguments, cwd=None, **options):
    """Starts a Python process with this checkout on its path."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=default_sigint,
        **options,
    )


def names(folder):
    """Relative paths of all files below a folder, sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def save(pixels, path):
    Image.fromarray(pixels).save(path)
    return path


def load(path):
    return np.array(Image.open(path))
