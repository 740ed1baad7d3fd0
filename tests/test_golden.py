"""Golden files, made once by tests/make_golden.py: they decode, and encode to the same bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode, decode_image, flat_map, prior_codec, segments
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.fallback.codec import JXL, decode_fallback
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import same, same_samples
from bitsback.coder.model import Model
from bitsback.reading import Archive
from tests.make_golden import (
    FOLDER,
    cases,
    encode_under_prior,
    images,
    jxl_parts,
    of_other_models,
)

MODES = sorted((Path(__file__).parent / "golden").glob("v*/modes/*.bbk"))
ARCHIVES = sorted((Path(__file__).parent / "golden").glob("v*/archives/*.bbk"))
PARTS = sorted((Path(__file__).parent / "golden").glob("v*/jxl/*.part"))
OTHERS = sorted((Path(__file__).parent / "golden").glob("v*/models/*.bbk"))
FILES = sorted((Path(__file__).parent / "golden").glob("v*/*.bbk"))


@pytest.fixture(scope="module")
def default_model():
    return Model.open()


def test_all_cases_are_there():
    """Every case of make_golden has its file; a lost golden does not pass."""
    assert {p.stem for p in PARTS} == set(jxl_parts())
    assert {p.stem for p in OTHERS} == set(of_other_models())
    assert {p.stem for p in FOLDER.glob("*.bbk")} == set(cases()) and {
        p.stem for p in (FOLDER / "modes").glob("*.bbk")
    } == set(images())
    assert sum(p.with_suffix(".plain").exists() for p in FILES) >= 3
    headers = {
        p.stem: container.read_header(p.read_bytes()) for p in (FOLDER / "modes").glob("*.bbk")
    }
    assert all(
        headers[name].model
        for name in headers
        if name.split("_")[0] in ("rgba", "gray", "told", "tuned") or name.startswith("deep_photo")
    ) and headers["tuned_72x80"].section(Tag.BIAS_UPDATES)
    assert headers["told_96x88"].section(Tag.FLAT_MAP) and headers["told_96x88"].sharpness


@pytest.mark.parametrize("path", MODES, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_golden_file_of_another_mode_decodes(path, default_model, codec_device):
    """Mode, samples, palette, transparency and metadata of the image file beside it."""
    (beside,) = (other for other in path.parent.glob(f"{path.stem}.*") if other != path)
    image, expected = (
        decode_image(path.read_bytes(), model=default_model, device=codec_device),
        read_image(beside, beside),
    )
    image, expected = (
        replace(one, metadata=views(one.metadata)) for one in (image, expected)
    )  # chunks are kept since, by what they say
    assert image.mode == expected.mode and same(image, expected)


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_golden_archive_decodes(path, default_model):
    """Every image of the folder beside it, by name; times of the index; several groups."""
    archive, folder = Archive(path, model=default_model), path.with_suffix("")
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*.png")]
    assert sorted(archive.names) == sorted(names) and len(archive.groups) > 1
    assert len({entry.mtime for entry in archive.entries}) == len(names)
    for name in names:
        image, expected = archive.image(name), read_image(folder / name, name)
        assert image.mode == expected.mode and np.array_equal(image.samples, expected.samples)
        assert image.look == expected.look


def test_an_archive_is_there():
    assert {p.stem for p in (FOLDER / "archives").glob("*.bbk")} == {"groups"}


@pytest.mark.parametrize("path", PARTS, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_golden_part_by_jpeg_xl_decodes(path):
    """The samples beside it, whatever version of libjxl is installed."""
    (samples,) = np.load(path.with_suffix(".npz")).values()
    assert path.read_bytes()[0] == JXL
    assert same_samples(decode_fallback(path.read_bytes(), samples.shape, samples.dtype), samples)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_golden_file_decodes(path, default_model, codec_device):
    """The pixels of the image beside it, bit for bit."""
    assert np.array_equal(
        decode(path.read_bytes(), model=default_model, device=codec_device),
        np.array(Image.open(path.with_suffix(".png"))),
    )


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_golden_file_of_another_model_decodes(path, codec_device):
    """By the shipped model that its header names."""
    pixels = decode(path.read_bytes(), device=codec_device)
    assert np.array_equal(pixels, np.array(Image.open(path.with_suffix(".png"))))


def test_a_golden_file_has_many_segments_lanes_and_checksums():
    path = FOLDER / "models" / "fast_152x160.bbk"
    header, payload = container.read_damaged(path.read_bytes())
    assert (header, payload) == container.read(path.read_bytes())
    assert len(header.segments) > 2 and header.lanes.most > 8


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.with_suffix(".plain").exists()],
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_golden_file_encodes_to_the_same_bytes(path, default_model, monkeypatch, codec_device):
    """Same bytes from this machine, where the encoder chooses as it did then: corner, segments,
    lanes, flat map.  The plain strip is taken as stored (it is libwebp's).
    """
    data, strip = path.read_bytes(), path.with_suffix(".plain").read_bytes()
    header = container.read_header(data)
    stored, extents = prior_codec.fallback_parts, iter(header.segments)
    monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: header.flips)
    monkeypatch.setattr(flat_map, "WORTH", 0.6)
    monkeypatch.setattr(prior_codec, "lane_rule", lambda sizes: header.lanes)
    monkeypatch.setattr(segments, "next_segment", lambda *_: next(extents))
    monkeypatch.setattr(
        prior_codec,
        "fallback_parts",
        lambda images, start: strip if start == header.start else stored(images, start),
    )
    pixels = np.array(Image.open(path.with_suffix(".png")))
    assert encode_under_prior(pixels, default_model, codec_device)[0] == data
