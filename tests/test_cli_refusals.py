"""The commands: one line for each file that failed, no half-written outputs."""

import os

import click
import numpy as np
import pytest
from PIL import Image

from bitsback.cli.main import main
from bitsback.cli.options import PathName
from bitsback.codecs import decode, encode
from tests.commands import (
    call,
    error_lines,
    load,
    names,
    save,
)


def test_existing_outputs(folder):
    """Refused with exit 1 and a line that names them and -f; other files are done; -f
    overwrites.
    """
    (folder / "a.bbk").write_bytes(b"precious")
    result = call("compress", folder / "a.png", folder / "b.png")
    assert (
        result.exit_code == 1
        and (folder / "a.bbk").read_bytes() == b"precious"
        and (folder / "b.bbk").exists()
    )
    (line,) = error_lines(result)
    assert "a.bbk" in line and "-f" in line
    assert call("compress", "-f", folder / "a.png").exit_code == 0
    assert np.array_equal(decode((folder / "a.bbk").read_bytes()), load(folder / "a.png"))
    result = call("decompress", folder / "a.bbk")
    assert result.exit_code == 1 and "a.png" in error_lines(result)[0]
    assert call("decompress", "--force", folder / "a.bbk").exit_code == 0


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_the_output_is_never_the_input(folder, force):
    """-o the input itself: exit 1 and the input as it was, even with -f."""
    call("compress", folder / "b.png")
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for arguments in (
        ["compress", folder / "a.png", "-o", folder / "a.png"],
        ["decompress", folder / "b.bbk", "-o", folder / "b.bbk"],
    ):
        result = call(*arguments, *force)
        assert result.exit_code == 1 and len(error_lines(result)) == 1
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


@pytest.mark.parametrize("jobs", [[], pytest.param(["-j", "2"], marks=pytest.mark.slow)])
def test_two_inputs_of_one_stem_keep_apart(folder, jobs):
    """a.png becomes a.bbk, which restores to it; a.bmp, though named first, becomes a.bmp.bbk, with
    -f too; both are restored.
    """
    save(load(folder / "b.png"), folder / "a.bmp")
    for force in [["-f"]] if jobs else [[], ["-f"]]:
        result = call(
            "compress", *force, *jobs, folder / "a.bmp", folder / "a.png", folder / "b.png"
        )
        assert result.exit_code == 0 and not result.stderr
    assert names(folder) == ["a.bbk", "a.bmp", "a.bmp.bbk", "a.png", "b.bbk", "b.png"]
    assert (
        call(
            "decompress", folder / "a.bmp.bbk", folder / "a.bbk", "--dir", folder / "back"
        ).exit_code
        == 0
    )
    assert names(folder / "back") == ["a.bmp.png", "a.png"]
    for restored, source in (("a.bmp.png", "a.bmp"), ("a.png", "a.png")):
        assert np.array_equal(load(folder / "back" / restored), load(folder / source))


@pytest.mark.parametrize("jobs", [[], ["-j", "2"]])
@pytest.mark.parametrize("force", [[], ["-f"]])
def test_two_inputs_of_one_name_do_not_share_an_output(folder, force, jobs):
    """x/a.png and y/a.png into one folder: the second is refused, with -f too, which overwrites
    only what was there before the run.
    """
    for name, source in (("x", "a.png"), ("y", "b.png")):
        (folder / name).mkdir()
        save(load(folder / source), folder / name / "a.png")
    result = call(
        "compress", *force, *jobs, folder / "x/a.png", folder / "y/a.png", "--dir", folder / "out"
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "y/a.png" in error_lines(result)[0]
    )
    assert names(folder / "out") == ["a.bbk"] and np.array_equal(
        decode((folder / "out/a.bbk").read_bytes()), load(folder / "a.png")
    )


@pytest.mark.parametrize("archive", [False, True])
def test_names_that_are_no_utf8(folder, archive):
    """A name from an old disk (Latin-1) is coded, or refused in one line."""
    try:
        source = save(load(folder / "a.png"), folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    result = call("compress", "-q", source, *(["--archive", folder / "all.bbk"] if archive else []))
    assert result.exit_code == 0 or result.exit_code == 1 and len(error_lines(result)) == 1


def make_bad(kind, path, photograph):
    """A file at `path` that compress must refuse."""
    pixels = photograph(20, 20)
    image = Image.fromarray(pixels)
    if kind == "text":
        path.write_text("this is no image\n")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "stretched":
        path.write_bytes(b"P6 2 1 100\n" + bytes(6))
    elif kind == "truncated":
        image.save(path)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "animation":
        image.save(path, format="GIF", save_all=True, append_images=[Image.fromarray(255 - pixels)])
    elif kind == "JPEG":
        image.save(path, format="JPEG")


@pytest.mark.parametrize(
    "kind", ["missing", "text", "empty", "folder", "stretched", "JPEG", "animation", "truncated"]
)
def test_a_bad_image_is_one_line_and_the_others_are_done(folder, photograph, kind):
    """compress good bad good: exit 1, one line that names the bad one, an output for each good one
    and none for the bad one.
    """
    make_bad(kind, folder / "bad.png", photograph)
    before = names(folder)
    result = call("compress", folder / "a.png", folder / "bad.png", folder / "b.png")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert (
        line.startswith("bitsback: ")
        and "bad.png" in line
        and "Traceback" not in line
        and "Error" not in line
    )
    assert names(folder) == sorted([*before, "a.bbk", "b.bbk"])
    assert all(
        np.array_equal(decode((folder / f"{n}.bbk").read_bytes()), load(folder / f"{n}.png"))
        for n in "ab"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "text",
        "empty",
        "folder",
        "png",
        "cut",
        "flipped",
        "another model",
        "another version",
    ],
)
def test_a_bad_file_is_one_line_and_the_others_are_done(
    folder, kind, prior_file, other_model, photograph
):
    """decompress good bad good and info good bad good: the same."""
    good = {name: encode(load(folder / f"{name}.png")) for name in "ab"}
    for name, data in good.items():
        (folder / f"{name}.bbk").write_bytes(data)
        (folder / f"{name}.png").unlink()
    bad = folder / "bad.bbk"
    if kind == "folder":
        bad.mkdir()
    elif kind != "missing":
        bad.write_bytes(
            {
                "text": b"hello",
                "empty": b"",
                "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
                "cut": good["a"][:-1],
                "flipped": good["a"][:25] + b"\0" + good["a"][26:],
                "another model": prior_file(photograph(56, 48), other_model),
                "another version": good["a"][:4] + b"\7" + good["a"][5:],
            }[kind]
        )
    before = names(folder)
    result = call("decompress", folder / "a.bbk", bad, folder / "b.bbk")
    assert result.exit_code == 1
    (line,) = error_lines(result)
    assert line.startswith("bitsback: ") and "bad.bbk" in line and "Traceback" not in line
    assert names(folder) == sorted([*before, "a.png", "b.png"])
    if kind == "another model":
        assert other_model.id[:16] in line
        return
    result = call("info", folder / "a.bbk", bad, folder / "b.bbk")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "bad.bbk" in error_lines(result)[0]
        and result.stdout.count("file_bytes") == 2
    )


@pytest.mark.parametrize("model", ["no-such-model", "text"])
def test_a_bad_model_is_one_line(folder, model):
    """--model that is none: exit 1 and one line that names it."""
    path = folder / "m.safetensors"
    path.write_text("hello")
    result = call("compress", "--model", path if model == "text" else model, folder / "a.png")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and ("m.safetensors" if model == "text" else model) in error_lines(result)[0]
    )


def test_an_output_that_cannot_be_made_leaves_nothing(folder):
    """A suffix that is no lossless format: exit 1, one line, no file."""
    call("compress", folder / "a.png")
    before = names(folder)
    for target in ("x.jpg", "x", "x.bbk"):
        result = call("decompress", folder / "a.bbk", "-o", folder / target)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and target in error_lines(result)[0]
        )
    assert names(folder) == before


def test_a_missing_output_folder_is_named(folder):
    """-o into a folder that is not there: one line that names the folder."""
    result = call("compress", folder / "a.png", "-o", folder / "nowhere" / "x.bbk")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "nowhere" in error_lines(result)[0]
    )


def test_an_output_folder_that_cannot_be_made(folder):
    """--dir below a file: an error without traceback."""
    result = call("compress", folder / "a.png", "--dir", folder / "b.png" / "out")
    assert result.exit_code in (1, 2) and result.stderr


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch, photograph):
    """`compress -f "$PICTURES"` where the variable is not set."""
    save(photograph(9, 11), tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["compress", "-r", ""],
        ["compress", "a.png", "-o", ""],
        ["compress", "a.png", "--dir", ""],
        ["compress", "--archive", "set.bbk", ""],
        ["decompress", ""],
        ["test", ""],
        ["info", ""],
        ["train", "", "-o", "m"],
    ):
        result = call(*arguments)
        assert result.exit_code == 2 and "an empty name" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_every_path_of_a_command_is_a_path_name():
    kinds = {
        f"{command} {parameter.name}": type(parameter.type)
        for command, its in main.commands.items()
        for parameter in its.params
        if isinstance(parameter.type, click.Path)
    }
    assert len(kinds) > 20 and set(kinds.values()) == {PathName}


def test_a_file_whose_name_is_a_dash(tmp_path, monkeypatch, photograph):
    """`./-` is that file; `-` is a standard stream."""
    monkeypatch.chdir(tmp_path)
    pixels = photograph(9, 11)
    save(pixels, tmp_path / "a.png")
    (tmp_path / "-").write_bytes((tmp_path / "a.png").read_bytes())
    assert call("compress", "-q", "./-", "-o", "x.bbk").exit_code == 0
    assert call("compress", "-q", "-f", "a.png", "-o", "./-").exit_code == 0
    assert np.array_equal(decode((tmp_path / "x.bbk").read_bytes()), pixels)
    assert np.array_equal(decode((tmp_path / "-").read_bytes()), pixels)
