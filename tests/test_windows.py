"""What Windows does otherwise: files that are read-only or open, names, patterns, processes."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback import outputs, whole
from bitsback.cli import main as program
from bitsback.cli import options, pool
from bitsback.codecs import archive
from bitsback.codecs.bitstream.names import local_parts
from bitsback.codecs.io import delivery, files, folders
from bitsback.errors import InputChanged, OutputExists, OutputFailed
from bitsback.inputs import Status, file_key
from tests.commands import call, error_lines, names
from tests.windows import imitate

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /proc")


@pytest.fixture
def windows(monkeypatch):
    imitate(monkeypatch)


def write_image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 9, (5, 6), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def same(path, pixels):
    with Image.open(path) as image:
        return np.array_equal(np.array(image), pixels)


def test_read_only_inputs(tmp_path, windows):
    """There and back, with their permissions; no part of an output stays."""
    pixels = write_image(tmp_path / "a.png")
    os.chmod(tmp_path / "a.png", 0o444)
    assert call("compress", tmp_path / "a.png").exit_code == 0
    again = call("compress", tmp_path / "a.png")
    assert again.exit_code == 1 and "exists already" in error_lines(again)[0]
    assert call("decompress", tmp_path / "a.bbk", "-o", tmp_path / "b.png").exit_code == 0
    assert names(tmp_path) == ["a.bbk", "a.png", "b.png"] and same(tmp_path / "b.png", pixels)
    assert os.stat(tmp_path / "b.png").st_mode & 0o777 == 0o444


def test_read_only_outputs(tmp_path, windows):
    """Are not replaced, and one line says so; nothing of the new one stays."""
    write_image(tmp_path / "a.png")
    (tmp_path / "a.bbk").write_bytes(b"old")
    os.chmod(tmp_path / "a.bbk", 0o444)
    result = call("compress", "-f", tmp_path / "a.png")
    assert result.exit_code == 1 and "Permission denied" in error_lines(result)[0]
    assert names(tmp_path) == ["a.bbk", "a.png"]


def test_an_archive_of_read_only_images(tmp_path, windows):
    """All are written."""
    for i in range(3):
        write_image(tmp_path / f"in/{i}.png", i)
    os.chmod(tmp_path / "in/0.png", 0o444)
    files.compress_archive([tmp_path / "in"], tmp_path / "a.bbk")
    assert call("decompress", tmp_path / "a.bbk", "--dir", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["0.png", "1.png", "2.png"]


def test_runs_that_were_interrupted(tmp_path, windows):
    """With --rm, before the input was removed: the next run ends them, there and back."""
    pixels = write_image(tmp_path / "a.png")
    times = os.stat(tmp_path / "a.png").st_mtime_ns
    assert call("compress", tmp_path / "a.png").exit_code == 0
    assert call("compress", "--rm", tmp_path / "a.png").exit_code == 0
    assert names(tmp_path) == ["a.bbk"]
    assert call("decompress", tmp_path / "a.bbk").exit_code == 0
    assert call("decompress", "--rm", tmp_path / "a.bbk").exit_code == 0
    assert names(tmp_path) == ["a.png"] and same(tmp_path / "a.png", pixels)
    assert os.stat(tmp_path / "a.png").st_mtime_ns == times


def test_permissions_of_linux(tmp_path, windows):
    """Of 0o644 in a file Windows keeps that the owner may write."""
    (tmp_path / "a").write_bytes(b"a")
    os.chmod(tmp_path / "a", 0o644)
    stamp = Status.of(open(tmp_path / "a", "rb"))
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o666
    for mode, same_mode in ((0o644, True), (0o600, True), (0o444, False)):
        like = whole.Stamp(mode, stamp.st_atime_ns, stamp.st_mtime_ns)
        assert delivery.same_stamp(tmp_path / "a", like) == same_mode


def test_a_file_that_a_run_relies_on_cannot_be_removed(tmp_path, windows):
    """`compress --rm` removes the image while it holds the .bbk file, which the other run keeps."""
    packed = tmp_path / "a.bbk"
    packed.write_bytes(b"a")
    with open(packed, "rb") as stream:
        status = Status.of(stream)
    with delivery.locked(packed, exclusive=False), pytest.raises(InputChanged):
        with delivery.locked(packed, exclusive=True):
            delivery.remove_read([(packed, status)])
    assert packed.exists()
    with delivery.replacing(packed, remove=True):
        delivery.deliver(b"new", packed, force=True)
    assert packed.read_bytes() == b"new"
    packed.unlink()
    with pytest.raises(InputChanged), delivery.locked(packed, exclusive=False):
        pass


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a/b c.png", "a/b c.png"),
        ("b?.png", "b_.png"),
        ('<>"|*\x01/\x1f.png', "______/_.png"),
        ("aux/CON.png", "aux_/CON_.png"),
        ("com\u00b9.tar.png", "com\u00b9_.tar.png"),
        ("nul .x/lpt10", "nul_.x/lpt10"),
        ("console/auxiliary.png", "console/auxiliary.png"),
        ("a /b./c..", "a_/b_/c._"),
    ],
)
def test_names_in_archives(name, expected, windows, monkeypatch):
    """Those that Windows cannot make are changed there, and nowhere else."""
    assert "/".join(local_parts(name)) == expected
    assert archive.target_path("x", name) == Path("x", *archive.target_path("", expected).parts)
    monkeypatch.undo()
    assert "/".join(local_parts(name)) == name


def test_an_archive_with_names_of_devices(tmp_path, windows, monkeypatch):
    """All its images are written, and removed from nowhere else."""
    found = {"aux/x.png": 1, "b?.png": 2, "c.png": 3}
    pixels = {name: write_image(tmp_path / "in" / name, seed) for name, seed in found.items()}
    files.compress_archive([tmp_path / "in"], tmp_path / "a.bbk")
    assert call("decompress", "--rm", tmp_path / "a.bbk", "--dir", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["aux_/x.png", "b_.png", "c.png"]
    for name, there in zip(pixels, names(tmp_path / "out")):
        assert same(tmp_path / "out" / there, pixels[name])
    assert not (tmp_path / "a.bbk").exists()


def test_patterns(tmp_path, windows, monkeypatch):
    """* and ? stand for files; a name that is there, and brackets, for themselves."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo1.png", "photo[1].png", "photo2.png"):
        Path(name).touch()

    def expanded(*paths):
        return list(map(str, options.expand_patterns(None, None, tuple(map(Path, paths)))))

    assert expanded("photo[1].png") == ["photo[1].png"]
    assert expanded("photo[1]*") == ["photo[1].png"]
    assert expanded("*1*.png", "x*") == ["photo1.png", "photo[1].png", "x*"]
    assert expanded("photo?.png") == ["photo1.png", "photo2.png"]
    Path("*.png").touch()
    assert expanded("*.png") == ["*.png"]
    monkeypatch.undo()
    assert expanded("photo?.png") == ["photo?.png"]


def test_values_of_options_are_no_patterns(monkeypatch):
    """Nor arguments, which click would take for patterns on Windows: names may have brackets."""
    asked = {}
    monkeypatch.setattr(program, "main", lambda **options: asked.update(options))
    monkeypatch.setattr(program, "exit_program", lambda status: None)
    program.run()
    assert asked["windows_expand_args"] is False


def test_processes(windows):
    """At most as many as an executor takes there."""
    with pool.processes(70) as executor:
        assert executor._count == 61


def test_junctions(tmp_path, monkeypatch):
    """Links to folders, which look like folders there, are not followed."""
    write_image(tmp_path / "sub/a.png")
    assert len(folders.files_below(tmp_path, {".png"})[0]) == 1
    monkeypatch.setattr(folders, "JUNCTION", 0)  # as of what is none
    assert folders.files_below(tmp_path, {".png"}) == ([], [])


def test_files_without_numbers(tmp_path, monkeypatch):
    """Of some network drives: two files are not one because of that, and one is still itself."""
    stat = os.stat

    def without(path, **options):
        found = stat(path, **options)
        return os.stat_result((found.st_mode, 0, *found[2:]))

    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.touch()
    monkeypatch.setattr(os, "stat", without)
    assert file_key(paths[0]) is None
    outputs.refuse(paths[0], [paths[1]], force=True)
    with pytest.raises(OutputExists, match="is the input itself"):
        outputs.refuse(paths[0], [tmp_path / "." / "a"], force=True)


def test_flushes_of_macos(tmp_path, monkeypatch):
    """To the medium where the file system can, else as far as os.fsync does."""
    asked, flushed = [], []

    class Fcntl:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(handle, command):
            asked.append(command)
            if len(asked) > 1:
                raise OSError

    monkeypatch.setattr(whole, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", flushed.append)
    whole._sync(7)
    assert asked == [51] and not flushed
    whole._sync(8)
    assert flushed == [8]


@pytest.mark.parametrize("error, written", [(OSError(22, "Invalid"), 2), (OSError(28, "full"), 0)])
def test_an_image_of_an_archive_that_cannot_be_written(tmp_path, monkeypatch, error, written):
    """The others are, where the disk is not full; one line, and the archive is kept."""
    for i in range(3):
        write_image(tmp_path / f"in/{i}/{i}.png", i)
    files.compress_archive([tmp_path / "in"], tmp_path / "a.bbk")
    make = outputs.make_folders

    def failing(folder):
        if folder.name == "0":
            raise error
        make(folder)

    monkeypatch.setattr(outputs, "make_folders", failing)
    with pytest.raises(OutputFailed, match="0.png"):
        files.decompress_file(tmp_path / "a.bbk", folder=tmp_path / "out", remove=True)
    assert len(names(tmp_path / "out")) == written and (tmp_path / "a.bbk").exists()
