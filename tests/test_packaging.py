"""The package: one import name, `bitsback.codecs`, from a checkout, elsewhere, and in a wheel; never a bare `codecs`."""
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROUND_TRIP = """
import codecs, sys
import numpy as np
assert codecs.lookup("utf-8").name == "utf-8", "the standard library's codecs is hidden"
import bitsback.codecs
from bitsback.codecs import decode, encode
assert bitsback.codecs.encode is encode
pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
assert (decode(encode(pixels)) == pixels).all()
print(bitsback.codecs.__file__)
"""


def python(arguments, cwd, path=None):
    """Runs this Python in `cwd` with PYTHONPATH=path only; returns its standard output."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_from_the_checkout():
    """In the root of a checkout `import bitsback.codecs` works, and `import codecs` is still the standard library's."""
    assert python(["-c", ROUND_TRIP], ROOT).strip().startswith(str(ROOT / "bitsback"))


def test_import_from_elsewhere(tmp_path):
    """With the checkout on PYTHONPATH, from another folder, too."""
    assert python(["-c", ROUND_TRIP], tmp_path, ROOT).strip().startswith(str(ROOT / "bitsback"))


def test_the_link_is_relative_and_inside():
    """bitsback/codecs is a relative link to codecs/, so a checkout can be moved and archived."""
    link = ROOT / "bitsback" / "codecs"
    assert link.is_symlink() and os.readlink(link) == os.path.join("..", "codecs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the checkout, without network and without build isolation."""
    for tool in ("setuptools", "pip"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed: no wheel can be built here")
    source, folder = tmp_path_factory.mktemp("source") / "bitsback", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "tests", "results", "build", "*.egg-info", "__pycache__"))
    python(["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-w", str(folder), str(source)],
           folder)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_holds_the_package_and_nothing_at_the_top(wheel):
    """bitsback/codecs as real files, the shipped models, the command; no top-level codecs, cli, tests or benchmarks."""
    names = zipfile.ZipFile(wheel).namelist()
    modules = {f"bitsback/{path.name}" for path in (ROOT / "bitsback").glob("*.py")}
    modules |= {f"bitsback/codecs/{path.name}" for path in (ROOT / "codecs").glob("*.py")}
    shipped = {f"bitsback/models/{path.name}" for path in (ROOT / "bitsback" / "models").glob("*.safetensors")}
    assert "bitsback/codecs/__init__.py" in modules and modules | shipped <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bitsback"}
    (entry,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "bitsback = bitsback.commands:run" in zipfile.ZipFile(wheel).read(entry).decode()


def test_a_wheel_works_unpacked(wheel, tmp_path):
    """Its import, its round trip and its command run away from the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert python(["-c", ROUND_TRIP], tmp_path, tmp_path / "site").strip().startswith(str(tmp_path / "site"))
    assert "compress" in python(["-m", "bitsback", "--help"], tmp_path, tmp_path / "site")
