"""`train` and `export`: models, checkpoints, and errors."""

import json
import shutil

import numpy as np
import pytest

from bitsback.coder.model import Model
from tests.commands import (
    ROOT,
    TINY_RUN,
    call,
    error_lines,
    names,
    save,
)


def test_train_resume_and_export(tmp_path, photograph):
    """train writes a model, a checkpoint and a log; --resume continues; export converts a
    checkpoint.
    """
    (tmp_path / "data").mkdir()
    save(photograph(24, 24), tmp_path / "data" / "p.png")
    arguments = [
        "train",
        tmp_path / "data",
        "-o",
        tmp_path / "m.safetensors",
        "--minutes",
        "0.005",
        *TINY_RUN,
        "--batch",
        "8",
        "-q",
    ]
    result = call(*arguments, "--data-name", "one image")
    assert result.exit_code == 0 and not result.stdout
    assert names(tmp_path) == [
        "data/p.png",
        "m.safetensors",
        "m.safetensors.ckpt",
        "m.safetensors.log.jsonl",
    ]
    rows = [json.loads(line) for line in (tmp_path / "m.safetensors.log.jsonl").open()]
    assert rows and rows[-1]["steps"] >= 1 and 0 < rows[-1]["share"] <= 1  # a short run has one too
    assert np.float64(5e-324) * 1.0 > 0  # the processor's mode for denormals is given back
    first = Model(tmp_path / "m.safetensors").description["training"]
    assert first["data"] == "one image" and first["steps"] >= 1
    assert call(*arguments, "--resume", tmp_path / "m.safetensors.ckpt").exit_code == 0
    assert Model(tmp_path / "m.safetensors").description["training"]["steps"] > first["steps"]
    assert (
        call(
            "export",
            tmp_path / "m.safetensors.ckpt",
            "-o",
            tmp_path / "e.safetensors",
            "--data-name",
            "told",
        ).exit_code
        == 0
    )
    exported = Model(tmp_path / "e.safetensors")
    assert (
        exported.id == Model(tmp_path / "m.safetensors").id
        and exported.description["training"]["data"] == "told"
    )


def test_train_without_images(tmp_path):
    """An empty folder, a missing one and a file: exit 1, one line that says so, no file made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    reasons = {"empty": "no readable image", "nowhere": "no such folder", "a.png": "not a folder"}
    for name, reason in reasons.items():
        result = call(
            "train",
            tmp_path / name,
            "-o",
            tmp_path / "m.safetensors",
            "--minutes",
            "0.01",
            *TINY_RUN,
        )
        assert (
            result.exit_code == 1
            and len(error_lines(result)) == 1
            and f"{name}: {reason}" in error_lines(result)[0]
        )
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("option", ["--minutes", "--lr-scale", "--decay-from", "--until"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_train_with_what_is_no_number(tmp_path, option, value):
    """nan passes every comparison with a limit: a run without an end."""
    result = call("train", tmp_path, "-o", tmp_path / "m.safetensors", option, value)
    assert result.exit_code == 2 and option in result.stderr


@pytest.mark.parametrize(
    "option, value",
    [
        ("--network", "0,0,0,0,0,0"),
        ("--network", "-8,1,8,1,8,1"),
        ("--network", "100000,1,8,1,8,1"),
        ("--seed", "999999999999999999999"),
        ("-T", "100000"),
    ],
)
def test_train_with_numbers_out_of_range(tmp_path, photograph, option, value):
    save(photograph(32, 32), tmp_path / "a.png")
    result = call("train", tmp_path, "-o", tmp_path / "m.safetensors", f"{option}={value}")
    assert result.exit_code == 2 and names(tmp_path) == ["a.png"], result.output


def test_train_without_memory(tmp_path, photograph, monkeypatch):
    """One line, and no empty log."""
    save(photograph(32, 32), tmp_path / "a.png")

    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")

    monkeypatch.setattr("bitsback.train.loop.train", fail)
    result = call("train", tmp_path, "-o", tmp_path / "m.safetensors", "--minutes", "0.01")
    assert result.exit_code == 1 and len(error_lines(result)) == 1, result.output
    assert names(tmp_path) == ["a.png"]


def test_train_from_a_foreign_checkpoint(tmp_path, photograph):
    """--resume and export of what is no checkpoint: exit 1, one line that names it."""
    (tmp_path / "data").mkdir()
    save(photograph(24, 24), tmp_path / "data" / "p.png")
    save(photograph(9, 9), tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.ckpt")  # of a foreign file torch has much advice
    result = call(
        "train",
        tmp_path / "data",
        "-o",
        tmp_path / "m.safetensors",
        "--minutes",
        "0.01",
        *TINY_RUN,
        "--resume",
        tmp_path / "x.ckpt",
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "x.ckpt: not a checkpoint" in error_lines(result)[0]
        and "weights_only" not in result.stderr
    )
    result = call("export", tmp_path / "x.ckpt", "-o", tmp_path / "e.safetensors")
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "x.ckpt: not a checkpoint (not written by bitsback)" in error_lines(result)[0]
        and "e.safetensors" not in names(tmp_path)
    )


def test_train_into_a_missing_folder(tmp_path, photograph):
    """-o into a folder that is not there: an error without traceback."""
    save(photograph(24, 24), tmp_path / "p.png")
    result = call(
        "train",
        tmp_path,
        "-o",
        tmp_path / "nowhere" / "m.safetensors",
        "--minutes",
        "0.01",
        *TINY_RUN,
    )
    assert result.exit_code == 1 and "nowhere" in result.stderr


@pytest.mark.slow
def test_training_overwrites_what_it_goes_on_from(inputs, checkpoint):
    """--resume of the output or of its checkpoint replaces both; of another run's does not."""
    arguments = [
        "train",
        inputs / "data",
        "-o",
        inputs / "m",
        "--minutes",
        "0.001",
        "--batch",
        8,
        "-q",
        *TINY_RUN,
    ]
    assert call(*arguments, "--resume", checkpoint).exit_code == 0
    first = (inputs / "m").read_bytes()
    result = call(
        "train", inputs / "data", "-o", inputs / ("m" * 256), *arguments[4:], "--resume", checkpoint
    )
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "name too long" in error_lines(result)[0]
    )
    result = call(*arguments, "--resume", checkpoint)
    assert (
        result.exit_code == 1
        and len(error_lines(result)) == 1
        and "exists already" in error_lines(result)[0]
        and (inputs / "m").read_bytes() == first
    )
    assert call(*arguments, "--resume", inputs / "m.ckpt").exit_code == 0
    assert call(*arguments, "--resume", checkpoint, "-f").exit_code == 0
    (inputs / "m.ckpt").unlink()
    shutil.copy(inputs / "m", inputs / "m.safetensors")
    assert (
        call(
            "train",
            inputs / "data",
            "-o",
            inputs / "m.safetensors",
            *arguments[4:],
            "--resume",
            inputs / "m.safetensors",
        ).exit_code
        == 0
    )


def test_export_measures_on_images_that_are_there(tmp_path, photograph):
    """Too small ones are told before the model is written."""
    (tmp_path / "images").mkdir()
    save(photograph(32, 32), tmp_path / "images/a.png")
    output = tmp_path / "e.safetensors"
    source = ROOT / "benchmarks/checkpoints/fast_bfloat16.ckpt"
    result = call("export", source, "-o", output, "--data", tmp_path / "images")
    assert result.exit_code == 1 and "256x256" in error_lines(result)[0] and not output.exists()


def test_the_log_of_another_run(tmp_path, photograph):
    """It is not added to: rows of a run that left no checkpoint are replaced, and without -f
    anything else is refused."""
    (tmp_path / "in").mkdir()
    save(photograph(32, 32), tmp_path / "in/a.png")
    log = tmp_path / "m.safetensors.log.jsonl"
    log.write_text("keep\n")
    run = [
        "train",
        tmp_path / "in",
        "-o",
        tmp_path / "m.safetensors",
        "--minutes",
        "0.01",
        *TINY_RUN,
    ]
    result = call(*run)
    assert result.exit_code == 1 and "log.jsonl: exists already" in error_lines(result)[0]
    assert log.read_text("utf-8") == "keep\n"
    assert call(*run, "-f").exit_code == 0 and "keep" not in log.read_text("utf-8")
    for name in ("m.safetensors", "m.safetensors.ckpt"):
        (tmp_path / name).unlink()
    log.write_text('{"share": 0.1, "steps": 7654321}\n')
    assert call(*run).exit_code == 0 and "7654321" not in log.read_text("utf-8")


def test_an_interrupt_before_the_first_checkpoint(tmp_path, photograph, monkeypatch):
    """One line says that nothing can be resumed; after one there is none."""
    (tmp_path / "in").mkdir()
    save(photograph(32, 32), tmp_path / "in/a.png")
    checkpoint = tmp_path / "m.safetensors.ckpt"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bitsback.train.loop.train", interrupted)
    run = ["train", tmp_path / "in", "-o", tmp_path / "m.safetensors", *TINY_RUN]
    assert "nothing can be resumed" in call(*run).stderr
    assert names(tmp_path) == ["in/a.png"]

    def later(*_, **__):
        checkpoint.write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr("bitsback.train.loop.train", later)
    assert "nothing can be resumed" not in call(*run).stderr
