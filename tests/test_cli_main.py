"""The commands: what works, help, usage errors."""

import json

import numpy as np
import pytest
from PIL import Image

from bitsback import __version__
from bitsback.integer import installed
from tests.commands import call, error_lines, load, names


def test_compress_and_decompress(folder, tiny_model):
    """Several files there and back, one line on stdout each with bytes and bits a dimension."""
    before = {name: load(folder / name) for name in names(folder)}
    result = call("compress", "--model", tiny_model.path, folder / "a.png", folder / "b.png")
    assert result.exit_code == 0 and not result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and all(
        f"{len((folder / f'{n}.bbk').read_bytes())} bytes" in line and "bits/dim" in line
        for n, line in zip("ab", lines)
    )
    for name in before:
        (folder / name).unlink()
    result = call("decompress", folder / "a.bbk", folder / "b.bbk")
    assert result.exit_code == 0 and not result.stderr and len(result.stdout.splitlines()) == 2
    assert names(folder) == ["a.bbk", "a.png", "b.bbk", "b.png"]
    assert all(np.array_equal(load(folder / name), pixels) for name, pixels in before.items())


def test_the_prior_from_the_command_line(tmp_path, tiny_model, prior_file, photograph):
    """`info` prints the model of a file coded with the prior; --model decodes it."""
    pixels = photograph(64, 48)
    (tmp_path / "x.bbk").write_bytes(prior_file(pixels))
    assert (
        json.loads(call("info", "--json", tmp_path / "x.bbk").stdout)["model"] == tiny_model.id[:16]
    )
    assert call("decompress", "--model", tiny_model.path, tmp_path / "x.bbk", "-q").exit_code == 0
    assert np.array_equal(load(tmp_path / "x.png"), pixels)


MEANS = {"pgm": ["L"], "pbm": ["1"], "ppm": ["RGB"], "pnm": ["1", "L", "RGB"]}


@pytest.mark.parametrize("suffix", MEANS)
def test_suffixes_that_mean_a_mode(folder, monkeypatch, suffix):
    """Netpbm's: another image in such a file is refused, with the suffixes that can have it."""
    monkeypatch.chdir(folder)
    for mode in ("1", "L", "RGB"):
        Image.open("a.png").convert(mode).save("in.png")
        assert call("compress", "in.png", "-f", "-o", "in.bbk").exit_code == 0
        result = call("decompress", "in.bbk", "-o", f"out.{suffix}", "-f")
        if mode in MEANS[suffix]:
            with Image.open(f"out.{suffix}") as image:
                assert result.exit_code == 0 and image.mode == mode
        else:
            (line,) = error_lines(result)
            assert result.exit_code == 1 and f".{suffix} is not of mode {mode}; .png, " in line


@pytest.mark.parametrize("output, told", [("s.pbm", "not of mode RGB"), ("-", "-o NAME.png")])
def test_drawings_in_other_files(folder, monkeypatch, output, told):
    monkeypatch.chdir(folder)
    (line,) = error_lines(call("sample", "-o", output, "--size", "8x8", "--steps", "1"))
    assert told in line


def test_one_output_for_two_inputs(folder, monkeypatch):
    """The error says what to do: nothing where one was given twice."""
    monkeypatch.chdir(folder)
    (folder / "in").mkdir()
    (folder / "in" / "a.png").write_bytes((folder / "b.png").read_bytes())
    (line,) = error_lines(call("compress", "a.png", "a.png", "-f"))
    assert "is given twice" in line
    (line,) = error_lines(call("compress", "a.png", "in/a.png", "--dir", "d"))
    assert "also the output of a.png; give other names" in line


def test_output_options(folder):
    """-o names the one output; --dir is made where it is missing, nested too."""
    assert call("compress", folder / "a.png", "-o", folder / "z.bbk").exit_code == 0
    assert (
        call(
            "compress", folder / "a.png", folder / "b.png", "--dir", folder / "out" / "deep"
        ).exit_code
        == 0
    )
    assert call("decompress", folder / "z.bbk", "-o", folder / "z.ppm").exit_code == 0
    assert call("decompress", folder / "z.bbk", "--dir", folder / "back").exit_code == 0
    assert names(folder) == [
        "a.png",
        "b.png",
        "back/z.png",
        "out/deep/a.bbk",
        "out/deep/b.bbk",
        "z.bbk",
        "z.ppm",
    ]
    assert np.array_equal(load(folder / "z.ppm"), load(folder / "a.png"))


def test_quiet_and_verbose(folder, tiny_model):
    """-q prints nothing; -v prints the model and the arithmetic on stderr."""
    result = call("compress", "-q", folder / "a.png")
    assert result.exit_code == 0 and not result.stdout and not result.stderr
    result = call("compress", "-v", "-f", "--model", tiny_model.path, folder / "a.png")
    assert (
        result.exit_code == 0
        and tiny_model.id[:16] in result.stderr
        and len(result.stdout.splitlines()) == 1
    )


def test_info(folder):
    """One line per fact; with --json one object per file, with the facts that scripts need."""
    call("compress", folder / "a.png", folder / "b.png")
    result = call("info", folder / "a.bbk")
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines())
    size = (folder / "a.bbk").stat().st_size
    assert (
        result.exit_code == 0
        and facts["width"] == "11"
        and facts["height"] == "9"
        and facts["file_bytes"] == str(size)
    )
    result = call("info", "--json", folder / "a.bbk", folder / "b.bbk")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (
        result.exit_code == 0
        and first["bits_per_dim"] == pytest.approx(8 * size / 297)
        and second["width"] == 5
    )
    assert (
        first["file"] == str(folder / "a.bbk")
        and first["mode"] == "RGB"
        and first["format_version"] == "1.0"
    )


def test_models(tmp_path, tiny_model, monkeypatch):
    """The id, size, levels, training data and training time of shipped models; --json too."""
    (tmp_path / "small.safetensors").write_bytes(tiny_model.path.read_bytes())
    monkeypatch.setattr(installed, "MODELS", tmp_path)
    (line,) = call("models").stdout.splitlines()
    assert (
        line.startswith("small ")
        and tiny_model.id[:16] in line
        and "random weights" in line
        and f"{len(tiny_model.levels)} levels" in line
    )
    facts = json.loads(call("models", "--json").stdout)
    assert (
        facts["id"] == tiny_model.id
        and facts["bytes"] == tiny_model.path.stat().st_size
        and facts["training"]["data"] == "random weights"
    )


def test_a_shipped_model_is_found_by_name_and_by_id(
    tmp_path, tiny_model, prior_file, photograph, monkeypatch
):
    """--model NAME takes a shipped model; a file that names one needs no --model."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.safetensors").write_bytes(tiny_model.path.read_bytes())
    monkeypatch.setattr(installed, "MODELS", tmp_path / "models")
    pixels = photograph(56, 48)
    (tmp_path / "x.bbk").write_bytes(prior_file(pixels))
    assert call("decompress", tmp_path / "x.bbk").exit_code == 0 and np.array_equal(
        load(tmp_path / "x.png"), pixels
    )
    assert call("compress", "--model", "small", tmp_path / "x.png", "-f").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [[], ["compress"], ["decompress"], ["test"], ["info"], ["models"], ["train"], ["export"]],
    ids=lambda c: " ".join(c) or "alone",
)
def test_help(command):
    """--help and -h of the program and of each command: exit 0, on stdout."""
    for flag in ("--help", "-h"):
        result = call(*command, flag)
        assert result.exit_code == 0 and result.stdout.startswith("Usage:") and not result.stderr


def test_version():
    """--version prints the version."""
    assert __version__ in call("--version").stdout


SIX = pytest.param(["train", "d", "-o", "m", "--network", "1,2"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["decompress"],
        ["info"],
        ["unknown"],
        ["compress", "--unknown", "a.png"],
        ["compress", "a.png", "b.png", "-o", "x"],
        ["decompress", "a.bbk", "b.bbk", "-o", "x"],
        ["compress", "a.png", "--archive", "x", "-o", "y"],
        ["compress", "--archive", "x", "-"],
        ["compress", "a.png", "--dir", "d", "-o", "y"],
        ["decompress", "a.bbk", "--dir", "d", "-o", "-"],
        ["compress", "a.png", "--device", "toaster"],
        ["compress", "a.png", "-T", "0"],
        ["train", "d"],
        ["train", "d", "-o", "m", "--minutes", "0"],
        ["train", "d", "-o", "m", "--patch", "20"],
        ["train", "d", "-o", "m", "--passes", "5"],
        ["train", "d", "-o", "m", "--only", "0", "3"],
        ["train", "d", "-o", "m", "--at-levels", "--only", "4", "12"],
        ["train", "d", "-o", "m", "--at-levels", "--only", "3", "2"],
        ["train", "d", "-o", "m", "--network", "a,b,c,d,e,f"],
        SIX,
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else None,
)
def test_usage_errors_exit_with_2(folder, monkeypatch, arguments):
    """A command that makes no sense: exit 2, a message on stderr, and nothing is done."""
    monkeypatch.chdir(folder)
    before = names(folder)
    result = call(*arguments)
    assert result.exit_code == 2 and result.stderr and not result.stdout and names(folder) == before
