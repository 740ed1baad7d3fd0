"""The commands sample and preview."""

import numpy as np
import pytest
import torch

from bitsback.cli import sample
from bitsback.codecs import encode
from bitsback.sampling.gallery import ALL_GRADES, TOPS
from bitsback.sampling.samplers import SAMPLERS
from tests.commands import call, error_lines, load, save


def test_names():
    """The names in the command line, copied to keep --help quick, are those in the modules."""
    assert sample.SAMPLER_NAMES == tuple(SAMPLERS)
    assert set(sample.GRADE_NAMES) == set(ALL_GRADES) and sample.TOP_NAMES == TOPS


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--sampler", "ancestral"],
        ["--sampler", "ancestral", "--grade", "beta"],
        ["--sampler", "seeds2", "--steps", "20"],
        ["--sampler", "restoration-degradation", "--depth", "0.5"],
        ["--top", "coder"],
    ],
)
def test_sample(tiny_model, tmp_path, arguments):
    """A sheet of COUNT tiles of the asked size, the same for the same seed; one line on stdout."""
    base = ["sample", "--model", tiny_model.path, "--count", 3, "--size", "12x10", *arguments]
    result = call(*base, "-o", tmp_path / "a.png")
    assert (
        result.exit_code == 0
        and not result.stderr
        and result.stdout.startswith(f"{tmp_path / 'a.png'}: ")
    )
    assert (
        call(*base, "-o", tmp_path / "b.png", "-q").stdout == ""
        and call(*base, "-o", tmp_path / "c.png", "--seed", 2).exit_code == 0
    )
    sheet = load(tmp_path / "a.png")
    assert sheet.shape == (2 * 12 - 2, 2 * 14 - 2, 3) and (sheet[12:, 14:] == 255).all()
    assert (sheet == load(tmp_path / "b.png")).all() and (sheet != load(tmp_path / "c.png")).any()


def test_sample_from_a_photograph(tiny_model, tmp_path, photograph):
    """The photograph or its centre, its noised version and the restorations, up to four in
    one row.
    """
    pixels = photograph(20, 30)
    source = save(pixels, tmp_path / "photo.png")
    assert (
        call(
            "sample",
            "--model",
            tiny_model.path,
            "--from",
            source,
            "--sigma",
            25,
            "-o",
            tmp_path / "a.png",
        ).exit_code
        == 0
    )
    sheet = load(tmp_path / "a.png")
    assert sheet.shape == (20, 4 * 32 - 2, 3) and (sheet[:20, :30] == pixels).all()
    noise = sheet[:, 32:62].astype(float) - pixels
    assert 15 < noise.std() < 30  # 25, but for what was clipped
    assert (
        call(
            "sample",
            "--model",
            tiny_model.path,
            "--from",
            source,
            "--size",
            "8x8",
            "--count",
            1,
            "--sampler",
            "ancestral",
            "-o",
            tmp_path / "b.png",
        ).exit_code
        == 0
    )
    sheet = load(tmp_path / "b.png")
    assert sheet.shape == (8, 28, 3) and (sheet[:, :8] == pixels[6:14, 11:19]).all()
    assert (
        call(
            "sample",
            "--model",
            tiny_model.path,
            "--from",
            source,
            "--size",
            "8x8",
            "--count",
            4,
            "--steps",
            1,
            "-o",
            tmp_path / "c.png",
        ).exit_code
        == 0
    )
    assert load(tmp_path / "c.png").shape == (18, 28, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--sigma", "25"], "--from"),
        (["--grade", "beta"], "ancestral"),
        (["--depth", "0.5"], "restoration-degradation"),
        (["--size", "12"], "WIDTHxHEIGHT"),
        (["--size", "0x8"], "WIDTHxHEIGHT"),
        (["--seed", "9" * 23], "seeds are"),
        (["--seed", str(-(2**63) - 1)], "seeds are"),
        (["--seed", "x"], "integer"),
        (["--size", "99999999x99999999"], "to draw at once"),
        (["--size", "4096x4096", "--count", "2"], "2 x 4096x4096"),
        (["--count", "9" * 23], "to draw at once"),
        (["--steps", "9" * 13], "--steps"),
        (["--from", "a.png", "--sigma", "nan"], "finite"),
        (["--from", "a.png", "--sigma", "inf"], "finite"),
        (["--from", "a.png", "--sigma", "-1"], "--sigma"),
        (["--sampler", "ancestral", "--grade", "passes", "--steps", "3"], "passes"),
        (["--sampler", "ancestral", "--grade", "passes", "--model", "a.ckpt"], "passes"),
        (["--sampler", "euler"], "euler"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, arguments, message):
    """A usage error, exit status 2, no file."""
    result = call("sample", "-o", tmp_path / "a.png", *arguments)
    assert result.exit_code == 2 and message in result.stderr and not (tmp_path / "a.png").exists()


def test_sample_errors(tiny_model, tmp_path, photograph):
    """One line that begins with the file's name, exit status 1: a lossy or existing output, no
    photograph, no model, noise out of range.
    """
    source, there = (
        save(photograph(8, 8), tmp_path / "photo.png"),
        save(photograph(8, 8), tmp_path / "there.png"),
    )
    new, model = tmp_path / "new.png", ["--model", tiny_model.path]
    for name, arguments in [
        (tmp_path / "a.jpg", ["-o", tmp_path / "a.jpg"]),
        (there, ["-o", there]),
        (source, ["--from", source, "-o", source, "-f"]),
        (tmp_path / "none.png", ["--from", tmp_path / "none.png", "-o", new]),
        (source, ["--from", source, "--sigma", 1000, "-o", new]),
    ]:
        result = call("sample", *model, *arguments)
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and error_lines(result)[0].startswith(f"bitsback: {name}: ")
        ), (arguments, error_lines(result))
    result = call("sample", "--model", "nothing", "-o", new)
    assert result.exit_code == 1 and "no such model" in result.stderr and not new.exists()


@pytest.mark.parametrize("seed", [-(2**63), 2**63 - 1])
def test_the_last_seeds(tiny_model, tmp_path, seed):
    """Whatever is let through draws."""
    assert (
        call(
            "sample",
            "--model",
            tiny_model.path,
            "--seed",
            seed,
            "--count",
            1,
            "--size",
            "8x8",
            "--steps",
            1,
            "-o",
            tmp_path / "a.png",
        ).exit_code
        == 0
    )


def test_an_experts_checkpoint(tiny_network, tmp_path):
    """A checkpoint for the finest levels only cannot draw images: an error that names its
    levels.
    """
    torch.save(
        {
            "config": tiny_network.config.as_dict(),
            "average": tiny_network.state_dict(),
            "minutes": 1.0,
            "steps": 1,
            "only": [0, 5],
        },
        tmp_path / "fine.ckpt",
    )
    result = call(
        "sample",
        "--model",
        tmp_path / "fine.ckpt",
        "--count",
        1,
        "--size",
        "8x8",
        "-o",
        tmp_path / "a.png",
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "this expert has levels" in result.stderr
        and not (tmp_path / "a.png").exists()
    )


def test_too_large_a_photograph(tiny_model, tmp_path, photograph, monkeypatch):
    """Known when it was read: one line with its name; a part of it is drawn from."""
    monkeypatch.setattr(sample, "MAX_PIXELS", 900)
    source = save(photograph(20, 30), tmp_path / "photo.png")
    arguments = [
        "sample",
        "--model",
        tiny_model.path,
        "--from",
        source,
        "--steps",
        1,
        "-o",
        tmp_path / "a.png",
    ]
    result = call(*arguments)
    assert result.exit_code == 1 and error_lines(result) == [
        f"bitsback: {source}: 2 x 30x20 are more than 900 pixels to draw at once: "
        "give a smaller --size or --count"
    ]
    assert not (tmp_path / "a.png").exists() and call(*arguments, "--size", "20x20").exit_code == 0


def test_preview(tiny_model, prior_file, tmp_path, photograph):
    """An image of the file's size, one line on stdout with the part shown and its cost; existing
    outputs and bad files are refused.
    """
    pixels = photograph(64, 48)
    (tmp_path / "a.bbk").write_bytes(prior_file(pixels))
    arguments = [
        "preview",
        tmp_path / "a.bbk",
        "-o",
        tmp_path / "a.png",
        "--model",
        tiny_model.path,
    ]
    result = call(*arguments)
    assert (
        result.exit_code == 0
        and "% of the image" in result.stdout
        and "% of a full decode" in result.stdout
    )
    seen = load(tmp_path / "a.png")
    assert seen.shape == pixels.shape and (seen != pixels).any()
    assert call(*arguments).exit_code == 1 and call(*arguments, "-f", "-q").stdout == ""
    (tmp_path / "plain.bbk").write_bytes(encode(pixels[:9, :9]))
    result = call("preview", tmp_path / "plain.bbk", "-o", tmp_path / "b.png")
    assert (
        result.exit_code == 0
        and "coded by the fallback codec, decoded whole, " in result.stdout
        and "%" not in result.stdout
    )
    assert (load(tmp_path / "b.png") == pixels[:9, :9]).all()
    (tmp_path / "c.bbk").write_bytes(np.zeros(50, np.uint8).tobytes())
    for value in ("nan", "inf", "0"):
        result = call("preview", tmp_path / "a.bbk", "-o", tmp_path / "c.png", "--sigma", value)
        assert result.exit_code == 2 and "--sigma" in result.stderr
    result = call("preview", tmp_path / "c.bbk", "-o", tmp_path / "c.png")
    assert (
        result.exit_code == 1
        and error_lines(result)[0].startswith(f"bitsback: {tmp_path / 'c.bbk'}: ")
        and not (tmp_path / "c.png").exists()
    )
