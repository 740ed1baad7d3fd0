"""benchmarks/card and device_launches: what is prepared for a lent card, without one."""

import sys

import pytest
import torch

from benchmarks.card import pack, start
from bitsback.train.packed_weights import read_packed
from tests.conftest import INTERPRETED


def test_archives_hold_all_files_and_no_more_than_fits(tmp_path, monkeypatch):
    """First-fit, the largest first; a file larger than an archive has one of its own."""
    monkeypatch.setattr(pack, "LIMIT", 100)
    files = [tmp_path / f"{size}.weights" for size in (120, 70, 60, 40, 30, 1)]
    for file in files:
        file.write_bytes(bytes(int(file.stem)))
    found = [[int(file.stem) for file in group] for group in pack.groups(files)]
    assert found == [[120], [70, 30], [60, 40], [1]]


def test_what_training_left_is_packed(tmp_path, monkeypatch):
    """Weights below a model's folder and its logs, under their paths; again over the first."""
    source, output = tmp_path / "out", tmp_path / "result"
    (source / "fast").mkdir(parents=True)
    output.mkdir()
    (source / "fast" / "level_0.weights").write_bytes(b"w")
    (source / "fast" / "level_0.log.jsonl").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["pack", str(source), str(output)])
    for _ in range(2):
        pack.main()
    names = sorted(path.name for path in output.iterdir())
    assert names == ["weights_0.tar", "weights_1.tar"]
    assert b"fast/level_0.weights" in (output / "weights_0.tar").read_bytes()


def test_weights_to_begin_from(tmp_path, monkeypatch, capsys):
    """One expert for each that the recipe trains, of the levels it has."""
    monkeypatch.setattr(sys, "argv", ["start", str(tmp_path), "benchmarks/recipes/fast.toml"])
    start.main()
    assert capsys.readouterr().out.startswith("fast 8 experts")
    states = read_packed(tmp_path / "fast.weights")
    assert [state["only"] for state in states] == [[k, k + 1] for k in range(7)] + [[7, 9]]


@pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled")
def test_launches_are_timed():
    """Each kind, alone and beside threads; a CUDA graph only on a GPU."""
    pytest.importorskip("triton")
    from benchmarks.device_launches import measure

    found = measure(torch.device("cpu"), 3)
    assert {"launch", "Triton", "torch", "empty"} < set(found) and "graph" not in found
    assert all(float(value) > 0 for value in found.values())
