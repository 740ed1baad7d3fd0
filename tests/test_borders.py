"""The cost of borders: a file's net bits against those of the same image in one segment."""

import json

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import block_means, encode, encode_image, mode_decision, prior_codec
from bitsback.codecs.archive import encode_archive
from bitsback.codecs.bitstream import container
from bitsback.codecs.borders import border_bits, net_in_one_piece
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import turned
from bitsback.coder.top import Top
from tests.commands import call


def test_border_bits(tiny_model, prior_file, photograph):
    """Net bits minus those of one segment, scaled to the segments' area; None for fallback."""
    pixels = photograph(64, 56)
    data = prior_file(pixels)
    header = container.read_header(data)
    share = 1 - header.start[1] * header.start[2] / (64 * 56)
    bits, whole = (
        border_bits(data, model=tiny_model),
        np.ascontiguousarray(turned(pixels, header.flips)),
    )
    _, _, top, _, _ = prior_codec.open_stack(header, container.read(data)[1], tiny_model, [whole])
    assert bits == pytest.approx(
        header.net_bits - share * net_in_one_piece(tiny_model.chain(), whole, top)[0]
    )
    assert abs(bits) < 0.2 * header.net_bits
    assert border_bits(encode(pixels[:9, :9])) is None


def test_one_piece_is_the_stacks_growth_whatever_the_limit(tiny_model, photograph, monkeypatch):
    """Two pieces cost nearly what one does: pieces bound memory and hardly change the figure."""
    pixels = photograph(64, 40)
    _, top = block_means.write([pixels], Top.fitted([pixels], tiny_model.levels), tiny_model.levels)
    top = (
        top
        if isinstance(top, block_means.LocalTop)
        else block_means.LocalTop(
            top.mean32, top.scale, (np.arange(12, dtype=np.int32).reshape(2, 2, 3),), 8
        )
    )
    whole, debt = net_in_one_piece(tiny_model.chain(), pixels, top)
    monkeypatch.setattr("bitsback.codecs.segment_layout.ENCODER_MAX_PIXELS", 32 * 40)
    pieces = net_in_one_piece(tiny_model.chain(), pixels, top)
    assert pieces == pytest.approx((whole, debt), rel=0.05) and whole > 0 and debt > 1


def test_info_borders(tmp_path, tiny_model, prior_file, photograph):
    """`info --borders` adds two lines to a file under the prior."""
    (tmp_path / "x.bbk").write_bytes(prior_file(photograph(64, 56)))
    assert "border_bytes" not in call("info", tmp_path / "x.bbk").stdout
    told = call("info", tmp_path / "x.bbk", "--borders", "--model", tiny_model.path)
    assert (
        told.exit_code == 0
        and "border_bytes" in told.stdout
        and "border_bits_per_dim" in told.stdout
    )
    assert np.isfinite(float(told.stdout.split("border_bits_per_dim")[1].split()[0]))


def test_info_borders_of_gray_images_and_archives(tmp_path, tiny_model, photograph, monkeypatch):
    """A gray image has a third of the dimensions; of an archive, in groups or not, the rest of
    `info` is told.
    """
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    gray = ImageData("L", np.ascontiguousarray(photograph(64, 56)[..., 0]))
    (tmp_path / "x.bbk").write_bytes(encode_image(gray, model=tiny_model))
    told = call("info", tmp_path / "x.bbk", "--borders", "--json", "--model", tiny_model.path)
    facts = json.loads(told.stdout)
    bits = border_bits((tmp_path / "x.bbk").read_bytes(), model=tiny_model)
    assert bits and facts["border_bits_per_dim"] == pytest.approx(bits / (64 * 56))
    (tmp_path / "in").mkdir()
    for i in range(2):
        Image.fromarray(photograph(40, 40, i)).save(tmp_path / f"in/{i}.png")
    for groups in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bitsback.codecs.groups.GROUP_IMAGES", 2 // groups)
            patch.setattr("bitsback.codecs.groups.FEWEST_BYTES", 1)
            data, _ = encode_archive([tmp_path / "in"], model=tiny_model)
        assert len(container.read_groups(data)) == groups
        (tmp_path / "set.bbk").write_bytes(data)
        told = call("info", tmp_path / "set.bbk", "--borders", "--model", tiny_model.path)
        assert told.exit_code == 0 and "1.png  40x40" in told.stdout
        assert "border_bytes" not in told.stdout
