"""decompress --salvage: what of damaged files is written, and what is said of it."""

import json

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import encode_image
from bitsback.codecs.bitstream import block_checks
from bitsback.codecs.image import ImageData
from tests.commands import call, error_lines, names


@pytest.fixture
def damaged(tmp_path, monkeypatch, prior_file, photograph):
    """(path of a file that is cut, its image)."""
    monkeypatch.setattr(block_checks, "BLOCK", 12)
    image = photograph(104, 120)
    data = prior_file(image)
    (tmp_path / "a.bbk").write_bytes(data[: len(data) * 3 // 4])
    (tmp_path / "whole.bbk").write_bytes(data)
    return tmp_path / "a.bbk", image


def salvage(model, *arguments):
    return call("decompress", "--salvage", "--model", model.path, *arguments)


def test_a_part_of_an_image(damaged, tiny_model):
    """Beside the file, transparent where it is lost; status 1, one line; nothing is overwritten."""
    path, image = damaged
    result = salvage(tiny_model, path, "-q")
    assert result.exit_code == 1 and names(path.parent) == ["a.bbk", "a.salvaged.png", "whole.bbk"]
    (line,) = error_lines(result)
    assert line.startswith(f"bitsback: {path}: salvaged in part: ") and "% of the pixels" in line
    with Image.open(path.with_name("a.salvaged.png")) as written:
        pixels = np.array(written)
    mask = pixels[..., 3] == 255
    assert 0.1 < mask.mean() < 0.9 and (pixels[mask][:, :3] == image[mask]).all()
    again = salvage(tiny_model, path, "-q")
    assert again.exit_code == 1 and "exists" in error_lines(again)[0]
    assert salvage(tiny_model, path, "-q", "-f").exit_code == 1
    told = salvage(tiny_model, path, "--json", "-o", path.with_name("b.png"))
    facts = [json.loads(line) for line in told.stdout.splitlines()]
    assert facts[0]["targets"] == [str(path.with_name("b.png"))] and "error" in facts[1]


def test_files_that_are_whole_are_restored_as_ever(damaged, tiny_model):
    """Under their own names, status 0; a mixture is status 1."""
    path, image = damaged
    whole = path.with_name("whole.bbk")
    assert salvage(tiny_model, whole).exit_code == 0
    assert np.array_equal(np.array(Image.open(path.with_name("whole.png"))), image)
    folder = path.parent / "out"
    folder.mkdir()
    result = salvage(tiny_model, whole, path, "--dir", folder, "-j", "2")
    assert result.exit_code == 1 and names(folder) == ["a.salvaged.png", "whole.png"]


def test_a_mode_that_png_does_not_hold(tmp_path, tiny_model):
    """All of such an image, of which the last checksum alone is damaged, is written as TIFF."""
    noise = np.random.default_rng(2).integers(0, 256, (150, 150, 4), np.uint8)
    data = encode_image(ImageData("CMYK", noise))
    (tmp_path / "a.bbk").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = salvage(tiny_model, tmp_path / "a.bbk", "-q")
    assert result.exit_code == 1 and names(tmp_path) == ["a.bbk", "a.tiff"]
    assert np.array_equal(np.array(Image.open(tmp_path / "a.tiff")), noise)


def test_nothing_to_salvage(tmp_path, tiny_model, damaged):
    """One line that says why, status 1, no file."""
    path, _ = damaged
    small = tmp_path / "small.bbk"
    small.write_bytes(path.read_bytes()[:200])
    result = salvage(tiny_model, small)
    assert result.exit_code == 1 and not list(tmp_path.glob("small*.png"))
    (line,) = error_lines(result)
    assert line.startswith(f"bitsback: {small}: ") and "nothing of it can be salvaged" in line


def test_an_archive(tmp_path, tiny_model, photograph):
    """Images of whole groups under their names; those of a damaged one are named as lost."""
    for i in range(6):
        Image.fromarray(photograph(20, 20, i)).save(tmp_path / f"{i}.png")
    sources = [tmp_path / f"{i}.png" for i in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitsback.codecs.groups.GROUP_IMAGES", 3)
        patch.setattr("bitsback.codecs.groups.FEWEST_BYTES", 1)
        target = tmp_path / "set.bbk"
        made = call("compress", "--archive", target, *sources, "--model", tiny_model.path)
        assert made.exit_code == 0
    data = bytearray(target.read_bytes())
    data[-9] ^= 1
    target.write_bytes(data)
    folder = tmp_path / "out"
    folder.mkdir()
    result = salvage(tiny_model, target, "--dir", folder, "-q")
    assert result.exit_code == 1 and names(folder) == ["0.png", "1.png", "2.png"]
    assert "group 2 of 2" in error_lines(result)[0]


def test_refused_with_rm_and_only(damaged, tiny_model):
    path, _ = damaged
    for option in (["--rm"], ["--only", "x"]):
        result = salvage(tiny_model, path, *option)
        assert result.exit_code == 2 and "--salvage cannot be combined" in result.stderr
