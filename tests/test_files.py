"""files.py: paths of outputs, no overwriting without force, no partial outputs."""

import os

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode, decoder, encode, encode_image, encoder, mode_decision
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import ImageData
from bitsback.codecs.io import files
from bitsback.errors import DamagedFile, NotOurFile, OutputExists, UnsupportedImage


@pytest.fixture
def small(photograph):
    return photograph(9, 11)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "source, output, folder, compressed, restored",
    [
        ("a/x.png", None, None, "a/x.bbk", "a/x.png.png"),
        ("a/x.bbk", None, None, "a/x.bbk", "a/x.png"),
        ("a/x", None, None, "a/x.bbk", "a/x.png"),
        ("a/x.tar.bbk", None, None, "a/x.tar.bbk", "a/x.tar.png"),
        ("a/x.bbk", None, "out", "out/x.bbk", "out/x.png"),
        ("a/x.png", "y.z", None, "y.z", "y.z"),
        ("a/x.png", "y.z", "out", "y.z", "y.z"),
    ],
)
def test_paths_of_outputs(source, output, folder, compressed, restored):
    """-o, else --dir, else beside the source; .bbk is appended or removed, images become .png."""
    assert str(files.compressed_path(source, output, folder)) == compressed
    assert str(files.restored_path(source, output, folder)) == restored


def test_compress_and_decompress_a_file(tmp_path, small):
    """Pixels to .bbk to pixels, and the return values."""
    Image.fromarray(small).save(tmp_path / "x.bmp")
    header, size = files.compress_file(tmp_path / "x.bmp", tmp_path / "x.bbk")
    assert (header.width, header.height) == (11, 9) and size == (tmp_path / "x.bbk").stat().st_size
    assert files.decompress_file(tmp_path / "x.bbk") == [tmp_path / "x.png"]
    assert np.array_equal(np.array(Image.open(tmp_path / "x.png")), small)
    assert names(tmp_path) == ["x.bbk", "x.bmp", "x.png"]


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tif", "tiff", "ppm", "PNG"])
def test_the_suffix_chooses_the_format(tmp_path, small, suffix):
    """decompress -o x.SUFFIX writes that format, losslessly."""
    (tmp_path / "x.bbk").write_bytes(encode(small))
    (path,) = files.decompress_file(tmp_path / "x.bbk", tmp_path / f"y.{suffix}")
    with Image.open(path) as image:
        assert image.format.lower()[:3] == suffix.lower()[:3] and np.array_equal(
            np.array(image), small
        )


def test_existing_outputs_are_refused_before_any_work(tmp_path, small, monkeypatch):
    """OutputExists without force, before anything is read or coded."""
    Image.fromarray(small).save(tmp_path / "x.png")
    (tmp_path / "x.bbk").write_bytes(b"precious")
    with monkeypatch.context() as patch:
        patch.setattr(
            encoder, "encode_image", lambda *args, **options: pytest.fail("work was begun")
        )
        with pytest.raises(OutputExists, match="x.bbk.*-f"):
            files.compress_file(tmp_path / "x.png", tmp_path / "x.bbk")
    assert (tmp_path / "x.bbk").read_bytes() == b"precious"
    files.compress_file(tmp_path / "x.png", tmp_path / "x.bbk", force=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            decoder, "decode_image", lambda *args, **options: pytest.fail("work was begun")
        )
        with pytest.raises(OutputExists, match="x.png.*-f"):
            files.decompress_file(tmp_path / "x.bbk")
    assert np.array_equal(decode((tmp_path / "x.bbk").read_bytes()), small)


@pytest.mark.parametrize("alias", ["same", "symbolic link", "hard link", "other spelling"])
@pytest.mark.parametrize("force", [False, True])
def test_the_output_is_never_the_input(tmp_path, small, alias, force):
    """Under any name, even with force: the input is unchanged."""
    source = tmp_path / "x.png"
    Image.fromarray(small).save(source)
    other = {"same": source, "other spelling": tmp_path / "." / ".." / tmp_path.name / "x.png"}
    before, target = source.read_bytes(), other.get(alias, tmp_path / "link.png")
    if alias == "symbolic link":
        target.symlink_to(source)
    if alias == "hard link":
        os.link(source, target)
    with pytest.raises(OutputExists, match="input"):
        files.compress_file(source, target, force=force)
    assert source.read_bytes() == before and set(names(tmp_path)) <= {"x.png", "link.png"}


def test_a_folder_is_never_an_output(tmp_path, small):
    """A folder with the output's name is not replaced, even with force."""
    Image.fromarray(small).save(tmp_path / "x.png")
    (tmp_path / "x.bbk").mkdir()
    with pytest.raises(OutputExists, match="folder"):
        files.compress_file(tmp_path / "x.png", tmp_path / "x.bbk", force=True)
    assert names(tmp_path) == ["x.bbk", "x.png"]


def test_an_image_that_the_format_cannot_hold_is_refused(tmp_path):
    """WebP's sides end at 16383 pixels: UnsupportedImage that names the output, and no part of a
    file.
    """
    pixels = np.zeros((1, 16384, 3), np.uint8)
    (tmp_path / "x.bbk").write_bytes(plain(pixels))
    with pytest.raises(UnsupportedImage, match="x.webp"):
        files.decompress_file(tmp_path / "x.bbk", tmp_path / "x.webp")
    assert names(tmp_path) == ["x.bbk"]


def plain(pixels):
    from bitsback.codecs.fallback.codec import encode_fallback

    header = container.Header(
        (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels], 4)
    )
    return container.write(header, encode_fallback(pixels))


@pytest.mark.parametrize(
    "data, error",
    [(b"", NotOurFile), (b"hello", NotOurFile), ("cut", DamagedFile), ("flip", DamagedFile)],
)
def test_no_output_of_a_damaged_file(tmp_path, small, data, error):
    """Damaged and foreign files leave no output."""
    good = encode(small)
    data = {"cut": good[:-5], "flip": good[:30] + bytes([good[30] ^ 1]) + good[31:]}.get(data, data)
    (tmp_path / "x.bbk").write_bytes(data)
    for use in (files.decompress_file, files.describe):
        with pytest.raises(error):
            use(tmp_path / "x.bbk")
    assert names(tmp_path) == ["x.bbk"]


# --- describe --------------------------------------------------------------------------------


def test_describe_a_fallback_file(tmp_path, small):
    """Size, mode, bytes and bits/dim; nothing about a prior."""
    (tmp_path / "x.bbk").write_bytes(encode(small))
    told, size = files.describe(tmp_path / "x.bbk"), (tmp_path / "x.bbk").stat().st_size
    assert (told["width"], told["height"], told["mode"], told["method"], told["file_bytes"]) == (
        11,
        9,
        "RGB",
        "fallback",
        size,
    )
    assert told["bits_per_dim"] == pytest.approx(8 * size / small.size) and "model" not in told


def test_describe_a_file_under_the_prior(tmp_path, prior_file, tiny_model, photograph):
    """bits = net + overhead, overhead = header + start + rest; net_bits is the
    growth of the stack.
    """
    data = prior_file(photograph(72, 50))
    (tmp_path / "x.bbk").write_bytes(data)
    told, (header, _) = files.describe(tmp_path / "x.bbk"), container.read(data)
    assert (
        told["method"] == "prior"
        and told["model"] == tiny_model.id[:16]
        and told["file_bytes"] == len(data)
    )
    assert told["bits_per_dim"] == pytest.approx(8 * len(data) / (3 * 72 * 50))
    coded = 3 * (50 * 72 - header.start[1] * header.start[2])
    assert (
        told["net_bits_per_dim"] == pytest.approx(header.net_bits / coded)
        and told["start_dims"] == 3 * header.start[1] * header.start[2]
    )
    assert told["overhead_bits_per_dim"] == pytest.approx(
        told["bits_per_dim"] - told["net_bits_per_dim"]
    )
    assert sum(
        told[f"{part}_bits_per_dim"] for part in ("header", "start", "flat", "mean", "rest")
    ) == pytest.approx(told["overhead_bits_per_dim"])
    assert told["header_bytes"] + told["start_bytes"] + told["words_bytes"] == len(data)
    assert (
        0 <= told["rest_bits_per_dim"] * 3 * 72 * 50 < 32
    )  # the padding of the start to whole words
    assert told["segments"] == len(header.segments)


def test_describe_gray_colours(tmp_path, tiny_model, photograph, monkeypatch):
    """Three equal channels are coded as one, and each counts: parts of the overhead are small."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    gray = np.ascontiguousarray(photograph(72, 64)[..., 0])
    for name, mode, samples in (("x", "RGB", np.dstack([gray] * 3)), ("gray", "L", gray)):
        data = encode_image(ImageData(mode, samples), model=tiny_model)
        (tmp_path / f"{name}.bbk").write_bytes(data)
    told, single = (files.describe(tmp_path / name) for name in ("x.bbk", "gray.bbk"))
    assert told["mode"] == "RGB" and told["start_dims"] == 3 * single["start_dims"]
    for key in ("net_bits_per_dim", "overhead_bits_per_dim", "start_bits_per_dim"):
        assert told[key] == pytest.approx(single[key] / 3, abs=1e-3)


def test_describe_a_stack_without_segments(tmp_path, small, tiny_model):
    """A header may name a model although nothing is coded with it: described or refused."""
    header = container.Header(
        (container.Entry(11, 9),),
        container.pixel_digest([small]),
        model=tiny_model.id[:16],
        start=(1, 0, 0),
        top=(0,) * 6,
    )
    (tmp_path / "x.bbk").write_bytes(container.write(header, b"\1\0\0\0"))
    try:
        assert files.describe(tmp_path / "x.bbk")["segments"] == 0
    except DamagedFile:
        pass
