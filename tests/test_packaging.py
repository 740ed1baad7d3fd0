"""The package `bitsback.codecs`, from a checkout, from elsewhere and in a wheel.

Never a bare `codecs`, which is the standard library's.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

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
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | (
        {"PYTHONPATH": str(path)} if path else {}
    )
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def source_copy(folder: Path) -> Path:
    """A copy of the tree without what git ignores and without large results."""
    ignored = shutil.ignore_patterns(
        ".git", ".carry", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored)
    return folder


def test_import_from_the_checkout():
    """In the root of a checkout, too, `import codecs` is still the standard library's."""
    assert python(["-c", ROUND_TRIP], ROOT).strip() == str(ROOT / "codecs" / "__init__.py")


def test_import_from_elsewhere(tmp_path):
    """With the checkout on PYTHONPATH, from another folder, too."""
    assert python(["-c", ROUND_TRIP], tmp_path, ROOT).strip() == str(
        ROOT / "codecs" / "__init__.py"
    )


def test_no_symbolic_link_in_the_tree():
    """A checkout works where there are none (Windows, archives)."""
    tracked = [
        path
        for folder in ("bitsback", "codecs", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
    ]
    assert tracked and not [path for path in (*tracked, *ROOT.iterdir()) if path.is_symlink()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, sdist) built from a copy of the checkout offline, the wheel from the sdist."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: nothing can be built here")
    source, folder = (
        source_copy(tmp_path_factory.mktemp("source") / "bitsback"),
        tmp_path_factory.mktemp("built"),
    )
    python(["-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], source)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = [path for path in folder.iterdir() if path.is_dir()]
    python(["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], unpacked)
    (wheel,) = folder.glob("*.whl")
    return wheel, unpacked


def modules_of_the_tree():
    """Names of all modules, data and models that a package needs, as in a wheel."""
    files = [
        path
        for folder in ("bitsback", "codecs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".html", ".safetensors", ".typed")
        and "__pycache__" not in path.parts
    ]
    names = {path.relative_to(ROOT).as_posix() for path in files}
    return {f"bitsback/{name}" if name.startswith("codecs/") else name for name in names}


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_nothing_at_the_top(built):
    """bitsback/codecs, the shipped models and the command; no other package at the top."""
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        (entry,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "bitsback = bitsback.cli.main:run" in wheel.read(entry).decode()
    expected = modules_of_the_tree()
    assert (
        "bitsback/codecs/__init__.py" in expected
        and "bitsback/models/default.safetensors" in expected
    )
    assert expected <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"bitsback"}


@pytest.mark.slow
def test_an_sdist_holds_the_whole_tree(built):
    """Everything that a checkout has but .ci: from the archive one can test and measure."""
    unpacked = built[1]
    for folder in ("bitsback", "codecs", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (unpacked / path.relative_to(ROOT)).is_file(), path
    for name in ("cli.py", "README.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml"):
        assert (unpacked / name).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_wheel_and_sdist_work_in_an_environment_of_their_own(built, which, tmp_path):
    """Installed with nothing else of bitsback there: the import, a round trip and the command.

    Of the sdist, which the wheel was made from, the import alone: loops are compiled anew.
    """
    site, package = tmp_path / "site", built[which]
    python(
        [
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--target",
            str(site),
            str(package),
        ],
        tmp_path,
    )
    program = ROUND_TRIP if which == 0 else "import bitsback.codecs as c; print(c.__file__)"
    assert python(["-c", program], tmp_path, site).strip() == str(
        site / "bitsback" / "codecs" / "__init__.py"
    )
    if which:
        return
    shutil.copy(ROOT / "tests" / "images" / "kodim23_crop.png", tmp_path / "a.png")
    python(["-m", "bitsback", "compress", "-e", "1", "a.png"], tmp_path, site)
    python(["-m", "bitsback", "decompress", "a.bbk", "-o", "b.png"], tmp_path, site)
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert before.tobytes() == after.tobytes()


@pytest.mark.slow
def test_the_sdist_passes_a_smoke_test(built):
    """Its own tests run from it: the stack and the golden files."""
    unpacked = built[1]
    done = python(
        ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/test_stack.py"],
        unpacked,
        unpacked,
    )
    assert " passed" in done and not re.search(r"\b[0-9]+ (failed|error)", done)
