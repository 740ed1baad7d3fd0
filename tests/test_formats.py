"""Every file of a collection of image formats is stored exactly or refused with a reason."""

import os
from pathlib import Path

import pytest

from benchmarks.formats import fate, fates_table, files_of
from bitsback.codecs.fallback import webp

HERE = Path(__file__).parent
SMALL = HERE / "images" / "formats"
LARGE = Path(os.environ.get("BITSBACK_DATA") or HERE.parents[1] / "shared" / "data") / "formats"
MODES = {
    "basn0g01": "1",
    "basn0g08": "L",
    "basn3p04": "P",
    "tp1n3p08": "P",
    "basn4a08": "LA",
    "basn6a08": "RGBA",
    "basi6a16": "RGBA;16",
    "basn2c16": "RGB;16",
    "basn4a16": "LA;16",
    "basn0g16": "I;16",
    "tbrn2c08": "RGB",
    "cten0g04": "L",
    "exif2c08": "RGB",
    "ccwn2c08": "RGB",
    "xdtn0g01": "",
    "xc1n0g08": "",
}


@pytest.mark.parametrize("path", files_of(SMALL), ids=lambda path: path.stem)
def test_a_file_of_each_mode(path):
    """Stored in its mode, or refused if it is broken; never larger than the file."""
    mode, what, size = fate(path, path.name)
    assert mode == MODES[path.stem] and (what == "kept") == bool(mode)
    assert size <= path.stat().st_size


def test_all_small_files_are_there():
    """A missing sample file fails the test."""
    assert {path.stem for path in files_of(SMALL)} == set(MODES)


@pytest.mark.slow
@pytest.mark.skipif(
    not LARGE.is_dir(), reason="the folder of formats is not there (set BITSBACK_DATA)"
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_file_of_the_large_collection(monkeypatch):
    """No file of nearly 400 raises another exception or decodes to another image; most are stored.
    (For time, WebP runs at its quick effort only.)
    """
    for effort in ("GOOD", "BEST"):
        monkeypatch.setattr(webp, effort, webp.QUICK)
    fates = [fate(path, path.relative_to(LARGE)) for path in files_of(LARGE)]
    assert len(fates) > 300 and sum(bool(mode) for mode, _, _ in fates) > 0.6 * len(fates)
    assert all(what and "Error" not in what for _, what, _ in fates)


def test_the_table_counts():
    """One row for each folder, mode and reason."""
    assert fates_table(
        [("a", "L", "kept"), ("a", "L", "kept"), ("b", "refused", "x")]
    ).splitlines()[2:] == ["| a | L | kept | 2 |", "| b | refused | x | 1 |"]
