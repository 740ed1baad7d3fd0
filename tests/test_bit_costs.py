"""bit_costs.py: the parts of a file add up to the file, whatever is in it."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz_cases
from bitsback.ans.lanes import EXPONENT_BITS
from bitsback.codecs import encode, mode_decision
from bitsback.codecs.bit_costs import bit_costs
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.checksums import checked_entries
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.groups import encode_groups
from bitsback.codecs.image import ImageData
from bitsback.coder.chain import Chain
from tests.commands import call


@pytest.fixture(scope="module")
def files(tiny_model):
    """{name: bytes}: fallback codec and prior, with each section, gray, an archive."""
    return {
        name: data
        for name, (data, _) in fuzz_cases.good_files(tiny_model, np.random.default_rng(3)).items()
    }


def test_parts_add_up_to_the_file(tiny_model, files):
    """To the bit; latents of all levels, each section under its name, and nothing is negative but
    a latent that happens to be cheaper than what was popped for it.
    """
    seen = set()
    for name, data in files.items():
        costs, header = bit_costs(data, model=tiny_model), container.read_header(data)
        assert costs.total == 8 * len(data), name
        assert len(costs.latents) == (len(tiny_model.levels) + 1) * bool(header.model)
        assert costs.sections == {
            Tag(tag).name.lower(): 8 * len(body) for tag, body in header.sections.items()
        }
        assert costs.header > 0 and costs.fallback > 0
        most = header.lanes.most if header.model else 0
        least = {"prior lanes": 6}.get(name, min(1, most))  # fixed samples open none
        assert least <= most
        assert EXPONENT_BITS * least <= costs.closing < EXPONENT_BITS * most + 8, name
        seen |= set(costs.sections)
    assert seen == {"bias_updates", "flat_map", "block_means", "sharpness", "depth"}


def test_latents_are_what_the_encoder_pays(tiny_model, prior_file, photograph, monkeypatch):
    """By another way: bits of each push and pop of the encoder, watched from outside."""
    watched, push = [], Chain.push

    def watching(self, stack, x, top, context, *rest):
        before = stack.size_bits
        push(self, stack, x, top, context, *rest)
        watched.append(stack.size_bits - before)

    monkeypatch.setattr(Chain, "push", watching)
    data = prior_file(photograph(64, 56))
    costs = bit_costs(data, model=tiny_model)
    assert len(watched) == len(container.read_header(data).segments)
    assert abs(sum(costs.latents) - sum(watched)) < 64
    assert costs.sigmas[0] == 0 and list(costs.sigmas) == sorted(costs.sigmas)


def test_info_prints_them(tiny_model, prior_file, photograph, tmp_path):
    """`info --levels`: a line for each part, and JSON whose parts are the file's bits."""
    (tmp_path / "a.bbk").write_bytes(prior_file(photograph(56, 56)))
    size = (tmp_path / "a.bbk").stat().st_size
    told = call("info", "--levels", "--json", "--model", tiny_model.path, tmp_path / "a.bbk")
    facts = json.loads(told.output)
    parts = facts["bits"]
    assert sum(parts.values()) == 8 * size
    assert [name for name in parts if name.startswith(("x", "y_"))] == [
        "x",
        *(f"y_{k}" for k in range(len(tiny_model.levels))),
    ]
    lines = call("info", "--levels", "--model", tiny_model.path, tmp_path / "a.bbk").output
    assert "y_0" in lines and "bits/dim" in lines and f"{8 * size}" in lines


def test_info_of_a_file_without_the_prior(tmp_path):
    """Header and fallback codec; no model is needed."""
    (tmp_path / "a.bbk").write_bytes(encode(np.zeros((9, 9, 3), np.uint8)))
    facts = json.loads(call("info", "--levels", "--json", tmp_path / "a.bbk").output)
    size = (tmp_path / "a.bbk").stat().st_size
    assert sum(facts["bits"].values()) == 8 * size and set(facts["bits"]) == {"header", "fallback"}


def test_info_of_a_bad_file_is_one_line(tmp_path):
    """A damaged file, and one that is no file of ours."""
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    result = call("info", "--levels", tmp_path / "a.png")
    assert result.exit_code == 1 and "a.png" in result.output and "Traceback" not in result.output


def test_remainders_of_all_groups(tiny_model, photograph, monkeypatch):
    """Parts of an archive in groups whose images have 16 bits add up to it, too."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    rng = np.random.default_rng(5)
    colours = [photograph(64, 64, i).astype(np.uint16) for i in range(2)]
    fine = [256 * c + rng.integers(0, 256, c.shape, dtype=np.uint16) for c in colours]
    images = [ImageData("RGB;16", samples) for samples in fine]
    entries = [container.Entry(64, 64, f"{i}.png", mode="RGB;16") for i in range(2)]
    monkeypatch.setattr("bitsback.codecs.groups.GROUP_IMAGES", 1)
    monkeypatch.setattr("bitsback.codecs.groups.FEWEST_BYTES", 1)
    entries = checked_entries(images, tuple(entries))
    encoder = Encoder(tiny_model)
    data = encode_groups(images, entries, encoder, lambda share: None, None)
    assert len(container.read_groups(data)) == 2
    costs = bit_costs(data, model=tiny_model)
    assert costs.remainders > 8 * fine[0].size and costs.total == 8 * len(data)
