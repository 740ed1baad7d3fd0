"""plugins/pillow.py: .bbk by Image.open and Image.save, lazily, with metadata and Pillow's
errors.
"""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from bitsback.codecs import decode_image, encode, encode_image, mode_decision
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import MODES, ImageData, same
from bitsback.coder.model import Model
from bitsback.plugins import pillow
from tests.commands import call
from tests.image_modes import of_mode

IN_PILLOW = [mode for mode in MODES if mode not in ("RGB;16", "RGBA;16", "LA;16")]


def saved(image, **options):
    out = io.BytesIO()
    image.save(out, "BITSBACK", **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", IN_PILLOW)
def test_every_mode_opens_and_saves(photograph, mode):
    """Pixels, palette and transparency of every mode of Pillow: opened and saved, the ImageData is
    the one that was encoded.
    """
    image = of_mode(mode, 9, 7, photograph)
    with Image.open(io.BytesIO(encode_image(image))) as pillow:
        assert (pillow.format, pillow.mode, pillow.size) == ("BITSBACK", mode, (7, 9))
        pillow.load()
        assert np.array_equal(np.array(pillow), image.samples)
        back = decode_image(saved(pillow))
    kept = {key: value for key, value in image.metadata.items() if key != "text"}
    assert (
        same(
            ImageData(back.mode, back.samples, back.look, kept),
            ImageData(mode, image.samples, image.look, kept),
        )
        and back.metadata == kept
    )


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_a_palette_without_entries(mode, tmp_path):
    """That of a new image of Pillow: saved, opened and restored, black as Pillow shows it."""
    image = Image.new(mode, (5, 4), 3 if mode == "P" else (3, 200))
    assert image.getpalette() == []
    (tmp_path / "x.bbk").write_bytes(saved(image))
    with Image.open(tmp_path / "x.bbk") as back:
        assert back.tobytes() == image.tobytes() and back.getpalette() == []
    result = call("decompress", tmp_path / "x.bbk")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / ("x.png" if mode == "P" else "x.tiff")) as back:
        assert (back.mode, back.tobytes()) == (mode, image.tobytes())
        assert back.convert("RGB").getextrema() == ((0, 0),) * 3


def test_pixels_are_decoded_only_when_they_are_asked_for(tmp_path, photograph, monkeypatch):
    """open reads the header alone: size and mode are available without decoding."""
    (tmp_path / "x.bbk").write_bytes(encode(photograph(9, 11)))
    with monkeypatch.context() as patch:
        patch.setattr(pillow, "decode_image", lambda *_, **__: pytest.fail("decoded"))
        image = Image.open(tmp_path / "x.bbk")
        assert image.size == (11, 9) and image.mode == "RGB"
    assert np.array_equal(np.array(image), photograph(9, 11))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies(tmp_path, photograph, copied):
    """As of any image of Pillow, in another process too."""
    (tmp_path / "x.bbk").write_bytes(encode(photograph(9, 11)))
    with Image.open(tmp_path / "x.bbk") as image:
        again = copied(image)
    assert again.tobytes() == photograph(9, 11).tobytes() and again.size == (11, 9)


def test_metadata_are_there_when_they_are_asked_for(tmp_path, photograph):
    """They lie with the pixels: asking for them decodes both, and so Exif turns the image."""
    exif = Image.Exif()
    exif[0x112] = 6
    image, path = Image.fromarray(photograph(9, 11)), tmp_path / "a.bbk"
    image.save(path, exif=exif, dpi=(72, 72), icc_profile=b"profile")
    with Image.open(path) as opened:
        assert dict(opened.getexif()) == {0x112: 6} and opened.info["dpi"] == (72, 72)
    assert ImageOps.exif_transpose(Image.open(path)).size == (9, 11)
    Image.open(path).save(tmp_path / "b.bbk", icc_profile=None)  # as PNG's save leaves it out
    assert set(Image.open(tmp_path / "b.bbk").info) == {"dpi", "exif"}


@pytest.mark.parametrize("option", [{"exif": 5}, {"dpi": 72}, {"icc_profile": "sRGB"}])
def test_options_of_another_type_are_refused(tmp_path, photograph, option):
    (name,) = option
    with pytest.raises(OSError, match=name):
        Image.fromarray(photograph(9, 11)).save(tmp_path / "a.bbk", **option)
    assert not list(tmp_path.iterdir())


def test_saving_by_suffix_with_options(tmp_path, tiny_model, photograph):
    """The suffix determines the format; model= is passed on; metadata can be options, as of other
    formats.
    """
    Image.fromarray(photograph(60, 50)).save(
        tmp_path / "x.bbk",
        model=tiny_model,
        device="cpu",
        verify=True,
        tuning=0,
        icc_profile=b"profile",
        dpi=(72, 72),
    )
    with Image.open(tmp_path / "x.bbk") as image:
        assert np.array_equal(np.array(image), photograph(60, 50))
        assert image.info["icc_profile"] == b"profile" and image.info["dpi"] == (72, 72)
    with pytest.raises(OSError, match="no such model"):
        Image.fromarray(photograph(60, 50)).save(tmp_path / "y.bbk", model=str(tmp_path / "none"))
    assert not (tmp_path / "y.bbk").exists()


def test_a_file_under_the_prior_opens_with_its_model(tiny_model, prior_file, photograph):
    """model may be set between open and load; without it, a model that is not shipped is an
    OSError.
    """
    data = prior_file(photograph(64, 48))
    with pytest.raises(OSError, match="not here"):
        Image.open(io.BytesIO(data)).load()
    image = Image.open(io.BytesIO(data))
    image.model = tiny_model
    assert np.array_equal(np.array(image), photograph(64, 48))


def test_damage_is_what_pillow_users_expect(photograph):
    """Cut or altered: UnidentifiedImageError by open.  A right checksum of wrong pixels: OSError by
    load.  16-bit colours: OSError.
    """
    data = encode(photograph(9, 11))
    for bad in (data[:-1], data[:30] + bytes([data[30] ^ 1]) + data[31:], data[:4]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(bad))
    header, payload = container.read(data)
    image = Image.open(io.BytesIO(container.write(header, payload[:-1])))
    with pytest.raises(OSError):
        image.load()
    with pytest.raises(OSError, match="RGB;16"):
        Image.open(io.BytesIO(encode_image(ImageData("RGB;16", np.zeros((2, 2, 3), "<u2")))))


def test_archives_are_refused_with_what_to_do(photograph):
    """An archive is ours but no image: OSError that names the command."""
    header = container.Header(
        (container.Entry(2, 2, "a"), container.Entry(2, 2, "b")), bytes(8), archive=True
    )
    with pytest.raises(OSError, match="archive of 2 images.*decompress --dir"):
        Image.open(io.BytesIO(container.write(header, b"")))


def test_modes_that_cannot_be_kept_are_refused():
    """A mode of Pillow's that the format does not know: OSError, nothing written."""
    out = io.BytesIO()
    with pytest.raises(OSError, match="YCCK|BGR|mode"):
        pillow._save(
            type("Odd", (), {"mode": "YCCK", "info": {}, "encoderinfo": {}})(), out, "x.bbk"
        )
    assert not out.getvalue()


def test_other_formats_are_left_alone(photograph, monkeypatch):
    """A PNG never reaches this plugin's _open, and nothing is registered before the import."""
    out = io.BytesIO()
    Image.fromarray(photograph(5, 5)).save(out, "PNG")
    monkeypatch.setattr(
        pillow.BitsbackImageFile, "_open", lambda self: pytest.fail("asked about a PNG")
    )
    assert isinstance(Image.open(io.BytesIO(out.getvalue())), ImageFile.ImageFile)
    code = """
import bitsback.codecs
from PIL import Image
Image.init()
print(".bbk" in Image.registered_extensions())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_efforts(photograph):
    """save takes an effort by name or number; another one is an OSError, and nothing is written."""
    image = Image.fromarray(photograph(64, 64))
    with patch.object(mode_decision, "fallback_hopeless", lambda *_: True):
        data = saved(image, effort="fast")
    assert container.read_header(data).model == Model.open("fast").id[:16]
    with pytest.raises(OSError, match="'huge' is not an effort"):
        saved(image, effort="huge")


def test_a_comment_is_saved_again(tmp_path, photograph):
    """Under the name that Pillow has for it, too."""
    image = Image.fromarray(photograph(8, 9))
    image.info["comment"] = "café".encode("latin-1")
    image.save(tmp_path / "a.bbk")
    for before, after in (("a.bbk", "b.bbk"), ("b.bbk", "c.bbk")):
        with Image.open(tmp_path / before) as opened:
            assert opened.info["comment"] == image.info["comment"]
            assert opened.info["Comment"] == "café"
            opened.save(tmp_path / after)
