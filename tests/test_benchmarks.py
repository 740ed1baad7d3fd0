"""Every benchmark can be imported and says how it is called: what a renamed function would break first."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = sorted(
    path.stem
    for path in (Path(__file__).parent.parent / "benchmarks").glob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("name", MODULES)
def test_imports(name):
    try:
        assert importlib.import_module(f"benchmarks.{name}").__doc__
    except ModuleNotFoundError as error:
        if error.name not in ("imagecodecs", "matplotlib"):  # of the extra [bench]
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("name", ["ablation", "heads", "speed"])
def test_help(name):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0 and "usage" in done.stdout
