"""waiting.py and what else the program does to its own process: OpenMP is set up in time, modules
that a command does not need are not loaded, and the library changes nothing.
"""

import json
import os
import subprocess
import sys

import pytest

from bitsback.cli.waiting import SPINS, VARIABLES, limit_spinning, wait_settings
from tests.commands import ROOT, save


def run(*arguments, **environment):
    """Runs Python on this checkout, without OpenMP variables but those in `environment`."""
    env = (
        {name: value for name, value in os.environ.items() if name not in VARIABLES}
        | {"PYTHONPATH": str(ROOT)}
        | environment
    )
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    "user", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "1"}]
)
def test_what_the_user_asks_for_has_the_last_word(user):
    environment = dict(user)
    assert limit_spinning(environment) == (not user)
    assert environment == (user or {"GOMP_SPINCOUNT": str(SPINS)}) and wait_settings(
        environment
    ) == [f"{name}={value}" for name, value in environment.items()]


@pytest.mark.parametrize(
    "program", [["-m", "bitsback"], pytest.param(["cli.py"], marks=pytest.mark.slow)]
)
def test_the_program_asks_before_torch_is_loaded(tmp_path, photograph, tiny_model, program):
    """-v prints the setting, and so does the OpenMP library itself if it is GNU's."""
    source = save(photograph(9, 11), tmp_path / "a.png")
    done = run(
        *program,
        "compress",
        "-v",
        "-f",
        source,
        "--model",
        tiny_model.path,
        OMP_DISPLAY_ENV="verbose",
    )
    assert f"thread(s), GOMP_SPINCOUNT={SPINS}" in done.stderr
    if "GOMP_SPINCOUNT = " not in done.stderr:
        pytest.skip("torch has another OpenMP here")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr
    done = run(
        *program,
        "compress",
        "-v",
        "-f",
        source,
        "--model",
        tiny_model.path,
        OMP_DISPLAY_ENV="verbose",
        OMP_WAIT_POLICY="passive",
    )
    assert (
        "thread(s), OMP_WAIT_POLICY=passive" in done.stderr
        and f"GOMP_SPINCOUNT = '{SPINS}'" not in done.stderr
    )


def test_processes_of_many_ask_too():
    """Also those of a library's user, whose own process does not change."""
    code = """
import os
from bitsback.cli import pool
with pool.processes(1) as executor:
    print(executor.submit(os.getenv, "GOMP_SPINCOUNT").result(), os.getenv("GOMP_SPINCOUNT"))
"""
    assert run("-c", code).stdout.split() == [str(SPINS), "None"]


def test_the_library_changes_nothing():
    """Importing all of it leaves environment, signals and torch's threads alone."""
    code = """
import os, signal
import torch

def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    return dict(os.environ), handlers, torch.get_num_threads()

before = state()
import bitsback.cli.main, bitsback.cli.pool, bitsback.codecs.io.files
import bitsback.plugins.pillow, bitsback.train.loop
assert before == state()
"""
    run("-c", code)


LOADS = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
from bitsback.cli.main import main
main(sys.argv[1:])
"""


def test_info_loads_no_torch(tmp_path, photograph):
    """It reads a header only: loading torch would take ten times as long."""
    from bitsback.codecs import encode

    (tmp_path / "a.bbk").write_bytes(encode(photograph(9, 11)))
    facts, loaded = run("-c", LOADS, "info", "--json", tmp_path / "a.bbk").stdout.splitlines()
    assert json.loads(facts)["width"] == 11 and loaded == "False"


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["sample", "--help"]])
def test_help_loads_no_torch(arguments):
    assert run("-c", LOADS, *arguments).stdout.splitlines()[-1] == "False"
