"""Outputs that are no regular files: FIFOs, links, devices; names that are long."""

import os
import stat

import numpy as np
import pytest

from tests.commands import call, error_lines, load, names
from tests.test_outputs import read_from
from tests.writers import OTHER, WRITERS, arguments_of


@pytest.fixture
def folder(inputs):
    return inputs


@pytest.mark.parametrize(
    "command", [command for command in WRITERS if command not in ("train", "unpack")]
)
def test_commands_write_into_fifos(command, request, folder, monkeypatch, tiny_model):
    """With -f the reader gets all; the FIFO stays one."""
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.mkfifo(output)
    assert call(*arguments).exit_code == 1
    thread, got = read_from(folder / output)
    result = call(*arguments, "-f")
    if result.exit_code:  # let the reader go
        os.close(os.open(output, os.O_WRONLY))
    thread.join(10)
    assert result.exit_code == 0 and len(got[0]) > 20 and stat.S_ISFIFO(os.stat(output).st_mode)


def test_a_stream_without_a_suffix_gets_what_standard_output_would(folder):
    """decompress into a FIFO of any name: PNG."""
    os.mkfifo(folder / "sink")
    thread, got = read_from(folder / "sink")
    assert call("decompress", "-f", folder / "a.bbk", "-o", folder / "sink").exit_code == 0
    thread.join(10)
    assert got[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("command", [command for command in WRITERS if command != "unpack"])
def test_commands_write_through_links(command, dangling, request, folder, monkeypatch, tiny_model):
    """The link stays, what it leads to is written; not without -f."""
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.mkdir("far")
    os.symlink("far/target", output)
    if not dangling:
        (folder / "far/target").write_bytes(OTHER)
    assert call(*arguments).exit_code == 1 and (folder / "far/target").exists() != dangling
    assert call(*arguments, "-f").exit_code == 0
    assert (
        os.readlink(output) == "far/target"
        and len((folder / "far/target").read_bytes()) > 20
        and names(folder / "far") == ["target"]
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
@pytest.mark.parametrize(
    "command", [command for command in WRITERS if command not in ("train", "unpack")]
)
def test_commands_and_a_device_that_is_full(command, request, folder, monkeypatch, tiny_model):
    """One line with the output's name, exit 1, inputs and device unchanged.  The output is a link,
    so that no device can be replaced.
    """
    arguments, output = arguments_of(command, request, folder, monkeypatch, tiny_model)
    os.symlink("/dev/full", output)
    before = names(folder)
    result = call(*arguments, "-f")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and f"{output}: No space left on device" in error_lines(result)[0]
    )
    assert (
        names(folder) == before
        and os.readlink(output) == "/dev/full"
        and stat.S_ISCHR(os.stat("/dev/full").st_mode)
    )


def test_removal_needs_files_on_both_sides(folder):
    """--rm into what cannot be read again, or of what is no file: refused before any work."""
    (folder / "null").symlink_to(os.devnull)
    os.mkfifo(folder / "fifo.png")
    for arguments in (
        ["a.png", "-f", "-o", folder / "null"],
        ["fifo.png", "-o", folder / "new.bbk"],
    ):
        result = call("compress", "--rm", folder / arguments[0], *arguments[1:])
        assert result.exit_code == 1 and len(error_lines(result)) == 1, error_lines(result)
    assert (
        (folder / "a.png").exists()
        and (folder / "null").is_symlink()
        and (folder / "fifo.png").exists()
        and not (folder / "new.bbk").exists()
    )


def test_an_archive_is_not_unpacked_through_links(folder):
    """Its names are not trusted: a link in the place of an image is refused before any work, with
    -f too.
    """
    (folder / "out").mkdir()
    (folder / "precious").write_bytes(OTHER)
    for target in ("../precious", "../nothing"):
        (folder / "out/b.png").symlink_to(target)
        result = call("decompress", "-f", folder / "all.bbk", "--dir", folder / "out")
        assert result.exit_code == 1 and "out/b.png: is a link" in error_lines(result)[0]
        (folder / "out/b.png").unlink()
    assert (folder / "precious").read_bytes() == OTHER and not (folder / "nothing").exists()


@pytest.mark.parametrize("length", [235, 251, 255])
def test_long_names(folder, length):
    """Up to the file system's limit, there and back."""
    source = (folder / "a.png").rename(folder / ("x" * (length - 4) + ".png"))
    before = load(source)
    assert call("compress", "--rm", "-q", source).exit_code == 0
    assert call(
        "decompress", "--rm", "-q", source.with_suffix(".bbk")
    ).exit_code == 0 and np.array_equal(load(source), before)
    result = call("compress", source, "-o", folder / ("y" * 256))
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "yyy: File name too long" in error_lines(result)[0]
    )
