"""Every image that compress accepts can be restored by default: files.py,
archive.py, restored.py.
"""

import io

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bitsback.cli.main import main
from bitsback.codecs import archive, encoder
from bitsback.codecs.formats import image_files
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import MODES, ImageData, same_samples, shape_of
from bitsback.codecs.io import files
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import OutputExists, UnsupportedImage
from tests.by_hand import beyond_palette

INDICES = np.arange(64, dtype=np.uint8).reshape(8, 8)
RNG = np.random.default_rng(0)


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "-q"])


def colours(path):
    return np.array(Image.open(path).convert("RGB"))


def test_indices_beyond_the_palette_are_restored(tmp_path):
    """compress --rm, test and decompress of indices up to 63 with a palette of 16 colours."""
    (tmp_path / "x.png").write_bytes(beyond_palette(INDICES))
    before, shown = read_image(tmp_path / "x.png", "x"), colours(tmp_path / "x.png")
    for action in (
        ["compress", "--rm", tmp_path / "x.png"],
        ["test", tmp_path / "x.bbk"],
        ["decompress", tmp_path / "x.bbk"],
    ):
        result = run(*action)
        assert result.exit_code == 0, result.output
    assert same_samples(read_image(tmp_path / "x.png", "x").samples, before.samples)
    assert np.array_equal(colours(tmp_path / "x.png"), shown)


def test_indices_beyond_the_palette_are_restored_from_an_archive(tmp_path):
    """The same in an archive, with the image's name."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(beyond_palette(INDICES))
    files.compress_archive([tmp_path / "in"], tmp_path / "all.bbk")
    assert files.decompress_file(tmp_path / "all.bbk", folder=tmp_path / "out") == [
        tmp_path / "out/x.png"
    ]
    assert np.array_equal(read_image(tmp_path / "out/x.png", "x").samples, INDICES)


@pytest.fixture
def profiled(tmp_path):
    """A TIFF with a colour profile of 1.5 MiB, which Pillow reads from TIFFs but not from PNGs."""
    pixels, profile = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8), RNG.bytes(3 * 2**19)
    Image.fromarray(pixels).save(tmp_path / "x.tif", icc_profile=profile)
    return tmp_path / "x.tif", pixels, profile


def test_metadata_that_png_cannot_hold_become_tiff(tmp_path, profiled):
    """PNG holds the mode but not the profile: the default output is a TIFF with all metadata, which
    does not overwrite an existing file without force.
    """
    path, pixels, profile = profiled
    files.compress_file(path, tmp_path / "y.bbk")
    for force in (False, False, True):
        if (tmp_path / "y.tiff").exists() and not force:
            with pytest.raises(OutputExists, match="y.tiff"):
                files.decompress_file(tmp_path / "y.bbk")
        else:
            assert files.decompress_file(
                tmp_path / "y.bbk", force=force, note=lambda *told: pytest.fail(f"{told}")
            ) == [tmp_path / "y.tiff"]
    found = read_image(tmp_path / "y.tiff", "y")
    assert np.array_equal(found.samples, pixels) and views(found.metadata)["icc"] == profile


def test_metadata_that_png_cannot_hold_become_tiff_in_an_archive(tmp_path, profiled):
    """The same in an archive, for an image named .png: .tiff is appended."""
    path, pixels, profile = profiled
    (tmp_path / "in").mkdir()
    path.rename(tmp_path / "in" / "x.png")  # a TIFF by another name
    files.compress_archive([tmp_path / "in"], tmp_path / "all.bbk")
    assert files.decompress_file(tmp_path / "all.bbk", folder=tmp_path / "out") == [
        tmp_path / "out/x.png.tiff"
    ]
    found = read_image(tmp_path / "out/x.png.tiff", "x")
    assert np.array_equal(found.samples, pixels) and views(found.metadata)["icc"] == profile


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_could_not_be_restored_is_refused_before_coding(
    tmp_path, monkeypatch, packed
):
    """An image that no format restores: compress and archives refuse it, and
    --rm removes nothing.
    """
    (tmp_path / "x.png").write_bytes(beyond_palette(INDICES))
    before = read_image(tmp_path / "x.png", "x")
    reader = image_files.open_image

    def unreliable(stream, name, allow_lossy):
        found = reader(stream, name, allow_lossy)
        return (
            found
            if getattr(stream, "name", "").endswith("x.png")
            else ImageData("P", found.samples[::-1].copy(), found.look)
        )

    monkeypatch.setattr(image_files, "open_image", unreliable)
    monkeypatch.setattr(
        encoder, "encode_image", lambda *args, **options: pytest.fail("work was begun")
    )
    result = run(
        "compress",
        "--rm",
        *(["--archive", tmp_path / "all.bbk"] if packed else []),
        tmp_path / "x.png",
    )
    assert (
        result.exit_code == 1
        and "x.png: could not be restored (PNG does not restore" in result.output
        and "TIFF does not restore" in result.output
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"] and before.samples.max() == 63


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_restored_or_refused(mode):
    """default_bytes restores the samples of each mode, or reports that no format holds it."""
    dtype, channels = MODES[mode]
    samples = RNG.integers(0, 2, shape_of(mode, 5, 7)).astype(dtype)
    image = ImageData(mode, samples, {"palette": bytes(range(12))} if mode in ("P", "PA") else {})
    if not any(mode in modes for modes in image_files.HOLDS.values()):
        with pytest.raises(UnsupportedImage, match="x: could not be restored"):
            default_bytes(image, "x")
        return
    suffix, data, left_out = default_bytes(image, "x")
    assert (
        suffix == image_files.default_suffix(mode)
        and not left_out
        and same_samples(read_image(io.BytesIO(data), "x").samples, samples)
    )


@pytest.mark.parametrize(
    "name, reason",
    [
        ("a:b.png", "holds no names"),
        ("a\\b.png", "holds no names"),
        ("x" * 251 + ".gif", "too long"),
    ],
)
def test_names_that_could_not_be_restored_are_refused(tmp_path, name, reason):
    """A name that extract refuses, or that its suffix makes too long, is refused by compress."""
    Image.fromarray(INDICES).save(tmp_path / name, "PNG")
    with pytest.raises(UnsupportedImage, match=reason):
        archive.encode_archive([tmp_path / name])


def test_two_images_that_would_be_restored_to_one_name_are_refused(tmp_path):
    """x.gif would be restored as x.gif.png, which another image has."""
    for name in ("x.gif", "x.gif.png"):
        Image.fromarray(INDICES).save(tmp_path / name)
    with pytest.raises(
        UnsupportedImage, match="x.gif.png.*would be unpacked as|would be unpacked as .*x.gif"
    ):
        files.compress_archive([tmp_path], tmp_path / "all.bbk", verify=False)
