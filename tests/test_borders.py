"""The cost of borders: a file's net bits against those of the same image in one segment."""

import numpy as np
import pytest

from bitsback.codecs import block_means, encode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.borders import border_bits, net_in_one_piece
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
