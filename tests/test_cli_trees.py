"""The commands on folders: trees, removal, times, permissions, metadata."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode
from tests.commands import (
    call,
    error_lines,
    load,
    names,
    save,
)


@pytest.fixture
def tree(tmp_path, photograph):
    """in/a.png, in/sub/b.png, in/sub/deep/c.tif and a text file."""
    for i, name in enumerate(("a.png", "sub/b.png", "sub/deep/c.tif")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(photograph(9 + i, 11, i), tmp_path / "in" / name)
    (tmp_path / "in/sub/notes.txt").write_text("not an image")
    return tmp_path


def test_a_tree_there_and_back(tree):
    """-r takes the images below a folder and no other files; --dir keeps the sub-folders, both
    ways.
    """
    result = call("compress", "-j", 1, "-r", tree / "in", "--dir", tree / "packed")
    assert (
        result.exit_code == 0
        and not result.stderr
        and names(tree / "packed") == ["a.bbk", "sub/b.bbk", "sub/deep/c.bbk"]
    )
    assert call("test", "-r", tree / "packed").stdout.count("checksums match") == 3
    assert len(call("info", "-r", "--json", tree / "packed").stdout.splitlines()) == 3
    assert call("decompress", "-j", 1, "-r", tree / "packed", "--dir", tree / "out").exit_code == 0
    assert names(tree / "out") == ["a.png", "sub/b.png", "sub/deep/c.png"]
    assert all(
        np.array_equal(load(tree / "out" / f"{n}.png"), load(next((tree / "in").glob(f"{n}.*"))))
        for n in ("a", "sub/b", "sub/deep/c")
    )


def test_recursion_beside_the_sources_and_without_any(tree):
    """Without --dir outputs lie beside their inputs; a folder without images, or without -r, is one
    line and exit 1.
    """
    assert (
        call("compress", "-j", 1, "-r", tree / "in").exit_code == 0
        and (tree / "in/sub/deep/c.bbk").exists()
    )
    (tree / "empty").mkdir()
    for arguments in (["-r", tree / "empty"], [tree / "in"]):
        result = call("compress", *arguments)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and str(arguments[-1]) in error_lines(result)[0]
        )


def test_removal_after_verification(tree):
    """--rm removes inputs once their outputs are there; a refused one stays."""
    (tree / "in/bad.png").write_text("hello")
    result = call("compress", "--rm", "-j", 1, "-r", tree / "in")
    assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert names(tree / "in") == [
        "a.bbk",
        "bad.png",
        "sub/b.bbk",
        "sub/deep/c.bbk",
        "sub/notes.txt",
    ]
    assert (
        call("decompress", "--rm", tree / "in/a.bbk").exit_code == 0
        and names(tree / "in")[0] == "a.png"
    )


def test_nothing_is_removed_that_is_not_whole(folder, monkeypatch):
    """If verification fails, or the written file is not what was written, the input stays."""
    from bitsback.codecs import decoder
    from bitsback.codecs.io import delivery

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "_is_held", lambda image, given: False)
        result = call("compress", "--rm", folder / "a.png")
        assert (
            result.exit_code == 1
            and "a.png" in error_lines(result)[0]
            and "another image" in error_lines(result)[0]
            and names(folder) == ["a.png", "b.png"]
        )
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "deliver", lambda data, target, *_: target.write_bytes(data[:-1]))
        result = call("compress", "--rm", folder / "a.png")
        assert (
            result.exit_code == 1
            and "is kept" in error_lines(result)[0]
            and (folder / "a.png").exists()
        )


def test_removal_of_an_archives_images(tree):
    """--archive --rm removes the images, not other files; decompress --rm the archive."""
    assert call(
        "compress", "--archive", tree / "all.bbk", "--rm", tree / "in"
    ).exit_code == 0 and names(tree) == ["all.bbk", "in/sub/notes.txt"]
    assert call("decompress", "--rm", tree / "all.bbk", "--dir", tree / "in").exit_code == 0
    assert names(tree) == ["in/a.png", "in/sub/b.png", "in/sub/deep/c.tif", "in/sub/notes.txt"]


def test_removal_of_links_and_what_they_lead_to(tree, monkeypatch):
    """Both are inputs of one archive: the link goes first.  One that cannot be removed is named."""
    folder = tree / "in"
    linked = sorted(folder.rglob("*.png"))[0]
    (folder / "zz.png").symlink_to(linked)
    result = call("compress", "--archive", tree / "all.bbk", "--rm", folder, "-e", "fast")
    assert result.exit_code == 0 and names(folder) == ["sub/notes.txt"], result.output
    assert call("decompress", tree / "all.bbk", "--dir", tree / "back").exit_code == 0
    assert names(tree / "back") == ["a.png", "sub/b.png", "sub/deep/c.tif", "zz.png"]
    unlink = os.unlink

    def refuse(path, *arguments, **options):
        if Path(path).name == "zz.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    result = call("compress", "--archive", tree / "b.bbk", "--rm", tree / "back", "-e", "fast")
    (line,) = error_lines(result)
    assert result.exit_code == 1 and f"{tree}/back/zz.png: Permission denied; the output" in line
    assert names(tree / "back") == ["zz.png"] and (tree / "b.bbk").exists()


@pytest.mark.parametrize("arguments", [["--no-verify"], ["-k"], ["--allow-lossy-source"]])
def test_removal_that_would_lose_something(folder, arguments):
    """--rm without verification, with --keep or of lossy sources is a usage error."""
    assert call("compress", "--rm", *arguments, folder / "a.png").exit_code == 2 and names(
        folder
    ) == ["a.png", "b.png"]


def test_times_and_permissions(folder):
    """The modification time and permissions of the input are those of the output, both ways."""
    (folder / "a.png").chmod(0o640)
    os.utime(folder / "a.png", ns=(10**18, 10**18 + 123456789))
    assert (
        call("compress", folder / "a.png").exit_code == 0
        and call("decompress", folder / "a.bbk", "--dir", folder / "out").exit_code == 0
    )
    for path in (folder / "a.bbk", folder / "out/a.png"):
        assert (
            path.stat().st_mtime_ns == 10**18 + 123456789 and path.stat().st_mode & 0o777 == 0o640
        )


def test_metadata_from_the_command_line(folder):
    """Kept and listed by info; --strip leaves it out; a format that does not hold it is reported on
    stderr (not with -q), and --rm then keeps the input.
    """
    Image.open(folder / "a.png").save(
        folder / "m.png",
        dpi=(72, 72),
        icc_profile=b"a profile",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
    )
    assert call("compress", folder / "m.png").exit_code == 0
    assert json.loads(call("info", "--json", folder / "m.bbk").stdout)["metadata"] == [
        "icc",
        "exif",
        "dpi",
    ]
    assert call("decompress", "-f", folder / "m.bbk").exit_code == 0
    assert Image.open(folder / "m.png").info["icc_profile"] == b"a profile"
    result = call("decompress", "--rm", folder / "m.bbk", "-o", folder / "m.bmp")
    assert result.exit_code == 1 and (folder / "m.bbk").exists()
    line, kept = error_lines(result)
    assert "m.bmp" in line and "icc, exif" in line and "m.bbk: is kept" in kept
    assert not call("decompress", "-f", "-q", folder / "m.bbk", "-o", folder / "m.bmp").stderr
    assert call("compress", "-f", "--strip", folder / "m.png").exit_code == 0
    assert "none" in next(
        line
        for line in call("info", folder / "m.bbk").stdout.splitlines()
        if line.startswith("metadata")
    )
    assert np.array_equal(decode((folder / "m.bbk").read_bytes()), load(folder / "a.png"))


def test_lossy_sources(folder):
    """A JPEG is refused with the reason; --allow-lossy-source stores what it shows."""
    save(load(folder / "a.png"), folder / "j.jpg")
    result = call("compress", folder / "j.jpg")
    assert (
        result.exit_code == 1
        and "loss" in error_lines(result)[0]
        and "--allow-lossy-source" in error_lines(result)[0]
    )
    assert call("compress", "--allow-lossy-source", folder / "j.jpg").exit_code == 0
    assert np.array_equal(decode((folder / "j.bbk").read_bytes()), load(folder / "j.jpg"))
