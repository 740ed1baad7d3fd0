"""The promise of version 1: golden files are read for ever, so none of them ever changes.

tests/golden/v1.0/SHA256SUMS was written once, when version 1 began, and nothing rewrites it.  Later
golden files go into folders of their own, with lists of their own: v1.0-1.1 has those of format 1.0
under models that release 1.1 shipped anew, and so on.
"""

import hashlib
import re
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
LISTS = sorted(GOLDEN.glob("v*/SHA256SUMS"))
FIRST = "9366a54d6732e75d93ac1120c8e634a675380bfd6ae75db128ecdc6b674ea289"


def listed(path):
    """{name: hash} of a list as sha256sum writes it."""
    lines = path.read_text(encoding="ascii").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})  (\S+)", line) for line in lines]
    return {match[2]: match[1] for match in found}


def test_version_1_has_its_list():
    """It is the one with which version 1 began."""
    assert LISTS[0].parent.name == "v1.0"
    assert hashlib.sha256(LISTS[0].read_bytes()).hexdigest() == FIRST
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == {
        path.parent.name for path in LISTS
    }


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.parent.name)
def test_golden_files_never_change(path):
    """Every file of the folder is in its list with its hash, and every listed one is there."""
    found = {
        one.relative_to(path.parent).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in path.parent.rglob("*")
        if one.is_file() and one != path
    }
    assert found == listed(path) and found
    assert len(found) > 50 or path != LISTS[0]


def test_nothing_rewrites_the_lists():
    """No program of the repository names a list, but for this test and the documents."""
    root = GOLDEN.parents[1]
    texts = [*root.glob(".ci/*"), *root.rglob("*.py"), *root.rglob("*.sh"), *root.rglob("*.toml")]
    naming = {path.name for path in texts if "SHA256" + "SUMS" in path.read_text(errors="ignore")}
    assert naming <= {Path(__file__).name}
