"""Runs with --rm that were interrupted: the next one takes what is there, and nothing else."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.commands import call, error_lines, names


@pytest.fixture
def tree(tmp_path, photograph):
    """in/a.png and in/b.png."""
    (tmp_path / "in").mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(photograph(8, 9, i)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_an_archive_is_not_replaced_by_the_rest_of_its_images(tree, opened_model, force):
    """Killed while inputs were removed: the same command, with -f too, removes the others."""
    shutil.copytree(tree / "in", tree / "copy", copy_function=shutil.copy2)
    arguments = ["compress", "--rm", "--archive", tree / "all.bbk", tree / "in", *force]
    assert call(*arguments).exit_code == 0
    before = (tree / "all.bbk").read_bytes()
    shutil.copy2(tree / "copy/b.png", tree / "in/b.png")
    assert call(*arguments).exit_code == 0
    assert (tree / "all.bbk").read_bytes() == before and names(tree / "in") == []
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tree / "in/b.png")
    result = call(*arguments)
    assert result.exit_code == (0 if force else 1) and ((tree / "in/b.png").exists() != bool(force))


def test_an_image_in_an_archive_with_another_time_is_another(tree, opened_model):
    """An input that was touched since is not the one that the archive keeps."""
    arguments = ["compress", "--rm", "--archive", tree / "all.bbk", tree / "in"]
    assert call(*(word for word in arguments if word != "--rm")).exit_code == 0
    os.utime(tree / "in/a.png", (1, 1))
    result = call(*arguments)
    assert result.exit_code == 1 and "all.bbk: exists" in error_lines(result)[0]
    assert names(tree / "in") == ["a.png", "b.png"]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_output_of_another_image_is_refused(tree, opened_model, jobs):
    """--rm takes nothing for its own that is not; without --rm nothing is looked into."""
    assert call("compress", tree / "in/a.png", "-o", tree / "in/b.bbk").exit_code == 0
    assert call("compress", tree / "in/a.png").exit_code == 0
    result = call("compress", "--rm", "-r", "-q", tree / "in", "-j", jobs)
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert "b.bbk: exists already" in error_lines(result)[0] and "-f" in error_lines(result)[0]
    assert names(tree / "in") == ["a.bbk", "b.bbk", "b.png"]
    result = call("decompress", "--rm", "-r", "-q", tree / "in", "-j", jobs)  # b.bbk holds a
    assert result.exit_code == 1 and "b.png: exists already" in error_lines(result)[0]
    assert names(tree / "in") == ["a.png", "b.bbk", "b.png"]


def test_an_archive_beside_another_image(tree, opened_model):
    """decompress --rm: a file that is none of the archive's is refused before anything is done."""
    for name in "ab":
        assert call("compress", "--archive", tree / f"{name}.bbk", tree / "in").exit_code == 0
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tree / "in/b.png")
    (tree / "in/a.png").unlink()
    result = call("decompress", "--rm", tree / "a.bbk", "--dir", tree / "in")
    assert result.exit_code == 1 and "b.png: exists already" in error_lines(result)[0]
    assert names(tree) == ["a.bbk", "b.bbk", "in/b.png"]


@pytest.mark.parametrize("force", [[], ["-f"]])
@pytest.mark.parametrize("gone", [["a.png"], ["a.tiff"], ["a.png", "a.tiff"], []])
def test_images_of_one_stem(tmp_path, photograph, opened_model, gone, force):
    """Killed after one of them was removed, or its output written: the other does not take the
    name of the first one's output, nor overwrite it.
    """
    folder, whole = tmp_path / "in", tmp_path / "whole"
    folder.mkdir()
    for i, name in enumerate(("a.png", "a.tiff", "a.webp")):
        Image.fromarray(photograph(8, 9, i)).save(folder / name, lossless=True)
    shutil.copytree(folder, whole, copy_function=shutil.copy2)
    assert call("compress", "--rm", "-r", "-q", folder, "-j", 1).exit_code == 0
    outputs = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(outputs) == ["a.bbk", "a.tiff.bbk", "a.webp.bbk"]
    for name in ("a.png", "a.tiff", "a.webp"):
        if name not in gone:
            shutil.copy2(whole / name, folder / name)
    assert call("compress", "--rm", "-r", "-q", folder, "-j", 1, *force).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == outputs
