"""preview.py: what decodes first, at a part of the cost, near to the picture and grey elsewhere."""
import dataclasses

import numpy as np
import pytest

from bitsback.codecs import container, encode, stacked
from bitsback.codecs.archive import encode_archive
from bitsback.codecs.places import locate, turned
from bitsback.codecs.segments import blocks, planes
from bitsback.context import context_chain, nothing
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage, WrongModel
from bitsback.model import Model
from bitsback.preview import GREY, preview
from bitsback.stack import Stack

HEIGHT = 128


@pytest.fixture(scope="module")
def pixels(photograph):
    return photograph(HEIGHT, 64)


@pytest.fixture(scope="module")
def shipped():
    return Model.open()


@pytest.fixture(scope="module")
def data(pixels, prior_file, shipped):
    return prior_file(pixels, shipped)


def error(seen, pixels):
    return np.sqrt(np.mean((seen.pixels[seen.known].astype(float) - pixels[seen.known]) ** 2))


def covered(header, count):
    """(H, W) bool: the last `count` segments of a file of one picture."""
    mask = np.zeros((header.height, header.width), bool)
    for place in locate([mask.shape], header.start, header.segments)[::-1][:count]:
        blocks([turned(mask, header.flips)], place)[0][:] = True
    return mask


def test_the_part_that_decodes_first(data, pixels, shipped):
    """The last segment, near to the picture, nearer where more of it is decoded; all else grey; a part of the passes."""
    last = covered(container.read_header(data), 1)
    quick, good = (preview(data, model=shipped, sigma=sigma) for sigma in (40.0, 3.0))
    for seen in (quick, good):
        assert (seen.known == last).all() and 0.1 < last.mean() < 0.9 and seen.pixels.shape == pixels.shape
        assert (seen.pixels[~last] == GREY).all()
    assert error(good, pixels) < 3 and error(quick, pixels) < 12 and error(good, pixels) < error(quick, pixels)
    assert quick.sigma > 9 > good.sigma and quick.share < good.share < 0.5


def test_the_share_counts_network_passes(data, shipped, monkeypatch):
    """share is what the network was asked for beside the context, pixels times passes, of what a full decode asks."""
    passes, network = [], type(shipped.chain().network)
    trunk, header = network.trunk, container.read_header(data)
    monkeypatch.setattr(network, "trunk", lambda self, index, y: passes.append(index) or trunk(self, index, y))
    last = locate([(header.height, header.width)], header.start, header.segments)[-1]
    for sigma, steps in ((9.0, 3), (3.0, 1)):
        passes.clear()
        share = preview(data, model=shipped, sigma=sigma, steps=steps).share
        coded = header.height * header.width - header.start[1] * header.start[2]
        assert share == pytest.approx(len(passes) * last.pixels / (coded * len(shipped.levels)))


def test_more_segments(data, pixels, shipped):
    """All but the last of them come out exactly, and the last is near; with all of them only the plain block is grey."""
    header = container.read_header(data)
    assert len(header.segments) > 1
    seen = preview(data, model=shipped, segments=len(header.segments) + 5)
    exact, shown = covered(header, len(header.segments) - 1), covered(header, len(header.segments))
    assert (seen.known == shown).all() and (seen.pixels[exact] == pixels[exact]).all()
    assert (seen.pixels[~shown] == GREY).all() and (~shown).sum() == header.start[1] * header.start[2] and 0 < error(seen, pixels) < 5
    assert preview(data, model=shipped).share < seen.share < 1


@pytest.mark.parametrize("k", [0, 4, 11])
def test_decoding_stops_at_a_level(tiny_model, prior_file, photograph, k):
    """Chain.pop down to y_k, then the rest of its steps by hand, is the whole pop."""
    pixels = photograph(64, 48)
    header, payload = container.read(prior_file(pixels))
    chain, place = tiny_model.chain(), locate([(64, 48)], header.start, header.segments)[-1]
    shape = 1, 3, place.height, place.width
    block = planes(blocks([turned(pixels, header.flips)], place)[0])
    known = nothing(block)
    _, stack, top, _, _ = stacked.open_stack(header, payload, tiny_model, [np.empty((64, 48, 3), np.uint8)])
    top = top.at(place, 3)
    y = chain.pop(stack, shape, top, known, k)
    for index in range(k, -1, -1):
        value = chain.reverse[index].pop(stack, y, context_chain(chain.forward_table, chain.levels, known)[index])
        chain.forward[index].push(stack, y, value, known)
        y = value
    assert (y == block).all()


def test_a_plain_file_is_decoded(photograph):
    """Nothing to save there: the picture itself, a share of 1."""
    pixels = photograph(9, 11)
    seen = preview(encode(pixels))
    assert (seen.pixels == pixels).all() and seen.share == 1 and seen.known.all()


def test_bad_input(data, shipped, other_model, prior_file, photograph, tmp_path):
    """Archives, foreign bytes, altered bytes, missing models, words that end: our errors."""
    from PIL import Image
    Image.fromarray(photograph(9, 11)).save(tmp_path / "a.png")
    with pytest.raises(UnsupportedImage):
        preview(encode_archive([tmp_path])[0])
    with pytest.raises(NotOurFile):
        preview(b"something else")
    with pytest.raises(DamagedFile):
        preview(data[:-5], model=shipped)
    with pytest.raises(WrongModel):
        preview(prior_file(photograph(64, 48), other_model))
    header, payload = container.read(data)
    short = container.write(dataclasses.replace(header), payload[-200:])
    with pytest.raises(DamagedFile):
        preview(short, model=shipped)
