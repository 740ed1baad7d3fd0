"""image_files.py: every image is read exactly or refused; what is written is read back the same."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image, features

from bitsback.codecs.formats.image_files import (
    HOLDS,
    IMAGE_SUFFIXES,
    LOSSLESS_SUFFIXES,
    default_suffix,
    image_bytes,
    image_format,
    read_image,
    to_image,
)
from bitsback.codecs.formats.quirks import EXAMINED
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import MODES, ImageData, same
from bitsback.errors import DamagedFile, LossySource, MissingPackage, UnsupportedImage
from tests.by_hand import png, unfiltered

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about damaged TIFFs

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 13, 3), dtype=np.uint8)
SIXTEEN = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)


def saved(image, file_format, **options):
    out = io.BytesIO()
    image.save(out, format=file_format, **options)
    return out.getvalue()


def decoded(data, **options):
    return read_image(io.BytesIO(data), "it.png", **options)


def read(data):
    return decoded(data, allow_lossy=True).samples


def tiff16(samples):
    """An uncompressed RGB TIFF of 16 bits a sample, by hand."""
    height, width, _ = samples.shape
    data = samples.astype("<u2").tobytes()
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 134),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 140),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
    ]
    directory = (
        struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    )
    return b"II*\0" + directory + struct.pack("<HHH", 16, 16, 16) + data


def jpeg2000_16(samples):
    return pytest.importorskip("imagecodecs").jpeg2k_encode(samples, level=0, reversible=True)


SIXTEEN_BITS = {
    "PNG": lambda: png(5, 6, 16, 2, unfiltered(SIXTEEN.astype(">u2"))),
    "TIFF": lambda: tiff16(SIXTEEN),
    "PPM": lambda: b"P6 5 6 65535\n" + SIXTEEN.astype(">u2").tobytes(),
    "plain PPM": lambda: b"P3 5 6 65535\n" + b" ".join(b"%d" % v for v in SIXTEEN.ravel().tolist()),
    "JPEG 2000": lambda: jpeg2000_16(SIXTEEN),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_per_sample_are_read(kind):
    """All 16 bits are read, of which Pillow decodes 8, and the PNG written of them is the same."""
    if kind == "TIFF":
        pytest.importorskip("imagecodecs")
    found = decoded(SIXTEEN_BITS[kind]())
    assert found.mode == "RGB;16" and np.array_equal(found.samples, SIXTEEN)
    assert same(decoded(image_bytes(found, "PNG", "x.png")[0]), found)


@pytest.mark.parametrize("kind", ["PPM", "plain PPM", "JPEG 2000"])
def test_16_bits_that_nothing_reads_are_refused(kind):
    """16-bit samples that Pillow reduces to 8 bits and no other reader decodes are refused."""
    data = SIXTEEN_BITS[kind]()
    assert Image.open(io.BytesIO(data)).size == (5, 6)  # the file itself is a good one
    with pytest.raises(UnsupportedImage, match="it.png"):
        read(data)


def test_sixteen_bit_tiffs_without_imagecodecs(monkeypatch):
    """The error names the package to install."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingPackage, match="it.png.*imagecodecs"):
        read(SIXTEEN_BITS["TIFF"]())


def test_a_ppm_of_another_maximum_is_refused():
    """Pillow would scale samples of 0..100 to 0..255, which could not be restored."""
    with pytest.raises(UnsupportedImage):
        read(b"P6 5 6 100\n" + (SIXTEEN % 101).astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    "file_format, options",
    [
        ("PNG", {}),
        ("PNG", {"optimize": True}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("TGA", {}),
    ],
)
def test_lossless_formats_are_read_exactly(file_format, options):
    """The samples are those that were saved, as (H, W, 3) uint8."""
    pixels = read(saved(Image.fromarray(PIXELS), file_format, **options))
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, PIXELS) and pixels.flags.writeable


def test_jpeg_is_read_as_pillow_reads_it():
    """A lossy source is refused, naming the option; with it, the decoded pixels are read."""
    data = saved(Image.fromarray(PIXELS), "JPEG", quality=90)
    with pytest.raises(LossySource, match="it.png: JPEG .*--allow-lossy-source"):
        decoded(data)
    assert np.array_equal(read(data), np.array(Image.open(io.BytesIO(data))))


def test_pixels_are_not_rotated():
    """An Exif orientation is metadata: it is stored and the pixels are not rotated, in PNG and in
    TIFF, which Pillow rotates.
    """
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        for file_format in ("PNG", "TIFF"):
            found = decoded(saved(Image.fromarray(PIXELS), file_format, exif=exif))
            kept = Image.Exif()
            kept.load(views(found.metadata)["exif"])
            assert np.array_equal(found.samples, PIXELS) and kept[0x112] == orientation
            assert same(decoded(image_bytes(found, file_format, "x")[0]), found)


def test_rgb_and_gray_pngs_by_hand():
    """A PNG of 8-bit RGB written by hand is read, and the same samples as 8-bit gray."""
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    assert np.array_equal(read(png(13, 12, 8, 2, rows)), PIXELS)
    assert np.array_equal(read(png(39, 12, 8, 0, rows)), PIXELS.reshape(12, 39))


def of_mode(mode):
    """An ImageData of any mode, of samples that use all its bits."""
    dtype, channels = MODES[mode]
    samples = (
        RNG.integers(0, 2**32, (12, 13) if channels == 1 else (12, 13, channels), dtype=np.uint64)
        .astype(np.uint32)
        .astype(f"<u{dtype[2:] or dtype[1]}")
        .view(dtype)
    )
    if mode == "1":
        samples = samples & 1
    look = {"palette": RNG.bytes(768)} if mode in ("P", "PA") else {}
    return ImageData(mode, np.ascontiguousarray(samples), look)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_restored_from_formats_that_hold_it(mode):
    """Each format in HOLDS restores the samples of the mode; others refuse it and name those that
    can.
    """
    image = of_mode(mode)
    if mode == "F":
        image.samples[0, :3] = np.array([np.nan, -0.0, np.inf], "<f4")
    for file_format, modes in HOLDS.items():
        if mode in modes:
            if (mode, file_format) == ("RGBA", "WEBP"):
                image.samples[0, 0, 3] = 0  # or Pillow reads RGB
            assert (
                decoded(image_bytes(image, file_format, "x")[0]).samples.tobytes()
                == image.samples.tobytes()
            )
        else:
            with pytest.raises(UnsupportedImage, match=f"x: {file_format} cannot hold mode"):
                image_bytes(image, file_format, "x")
    assert mode in HOLDS[LOSSLESS_SUFFIXES[default_suffix(mode)]] or not any(
        mode in modes for modes in HOLDS.values()
    )


@pytest.mark.parametrize(
    "mode", [mode for mode in MODES if mode not in ("RGB;16", "RGBA;16", "LA;16")]
)
def test_an_image_as_a_pillow_image(mode):
    """to_image returns a Pillow image of the same mode and samples."""
    image = of_mode(mode)
    pillow = to_image(image)
    assert pillow.mode == mode and pillow.size == (13, 12)
    assert (
        np.ascontiguousarray(np.array(pillow)).astype(MODES[mode][0]).tobytes()
        == image.samples.tobytes()
    )


LOOKS = [
    ("1", 255),
    ("L", 200),
    ("RGB", (1, 2, 3)),
    ("I;16", 40000),
    ("P", 1),
    ("P", bytes(range(250))),
    ("RGB;16", (1, 60000, 3)),
]


@pytest.mark.parametrize("mode, transparency", LOOKS)
def test_transparency_is_restored(mode, transparency):
    """PNG restores a transparent colour, index or alpha per index; a format
    without it is refused.
    """
    image = of_mode(mode)
    image.look["transparency"] = transparency
    image.samples[0, 0] = 1
    found = decoded(image_bytes(image, "PNG", "x.png")[0])
    assert found.look["transparency"] == transparency and found.mode == mode
    for file_format in ("BMP", "TIFF"):
        with pytest.raises(UnsupportedImage):
            image_bytes(image, file_format, "x")


def test_colours_under_transparent_pixels_are_restored():
    """PNG, WebP and TIFF restore the colours of pixels with alpha 0."""
    image = of_mode("RGBA")
    image.samples[..., 3] = RNG.integers(0, 2, (12, 13)) * 255
    for file_format in ("PNG", "WEBP", "TIFF"):
        assert np.array_equal(
            decoded(image_bytes(image, file_format, "x")[0]).samples, image.samples
        )


def test_a_palette_with_alpha():
    """Pillow's RGBA palettes are restored from PNG with the same appearance."""
    image = of_mode("P")
    image.look["palette_alpha"] = bytes(range(256))
    pillow = Image.open(io.BytesIO(image_bytes(image, "PNG", "x")[0]))
    assert np.array_equal(np.array(pillow.convert("RGBA"))[..., 3], image.samples)
    pillow = to_image(image)
    pillow.load()
    assert pillow.im.getpalettemode() == "RGBA"


@pytest.mark.parametrize("palette", [b"ab", bytes(771)])
def test_an_invalid_palette(palette):
    """An invalid palette from a crafted file is DamagedFile, not another exception."""
    with pytest.raises(DamagedFile):
        to_image(ImageData("P", np.zeros((2, 2), np.uint8), {"palette": palette}))


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(file_format):
    """Animations and files of several pages hold more than one image."""
    frames = [Image.fromarray(RNG.integers(0, 256, (12, 13, 3), dtype=np.uint8)) for _ in range(3)]
    with pytest.raises(UnsupportedImage, match="animation|pages"):
        read(saved(frames[0], file_format, save_all=True, append_images=frames[1:]))


def test_a_bomb_is_refused():
    """A far too large size is refused by Pillow's limit, before memory is allocated."""
    with pytest.raises(UnsupportedImage):
        read(png(2**17, 2**16, 8, 2, b""))


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, this is text\n" * 20, b"\x89PNG\r\n\x1a\n", bytes(5000)],
    ids=["empty", "text", "magic", "zeros"],
)
def test_other_data_are_refused(data):
    """Bytes that are not an image: UnsupportedImage that names the file."""
    with pytest.raises(UnsupportedImage, match="it.png"):
        read(data)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_missing_file_is_an_os_error(tmp_path, kind):
    """A missing file or a folder raises the system's error."""
    with pytest.raises(OSError):
        read_image(tmp_path if kind == "folder" else tmp_path / "missing.png", "it.png")


FORMATS = {
    "PNG": {},
    "BMP": {},
    "PPM": {},
    "GIF": {},
    "JPEG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {},
}


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_truncated_image_is_refused(file_format):
    """At every length: UnsupportedImage, or exactly the pixels of the whole file."""
    if not features.check("avif") and file_format == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    data = saved(Image.fromarray(PIXELS), file_format, **FORMATS[file_format])
    refused, whole = 0, read(data)
    for length in range(len(data)):
        try:
            assert np.array_equal(read(data[:length]), whole)
        except UnsupportedImage:
            refused += 1
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize("file_format", [*list(FORMATS)[:6], "TIFF", "AVIF"])
def test_an_altered_image_is_read_or_refused(file_format):
    """Each byte inverted in turn: some image (formats without checksums cannot detect it) or
    UnsupportedImage.
    """
    if not features.check("avif") and file_format == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    data = saved(Image.fromarray(PIXELS), file_format, **FORMATS[file_format])
    for position in range(len(data)):
        altered = data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :]
        try:
            assert read(altered).shape[:2] > (0, 0)
        except UnsupportedImage:
            pass


@pytest.mark.parametrize("suffix", LOSSLESS_SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5)])
def test_every_output_format_is_lossless(tmp_path, suffix, shape):
    """Each format that decompress can write restores the same samples of a mode of its suffix."""
    mode = {".pgm": "L", ".pbm": "1", ".pfm": "F"}.get(suffix, "RGB")
    pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    samples = pixels if mode == "RGB" else pixels[..., 0] // 128 if mode == "1" else pixels[..., 0]
    samples = samples.astype(np.float32) if mode == "F" else np.ascontiguousarray(samples)
    path = tmp_path / f"x{suffix.upper()}"
    path.write_bytes(image_bytes(ImageData(mode, samples), image_format(path, mode), path)[0])
    read = read_image(path, path)
    assert read.mode == mode and np.array_equal(read.samples, samples)


@pytest.mark.parametrize("name", ["x.jpg", "x.gif", "x", "x.bbk", "x.png.txt"])
def test_other_outputs_are_refused(tmp_path, name):
    """A suffix of no lossless format is refused; the error lists those that are."""
    with pytest.raises(UnsupportedImage, match=f"{name}.*\\.png"):
        image_format(tmp_path / name, "RGB")


def test_every_suffix_of_a_format_that_is_read_is_looked_for_in_folders():
    """What is coded when it is named is not passed over below a folder; JPEG is counted there."""
    known = {k for k, v in Image.registered_extensions().items() if v in EXAMINED | {"JPEG"}}
    assert {*known - {".bbk"}, ".jxl"} == IMAGE_SUFFIXES
