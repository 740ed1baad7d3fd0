"""bit_map.py and the command `map`: each bit of a file at the pixels it codes."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz_cases
from bitsback.codecs import Encoder, encode
from bitsback.codecs.bit_costs import bit_costs
from bitsback.codecs.bit_map import bit_map
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import locate, turned
from bitsback.errors import DamagedFile, UnsupportedImage
from tests.commands import call, error_lines


@pytest.fixture(scope="module")
def files(tiny_model):
    made = fuzz_cases.good_files(tiny_model, np.random.default_rng(3))
    return {name: data for name, (data, _) in made.items() if "archive" not in name}


def test_the_map_is_the_file(tiny_model, files):
    """To the bit: of every kind of file, with each kind of side information; each latent too."""
    for name, data in files.items():
        found, costs = bit_map(data, model=tiny_model), bit_costs(data, model=tiny_model)
        header = container.read_header(data)
        assert found.total == 8 * len(data), name
        assert abs(sum(found.parts.values()) - 8 * len(data)) < 1e-6
        assert found.pixels.shape == (header.height, header.width)
        assert [round(float(one.sum())) for one in found.latents] == list(costs.latents), name
        assert found.rest["header"] == costs.header and found.rest.get("closing", 0) == (
            costs.closing
        )
        assert found.sigmas == costs.sigmas and min(found.rest.values()) > 0
        assert (found.fallback >= 0).all()
        assert found.fallback.any() or found.rest["remainders"] == costs.remainders > 0


def test_what_no_segment_covers_costs_nothing_there(tiny_model, files):
    """Latents are zero in the start block, the fallback's bits elsewhere; whichever corner."""
    data = files["prior lanes"]
    header, found = container.read_header(data), bit_map(data, model=tiny_model)
    covered = np.zeros(found.fallback.shape, bool)
    for place in locate(header.sizes, header.start, header.segments):
        turned(covered, header.flips)[
            place.top : place.top + place.height, place.left : place.left + place.width
        ] = True
    assert covered.any() and not covered.all()
    assert (found.latents[:, ~covered] == 0).all() and (found.fallback[covered] == 0).all()
    assert (found.latents[0][covered] > 0).all() and (found.fallback[~covered] > 0).all()


def test_known_samples_cost_nothing(tiny_model, files):
    """Pixels that the flat map tells have no bits of their own."""
    found = bit_map(files["prior flat"], model=tiny_model)
    coded = found.fallback[40:] == 0  # beside the start block
    assert (found.latents[:, :24] == 0).all() and found.latents[0, 40:][coded].all()


def test_noise_is_where_it_costs(tiny_model, prior_file, photograph):
    """A block of noise in a smooth image, off the middle: p(x | y_0) costs more there."""
    pixels = photograph(72, 64) // 8 + 100
    rng = np.random.default_rng(0)
    pixels[40:56, 8:24] = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = bit_map(prior_file(pixels), model=tiny_model)
    coded = found.fallback == 0
    inside = np.zeros_like(coded)
    inside[40:56, 8:24] = True
    assert coded[inside].all()
    plane = found.latents.sum(0)
    assert plane[inside].mean() > 1.3 * plane[coded & ~inside].mean()


def test_a_wrong_decode_has_no_map(tiny_model, files, tmp_path):
    """Pixels that are not those of the digest, though the file's CRC is right: an error of `map`,
    of `info --levels` and of `info --borders`, no figure."""
    header, payload = container.read(files["prior flat"])
    other = dataclasses.replace(header, digest=bytes(8))
    (tmp_path / "a.bbk").write_bytes(container.write(other, payload))
    with pytest.raises(DamagedFile, match="do not match"):
        bit_map((tmp_path / "a.bbk").read_bytes(), model=tiny_model)
    for command in ["info", "--levels"], ["info", "--borders"], ["map", "-o", tmp_path / "m.png"]:
        if command[0] == "map":
            pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        result = call(*command, "--model", tiny_model.path, tmp_path / "a.bbk")
        assert result.exit_code == 1 and "do not match" in error_lines(result)[0]


def test_archives_have_no_map(tiny_model):
    image = ImageData("L", np.zeros((2, 2), np.uint8))
    data = Encoder().encode_many([image], (container.Entry(2, 2, "a", mode="L"),))
    for archive in (data, container.write_groups([(1, data), (1, data)])):
        with pytest.raises(UnsupportedImage, match="a map shows one image"):
            bit_map(archive)


def test_the_command_draws(tiny_model, prior_file, photograph, tmp_path):
    """A picture of a file with a panel for each level; the line tells bytes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    (tmp_path / "a.bbk").write_bytes(prior_file(photograph(56, 56)))
    options = ["--levels", "--model", tiny_model.path]
    result = call("map", tmp_path / "a.bbk", "-o", tmp_path / "map.png", *options)
    assert result.exit_code == 0, result.stderr
    assert f"{(tmp_path / 'a.bbk').stat().st_size} bytes" in result.stdout
    picture = np.array(Image.open(tmp_path / "map.png"))
    assert picture.shape[2] == 3 and picture.std() > 20
    assert picture.shape[0] > picture.shape[1] > 900
    again = call("map", tmp_path / "a.bbk", "-o", tmp_path / "map.png", *options)
    assert again.exit_code == 1 and "exists" in error_lines(again)[0]


def test_the_command_codes_an_image(photograph, tmp_path):
    """An image is coded first, here by the fallback codec; other inputs are one line."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    Image.fromarray(photograph(9, 9)).save(tmp_path / "a.png")
    result = call("map", tmp_path / "a.png", "-o", tmp_path / "map.png")
    size = len(encode(photograph(9, 9)))
    assert result.exit_code == 0 and f"{size} bytes" in result.stdout
    (tmp_path / "b.txt").write_text("no image")
    result = call("map", tmp_path / "b.txt", "-o", tmp_path / "b.png")
    assert result.exit_code == 1 and "b.txt" in error_lines(result)[0]
