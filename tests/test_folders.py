"""folders.py: every file below a folder is processed or reported."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bitsback.codecs import archive
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.bitstream.names import is_name
from bitsback.codecs.io import folders
from bitsback.errors import DamagedFile, UnsupportedImage
from tests.commands import call, error_lines, load, names, save

NOBODY = 65534


@pytest.fixture
def locked(photograph):
    """A folder with a.png and locked/b.png, of which the second cannot be listed; root becomes
    another user meanwhile.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "locked").mkdir()
        save(photograph(9, 11, 1), folder / "a.png")
        save(photograph(7, 5, 2), folder / "locked/b.png")
        root = os.geteuid() == 0
        for path in (folder, *folder.rglob("*")) if root else ():
            os.chown(path, NOBODY, NOBODY)
        (folder / "locked").chmod(0)
        if root:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            (folder / "locked").chmod(0o700)


def test_an_unreadable_folder_is_reported_and_the_rest_is_done(locked, photograph):
    """compress, info, test and decompress with -r: exit status 1 and one line that names it; the
    rest is done.
    """
    for command, made in (
        ("compress", "a.bbk"),
        ("info", None),
        ("test", None),
        ("decompress", "a.png"),
    ):
        if made:
            (locked / made).unlink(missing_ok=True)
        result = call(command, "-r", locked)
        assert result.exit_code == 1 and (not made or (locked / made).exists())
        assert (
            error_lines(result) == [f"bitsback: {locked / 'locked'}: Permission denied"]
            and "a.bbk" in result.stdout
        )
    result = call("compress", "-r", locked, "-f", "--json")
    assert [
        line["source"] for line in map(json.loads, result.stdout.splitlines()) if "error" in line
    ] == [str(locked / "locked")]


@pytest.mark.slow
def test_an_unreadable_folder_and_two_jobs(tmp_path, photograph, monkeypatch):
    """The same with -j, in both directions, for a failing disk."""
    real = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: real(path if "bad" not in str(path) else "/nowhere")
    )
    (tmp_path / "in/bad").mkdir(parents=True)
    for name in "ab":
        save(photograph(9, 11), tmp_path / f"in/{name}.png")
    for command, source, made in (
        ("compress", "in", ["a.bbk", "b.bbk"]),
        ("decompress", "in", ["a.png", "b.png"]),
    ):
        result = call(command, "-r", tmp_path / source, "--dir", tmp_path / command, "-j", "2")
        assert result.exit_code == 1 and names(tmp_path / command) == made
        assert (
            len(error_lines(result)) == 1
            and "in/bad: /nowhere: No such file" in error_lines(result)[0]
        )
        for name in made:
            (tmp_path / command / name).rename(tmp_path / "in" / name)


def test_no_archive_without_an_unreadable_folder(locked):
    """--archive: exit status 1, a line that names the folder, no archive; with --rm all inputs are
    kept.
    """
    result = call("compress", "--archive", locked / "all.bbk", "--rm", locked)
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "locked: Permission denied" in error_lines(result)[0]
    )
    assert not (locked / "all.bbk").exists() and (locked / "a.png").exists()


def test_a_source_in_an_unreadable_folder(locked):
    """A path below it as argument of each command: one line, not a traceback."""
    for arguments in ([], ["-r"], ["--archive", locked / "all.bbk"]):
        result = call("compress", locked / "locked/b.png", *arguments)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and "locked/b." in error_lines(result)[0]  # the input, or where its output would be
            and error_lines(result)[0].endswith("Permission denied")
        )


def test_links(tmp_path, photograph):
    """Links to files are followed, links to folders are not, loops end; names that lead to no file
    are reported once each.
    """
    (tmp_path / "in/sub").mkdir(parents=True)
    save(photograph(9, 11), tmp_path / "in/sub/a.png")
    for name, target in (
        ("in/b.png", "sub/a.png"),
        ("in/sub/up", ".."),
        ("in/other.png", "sub"),
        ("in/gone.png", "nowhere"),
        ("in/loop.png", "loop.png"),
        ("in/gone.txt", "nowhere"),
    ):
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "in/pipe.png")
    found, failures = folders.files_below(tmp_path / "in", {".png"})
    assert found == [tmp_path / "in/b.png", tmp_path / "in/sub/a.png"]
    assert sorted(path.name for path, _ in failures) == ["gone.png", "loop.png", "pipe.png"]
    result = call("compress", "-r", tmp_path / "in", "-j", "1", "--dir", tmp_path / "out")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 3
        and names(tmp_path / "out") == ["b.bbk", "sub/a.bbk"]
    )
    with pytest.raises(UnsupportedImage, match="nothing is left out"):
        archive.collect([tmp_path / "in"])


def test_a_file_and_a_folder_that_vanish(tmp_path, photograph, monkeypatch):
    """If they vanish after being listed, they are reported, and the rest is found."""
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(photograph(9, 11), tmp_path / name)
    real = os.stat

    def stat(path, *arguments, **options):
        if str(path).endswith("a.png"):
            (tmp_path / "a.png").unlink()
            (tmp_path / "sub/c.png").unlink()
            (tmp_path / "sub").rmdir()
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    found, failures = folders.files_below(tmp_path, {".png"})
    assert found == [tmp_path / "b.png"] and sorted(path.name for path, _ in failures) == [
        "a.png",
        "sub",
    ]


def test_a_folder_without_images_does_not_stop_the_others(tmp_path, photograph):
    """It is reported with exit status 1; if there is nothing else, the run ends with that."""
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    save(photograph(9, 11), tmp_path / "full/a.png")
    result = call("compress", "-r", tmp_path / "empty", tmp_path / "full")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "empty" in error_lines(result)[0]
        and names(tmp_path / "full") == ["a.bbk", "a.png"]
    )
    assert call("compress", "-r", tmp_path / "empty").exit_code == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_lossy_files_below_a_folder_are_skipped(tmp_path, photograph, jobs):
    """-r skips a JPEG, reports how many were skipped, and succeeds; the PNG of the same stem gets
    the short name; as an argument the JPEG is an error.
    """
    for name in ("a.jpg", "a.png", "b.png"):
        save(photograph(24, 24), tmp_path / name)
    result = call("compress", "-r", tmp_path, "-j", jobs, "--rm")
    assert (
        result.exit_code == 0
        and len(error_lines(result)) == 1
        and "1 file compressed with loss already" in error_lines(result)[0]
    )
    assert names(tmp_path) == ["a.bbk", "a.jpg", "b.bbk"]
    (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    assert not error_lines(call("compress", "-r", tmp_path, "-q"))
    (line,) = call("compress", "-r", tmp_path, "--json").stdout.splitlines()
    assert (
        json.loads(line)["source"] == str(tmp_path / "c.jpg")
        and "with loss" in json.loads(line)["left"]
    )
    result = call("compress", tmp_path / "c.jpg")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "c.jpg" in error_lines(result)[0]
    )
    assert call("compress", "-r", tmp_path, "--allow-lossy-source", "-f").exit_code == 0


# --- names -----------------------------------------------------------------------------------


def latin(folder, photograph):
    """An image whose name is not UTF-8, or a skip."""
    try:
        return save(photograph(9, 11), folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")


def test_names_that_are_not_utf8_are_restored_from_an_archive(tmp_path, photograph):
    """Byte for byte, beside a name in UTF-8; info shows both, as text and as JSON, and --rm removes
    both.
    """
    (tmp_path / "in").mkdir()
    pixels = [
        load(latin(tmp_path / "in", photograph)),
        load(save(photograph(8, 9), tmp_path / "in/caf\xe9.png")),
    ]
    before = sorted(os.listdir(os.fsencode(tmp_path / "in")))
    assert call(
        "compress", "--archive", tmp_path / "all.bbk", "--rm", tmp_path / "in"
    ).exit_code == 0 and not names(tmp_path / "in")
    assert json.loads(call("info", "--json", tmp_path / "all.bbk").stdout)["names"] == [
        "caf\xe9.png",
        "caf\udce9.png",
    ]
    assert "caf\\udce9.png" in call("info", tmp_path / "all.bbk").stdout
    assert call("decompress", tmp_path / "all.bbk", "--dir", tmp_path / "in").exit_code == 0
    assert sorted(os.listdir(os.fsencode(tmp_path / "in"))) == before
    for name, expected in zip((b"caf\xe9.png", "caf\xe9.png".encode()), pixels):
        assert np.array_equal(
            load(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)), expected
        )


@pytest.mark.parametrize(
    "jobs, form", [([], []), pytest.param(["-j", "2"], ["--json"], marks=pytest.mark.slow)]
)
def test_names_that_are_not_utf8(tmp_path, photograph, jobs, form):
    """compress, info, test and decompress, one or two at once; all output is ASCII whatever the
    name.
    """
    source = latin(tmp_path, photograph)
    pixels, other = load(source), save(photograph(8, 9), tmp_path / "b.png")
    assert (
        not error_lines(result := call("compress", source, other, *jobs, *form, "--rm"))
        and result.exit_code == 0
        and "caf\\udce9.png" in result.stdout
    )
    packed = source.with_suffix(".bbk")
    for command in ("info", "test"):
        assert "caf\\udce9.bbk" in call(command, packed, *form).stdout
    assert call(
        "decompress", packed, tmp_path / "b.bbk", *jobs, *form
    ).exit_code == 0 and np.array_equal(load(source), pixels)
    again = call("decompress", packed, *form)
    assert again.exit_code == 1 and "caf\\udce9.png" in error_lines(again)[0]


@pytest.mark.parametrize(
    "name, good",
    [
        ("a/b.png", True),
        ("caf\udce9", True),
        ("\xe9", True),
        ("x\udcc3y", True),
        ("\udcc3\udca9", False),
        ("\ud83d", False),
        ("\udc2f", False),
    ],
)
def test_names_that_an_archive_can_store(name, good):
    """Unicode, and bytes that are not UTF-8; not names that would be another name on disk."""
    assert is_name(name) == good
    header = container.Header((Entry(1, 1, name),), bytes(8), archive=True)
    if good:
        assert container.read_header(container.write(header, b"")).entries[0].name == name
    else:
        with pytest.raises(DamagedFile):
            container.read_header(container.write(header, b""))


def test_a_name_that_an_index_cannot_hold(tmp_path):
    """An error names it when the archive is written; no unreadable archive is made."""
    with pytest.raises(UnsupportedImage, match="too long"):
        container.write(container.Header((Entry(1, 1, "x" * 9000),), bytes(8), archive=True), b"")


EVIL = "a\x1b[31m\rb\nc\x9b0m\u202e"


def quiet_names(result):
    """Whether nothing of EVIL's control characters reached a terminal."""
    return (
        not any(
            c in text.replace("\n", "")
            for text in (result.stdout, result.stderr)
            for c in "\x1b\r\x9b\u202e"
        )
        and "c\x9b" not in result.stdout
    )


@pytest.mark.parametrize("jobs", [[], pytest.param(["-j", "2"], marks=pytest.mark.slow)])
def test_control_characters_in_names(tmp_path, photograph, jobs):
    """Control characters in names are escaped, one line each: in results, errors, notes, info and
    JSON.
    """
    good, other, bad = (
        save(photograph(9, 11), tmp_path / f"{EVIL}.png"),
        save(photograph(9, 11), tmp_path / "b.png"),
        tmp_path / f"{EVIL}.gif",
    )
    bad.write_text("no image")
    result = call("compress", good, other, bad, *jobs)
    assert (
        result.exit_code == 1
        and len(result.stdout.splitlines()) == 2
        and len(result.stderr.splitlines()) == 1
        and quiet_names(result)
    )
    packed = good.with_suffix(".bbk")
    for command in (
        ["info"],
        ["info", "--json"],
        ["test"],
        ["test", "--json"],
        ["decompress", "-f"],
        ["decompress", "-f", "--json"],
        ["decompress"],
        ["compress", "-r"],
        ["preview", "-o", tmp_path / f"{EVIL}p.png"],
        ["export", "-o", tmp_path / "m"],
    ):
        result = call(
            *command, packed, *(jobs + [tmp_path / "b.bbk"] if command[-1] == "-f" else [])
        )
        assert result.stdout or result.stderr
        assert quiet_names(result), (command, result.stdout, result.stderr)
        assert (
            command[0] == "info"
            or max(len(result.stdout.splitlines()), len(result.stderr.splitlines())) <= 2
            or result.exit_code == 2
        )
