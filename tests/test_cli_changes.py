"""Inputs that change while a command runs are kept, and read whole."""

import os

import pytest

from bitsback import outputs
from bitsback.codecs import archive
from bitsback.codecs.io import files
from tests.commands import call, error_lines, names, save
from tests.writers import WRITERS, arguments_of, before_writing


@pytest.fixture
def folder(inputs):
    return inputs


def change(how, path, photograph):
    """A newer version in the input's place: by rename, as editors do, or written over it."""
    data = path.read_bytes() + b"newer"
    if how == "replaced":
        (path.parent / "newer").write_bytes(data)
        os.replace(path.parent / "newer", path)
    else:
        with open(path, "r+b") as stream:
            stream.write(data[:-1] if how == "same size" else data)
            stream.truncate(path.stat().st_size if how == "same size" else len(data))
    return path.read_bytes()


CHANGES = ["replaced", "written in place", "same size"]


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("command", ["compress", "archive", "decompress", "unpack"])
def test_an_input_that_changes_is_not_removed(
    command, how, request, folder, monkeypatch, tiny_model, photograph
):
    """--rm keeps a file that changed after it was read, with exit 1; the output has the earlier
    version.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    source, newer = (
        folder
        / {"compress": "a.png", "archive": "in/b.png", "decompress": "a.bbk", "unpack": "all.bbk"}[
            command
        ],
        [],
    )
    os.utime(source, ns=(10**18, 10**18))
    before_writing(monkeypatch, lambda: newer.append(change(how, source, photograph)))
    result = call(*arguments, "--rm")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and source.name in error_lines(result)[0]
        and "is kept" in error_lines(result)[0]
    )
    assert [source.read_bytes()] == newer and (folder / output).exists()


def test_one_image_of_an_archive_that_changes(folder, photograph, monkeypatch):
    """It is kept; those that did not change are removed."""
    save(photograph(8, 8, 5), folder / "in" / "c.png")
    before_writing(monkeypatch, lambda: change("replaced", folder / "in/b.png", photograph))
    result = call("compress", "--rm", "--archive", folder / "new.bbk", folder / "in")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "b.png" in error_lines(result)[0]
    )
    assert names(folder / "in") == ["b.png"]


@pytest.mark.parametrize("command", ["compress", "archive", "decompress"])
def test_an_input_that_is_written_while_it_is_read(command, folder, monkeypatch, photograph):
    """Parts of two versions may have been read: exit 1 and no output, without --rm too."""
    source, output = {
        "compress": ("a.png", "new.bbk"),
        "archive": ("in/b.png", "new.bbk"),
        "decompress": ("a.bbk", "new.png"),
    }[command]
    from bitsback import inputs
    from bitsback.codecs.formats import image_files

    real_image, real_read = image_files.read_image, inputs.read_limited

    def read_image(*arguments, **options):
        image = real_image(*arguments, **options)
        change("same size", folder / source, photograph)
        return image

    def read(stream):
        data = real_read(stream)
        change("same size", folder / source, photograph)
        return data

    os.utime(folder / source, ns=(10**18, 10**18))
    monkeypatch.setattr(files, "read_image", read_image)
    monkeypatch.setattr(archive, "read_image", read_image)
    if command == "decompress":
        monkeypatch.setattr(inputs, "read_limited", read)
    monkeypatch.chdir(folder)
    result = call(*WRITERS[command][0])
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "while it was read" in error_lines(result)[0]
    )
    assert not (folder / output).exists()


def test_archives_that_are_not_what_was_written(folder, monkeypatch):
    """decompress --rm of an archive compares what lies on the disk as well."""
    real = outputs.write
    monkeypatch.setattr(
        outputs, "write", lambda data, path, **options: real(data[:-1], path, **options)
    )
    result = call("decompress", "--rm", folder / "all.bbk", "--dir", folder / "out")
    assert (
        result.exit_code == 1
        and "is kept" in error_lines(result)[0]
        and (folder / "all.bbk").exists()
    )
