"""evaluation.py and the command `evaluate`: the rates that papers report."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback import evaluation
from bitsback.cli import evaluate
from bitsback.codecs import Encoder, encode
from bitsback.codecs.image import ImageData
from bitsback.errors import BitsbackError, UnsupportedImage
from bitsback.train.dequantise import dequantised_model
from bitsback.train.measure import bound_bits
from tests.commands import call, error_lines

MAPS = Path("/proc/self/maps")  # the files that this process has mapped, on Linux


@pytest.fixture(scope="module")
def images(photograph):
    return [photograph(16, 24, 0), photograph(16, 24, 1), photograph(17, 9, 2)]


def test_rate_is_the_total_and_its_standard_error():
    """Equal sizes: mean and s / sqrt(n); unequal ones: bits and dimensions added up."""
    found = evaluation.rate([10, 20, 60], [10, 10, 10])
    assert found.mean == 3 and math.isclose(found.error, np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert evaluation.rate([10, 90], [10, 30]).mean == 2.5
    assert evaluation.rate([10, 30], [10, 30]).error == 0
    assert math.isnan(evaluation.rate([10], [10]).error)


def test_tiles_cover_what_they_should():
    """Multiples of 8, at most 256; nothing twice."""
    pixels = np.arange(300 * 530, dtype=np.int64).reshape(300, 530, 1)
    parts = list(evaluation.tiles(pixels))
    assert sorted(p.shape[:2] for p in parts) == sorted(
        [(256, 256), (256, 256), (256, 16), (40, 256), (40, 256), (40, 16)]
    )
    assert len(np.unique(np.concatenate([p.ravel() for p in parts]))) == 296 * 528
    assert not list(evaluation.tiles(pixels[:7]))


@pytest.fixture(scope="module")
def rates(tiny_model, images):
    return evaluation.tile_rates(images, tiny_model)


def test_parts_add_up_to_the_bound(rates, tiny_model, images):
    """Reconstruction + diffusion + prior; the same as the bound of the batches alone."""
    parts = [rates[name].mean for name in ("reconstruction", "diffusion", "prior")]
    assert math.isclose(sum(parts), rates["bound"].mean) and min(parts) > 0
    network = dequantised_model(tiny_model)
    first = evaluation.as_tensor(np.stack(images[:2]))
    last = evaluation.as_tensor(images[2][None, :16, :8])
    two, one = (
        sum(bound_bits(network, tiny_model.levels, x, True, seed=seed, batch=len(x)))
        for x, seed in ((first, 1), (last, 2))
    )
    total = two * 2 * 16 * 24 + one * 16 * 8
    assert math.isclose(rates["bound"].mean, total / (2 * 16 * 24 + 16 * 8), rel_tol=1e-5)
    assert rates["bound"].error > 0


def test_the_coder_comes_near_the_bound(rates):
    """Random weights: by a few percent, since both draw noise."""
    assert abs(rates["net"].mean / rates["bound"].mean - 1) < 0.05


def test_files_are_files(images, tiny_model):
    """The rate of real files, and of a real archive; gray ones have one channel."""
    encoder = Encoder(tiny_model, verify=True)
    data = [ImageData("RGB", pixels) for pixels in images]
    sizes = [len(encode(pixels, model=tiny_model)) for pixels in images]
    found = evaluation.file_rate(data, encoder)
    assert math.isclose(found.mean, 8 * sum(sizes) / sum(p.size for p in images))
    assert evaluation.archive_rate(data, encoder).mean > 0
    gray = [np.ascontiguousarray(pixels[..., :1]) for pixels in images]
    rates = evaluation.tile_rates(gray, tiny_model)
    assert abs(rates["net"].mean / rates["bound"].mean - 1) < 0.1


def test_other_numbers_of_levels(tiny_model, expert_model, tmp_path, images):
    """A model with few or many levels codes and decodes, of one expert or several."""
    for model, count in ((tiny_model, 2), (expert_model, 64)):
        other = evaluation.with_levels(model, count, tmp_path / f"{count}.safetensors")
        # Windows removes no file that is mapped
        assert not MAPS.exists() or f"{count}.safetensors" not in MAPS.read_text("utf-8")
        assert len(other.levels) == count and other.id != model.id
        Encoder(other, verify=True).encode(ImageData("RGB", images[0]))
        assert evaluation.tile_rates(images[:1], other)["net"].mean > 0


def test_grades_side_by_side(tiny_model, images):
    """All grades of the variance, and calibration, which does not hurt on what it was made of."""
    found = evaluation.graded_rates(images[:2], images[:2], tiny_model)
    assert list(found)[-2:] == ["head+colour+passes", "calibrated"] and len(found) == 8
    assert found["calibrated"] < found["head+colour+passes"]
    with pytest.raises(UnsupportedImage, match="8x8"):
        evaluation.graded_rates([images[0][:7]], images[:1], tiny_model)


def test_small_images_are_refused(tiny_model):
    with pytest.raises(UnsupportedImage, match="8x8"):
        evaluation.tile_rates([np.zeros((7, 9, 3), np.uint8)], tiny_model)


def test_seeds_decide(tiny_model, images):
    """The same seed draws the same noise, whatever torch drew before."""
    torch.rand(5)
    some = [evaluation.tile_rates(images, tiny_model, ["bound"], seed=s) for s in (1, 1, 2)]
    assert some[0] == some[1] != some[2]


def test_the_command(images, tiny_model, tmp_path):
    """An array and a folder: JSON, a table, rows; a subset of measures; errors of one line."""
    np.save(tmp_path / "a.npy", np.stack(images[:2]))
    arguments = ["evaluate", tmp_path / "a.npy", "--model", tiny_model.path]
    told = json.loads(call(*arguments, "--json", "-q", "--limit", 2).stdout)
    assert list(told["rates"]) == [*("reconstruction", "diffusion", "prior"), *evaluation.MEASURES]
    assert told["images"] == 2 and told["dims"] == 2 * 16 * 24 * 3 and told["levels"] == 9
    assert told["rates"]["archive"][1] is None and told["rates"]["file"][1] > 0
    lines = call(*arguments, "--row", "--measure", "net", "-q").stdout.splitlines()
    assert len(lines) == 3 and "±" in lines[2] and lines[0].endswith("| net |")
    (_, row) = call(*arguments, "--row", "latex", "--measure", "net").stdout.splitlines()
    assert row.endswith(r" \\") and r"$\pm$" in row
    text = call(*arguments, "--levels", 4, "--measure", "bound", "--grades", tmp_path / "a.npy")
    assert text.exit_code == 0 and "4 levels" in text.stdout and "calibrated" in text.stdout


@pytest.mark.parametrize(
    "wrong",
    ["float", "object", "empty", "nothing", "zip", "sides", "folder", "text", "rgba"]
    + ["no zip", "no type"],
)
def test_what_cannot_be_evaluated(wrong, tmp_path):
    """One line with the file's name."""
    from PIL import Image

    path = tmp_path / "a.npy"
    if wrong == "float":
        np.save(path, np.zeros((2, 8, 8, 3)))
    elif wrong == "object":
        np.save(path, np.array([{}], object))
    elif wrong == "empty":
        np.save(path, np.zeros((0, 8, 8, 3), np.uint8))
    elif wrong == "text":
        path.write_text("no array")
    elif wrong == "nothing":
        path.write_bytes(b"")
    elif wrong == "zip":
        np.savez(tmp_path / "b.npz", a=np.zeros(3))
        (tmp_path / "b.npz").rename(path)
    elif wrong == "no zip":
        path.write_bytes(b"PK\x03\x04")
    elif wrong == "no type":
        np.save(path, np.zeros((8, 8, 3), np.uint8))
        path.write_bytes(path.read_bytes().replace(b"'|u1'", b"()   "))
    elif wrong == "sides":  # of which one is negative
        np.save(path, np.zeros((8, 8, 22, 3), np.uint8))
        path.write_bytes(path.read_bytes().replace(b"(8, 8, 22, 3)", b"(8, 8, -2, 3)"))
    else:
        path = tmp_path / "set"
        path.mkdir()
        if wrong == "rgba":
            Image.new("RGBA", (9, 9)).save(path / "a.png")
    result = call("evaluate", path)
    (line,) = error_lines(result)
    assert result.exit_code == 1 and path.name in line


def test_files_by_the_fallback_codec_are_counted(images, tiny_model, tmp_path):
    """Their rate is not the model's: the table says of how many it is."""
    flat = ImageData("RGB", np.zeros((64, 64, 3), np.uint8))
    encoder = Encoder(tiny_model)
    assert evaluation.file_rate([flat], encoder).by_prior == 0
    Image.fromarray(flat.samples).save(tmp_path / "flat.png")
    result = call("evaluate", tmp_path, "--model", tiny_model.path, "--measure", "file", "--row")
    assert "file (0 by the prior)" in result.stdout
    result = call("evaluate", tmp_path, "--model", tiny_model.path, "--measure", "file", "-q")
    assert "file (0 by the prior)" in result.stdout


def test_files_by_the_prior_are_the_models(tiny_model, photograph, monkeypatch):
    """All of them: nothing is added to the name."""
    monkeypatch.setattr("bitsback.codecs.mode_decision.fallback_hopeless", lambda *_: True)
    monkeypatch.setattr("bitsback.codecs.mode_decision.prior_likely", lambda images, *_: [True])
    found = evaluation.file_rate([ImageData("RGB", photograph(64, 64))], Encoder(tiny_model))
    assert found.by_prior in (0, 1)
    assert evaluate.fallback_share({"images": 1, "files_by_prior": 1}) == ""
    assert evaluate.fallback_share({"images": 1, "files_by_prior": None}) == ""


def test_wrong_arguments(images, tiny_model):
    """The errors that are promised, of this package, ValueError and TypeError."""
    for wrong, error in (
        (([], tiny_model), UnsupportedImage),
        ((images, "fast"), TypeError),
        ((images, tiny_model, ("x",)), ValueError),
        ((images, tiny_model, ()), ValueError),
        (([np.zeros((8, 8, 4), np.uint8)], tiny_model), UnsupportedImage),
        (([np.zeros((8, 8, 3), np.uint16)], tiny_model), UnsupportedImage),
        (([ImageData("L", np.zeros((8, 8), np.uint8))], tiny_model), UnsupportedImage),
    ):
        with pytest.raises(error):
            evaluation.tile_rates(*wrong)
    with pytest.raises(BitsbackError, match="no such device"):
        evaluation.tile_rates(images, tiny_model, device="nowhere")
    for call_ in (
        lambda: evaluation.file_rate([], Encoder(tiny_model)),
        lambda: evaluation.archive_rate([], Encoder(tiny_model)),
        lambda: evaluation.rate([1], [1, 2]),
    ):
        with pytest.raises(ValueError):
            call_()
