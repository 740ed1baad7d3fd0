"""images.py: what Pillow reads as exactly 8-bit RGB is read; everything else is refused in one way, never changed in silence."""
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from bitsback.codecs.images import LOSSLESS_SUFFIXES, image_format, read_image, write_image
from bitsback.errors import UnsupportedImage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")      # what Pillow says of damaged TIFFs

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 13, 3), dtype=np.uint8)
SIXTEEN = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)


def saved(image, file_format, **options):
    out = io.BytesIO()
    image.save(out, format=file_format, **options)
    return out.getvalue()


def read(data):
    return read_image(io.BytesIO(data), "it.png")


def png(ihdr, rows):
    """A PNG by hand: width, height, depth, colour type and the filtered rows."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))     # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *ihdr, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16(samples):
    """An uncompressed RGB TIFF of 16 bits a sample, by hand."""
    height, width, _ = samples.shape
    data = samples.astype("<u2").tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140), (277, 3, 1, 3),
            (278, 3, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    directory = struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + directory + struct.pack("<HHH", 16, 16, 16) + data


def jpeg2000_16(samples):
    return pytest.importorskip("imagecodecs").jpeg2k_encode(samples, level=0, reversible=True)


SIXTEEN_BITS = {
    "PNG": lambda: png((5, 6, 16, 2), b"".join(b"\0" + row.astype(">u2").tobytes() for row in SIXTEEN)),
    "TIFF": lambda: tiff16(SIXTEEN),
    "PPM": lambda: b"P6 5 6 65535\n" + SIXTEEN.astype(">u2").tobytes(),
    "plain PPM": lambda: b"P3 5 6 65535\n" + b" ".join(b"%d" % v for v in SIXTEEN.ravel().tolist()),
    "JPEG 2000": lambda: jpeg2000_16(SIXTEEN),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", *(pytest.param(kind) for kind in ("PPM", "plain PPM", "JPEG 2000"))])
def test_sixteen_bits_a_sample_are_refused(kind):
    """A picture of 16-bit samples cannot be given back, so it is refused, whatever Pillow makes of it."""
    data = SIXTEEN_BITS[kind]()
    assert Image.open(io.BytesIO(data)).size == (5, 6)          # the file itself is a good one
    with pytest.raises(UnsupportedImage, match="it.png"):
        read(data)


def test_a_ppm_of_another_maximum_is_refused():
    """Samples of 0..100 are not samples of 0..255: stretched ones could not be given back."""
    with pytest.raises(UnsupportedImage):
        read(b"P6 5 6 100\n" + (SIXTEEN % 101).astype(np.uint8).tobytes())


@pytest.mark.parametrize("file_format, options", [
    ("PNG", {}), ("PNG", {"optimize": True}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True, "exact": True}), ("TGA", {})])
def test_lossless_formats_are_read_exactly(file_format, options):
    """The pixels that went in come out, as (H, W, 3) uint8 of our own."""
    pixels = read(saved(Image.fromarray(PIXELS), file_format, **options))
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, PIXELS) and pixels.flags.writeable


def test_jpeg_is_read_as_pillow_reads_it():
    """A lossy source is kept as the pixels it decodes to."""
    data = saved(Image.fromarray(PIXELS), "JPEG", quality=90)
    assert np.array_equal(read(data), np.array(Image.open(io.BytesIO(data))))


def test_pixels_are_not_rotated():
    """An Exif orientation is a remark about the pixels, not a change of them."""
    exif = Image.Exif()
    exif[0x112] = 6
    assert np.array_equal(read(saved(Image.fromarray(PIXELS), "PNG", exif=exif)), PIXELS)


def test_interlaced_and_paletteless_depths():
    """A PNG of 8-bit RGB by hand is read; the same samples as 8-bit gray are refused."""
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    assert np.array_equal(read(png((13, 12, 8, 2), rows)), PIXELS)
    with pytest.raises(UnsupportedImage, match="mode L"):
        read(png((39, 12, 8, 0), rows))


@pytest.mark.parametrize("mode, file_format", [
    ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("I;16", "PNG"), ("CMYK", "TIFF"), ("CMYK", "JPEG"),
    ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("F", "TIFF"), ("RGBA", "WEBP"), ("P", "GIF"), ("L", "JPEG")])
def test_other_modes_are_refused(mode, file_format):
    """Anything but mode RGB is UnsupportedImage that names the file and says why; nothing is converted."""
    image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    with pytest.raises(UnsupportedImage, match="it.png: (mode|16 bits)"):
        read(saved(image, file_format))


def test_transparency_is_refused():
    """RGB with one transparent colour is more than its RGB."""
    with pytest.raises(UnsupportedImage, match="transparency"):
        read(saved(Image.fromarray(PIXELS), "PNG", transparency=(1, 2, 3)))


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(file_format):
    """Animations and many pages are more than their first frame."""
    frames = [Image.fromarray(RNG.integers(0, 256, (12, 13, 3), dtype=np.uint8)) for _ in range(3)]
    with pytest.raises(UnsupportedImage, match="animation"):
        read(saved(frames[0], file_format, save_all=True, append_images=frames[1:]))


def test_a_bomb_is_refused():
    """A size far beyond any picture is refused by Pillow's own limit, before memory is asked for."""
    with pytest.raises(UnsupportedImage):
        read(png((2**17, 2**16, 8, 2), b""))


@pytest.mark.parametrize("data", [b"", b"hello, this is text\n" * 20, b"\x89PNG\r\n\x1a\n", bytes(5000)], ids=["empty", "text", "magic", "zeros"])
def test_what_is_no_picture_is_refused(data):
    """Bytes that Pillow does not know: UnsupportedImage that names the file."""
    with pytest.raises(UnsupportedImage, match="it.png"):
        read(data)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_an_os_error(tmp_path, kind):
    """A missing file or a folder is told as the system tells it."""
    with pytest.raises(OSError):
        read_image(tmp_path if kind == "folder" else tmp_path / "missing.png", "it.png")


FORMATS = {"PNG": {}, "BMP": {}, "PPM": {}, "GIF": {}, "JPEG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "AVIF": {}}


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_picture_cut_short_is_refused(file_format):
    """Cut anywhere: UnsupportedImage, or exactly the pixels of the whole (what was cut held none)."""
    if not features.check("avif") and file_format == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    data = saved(Image.fromarray(PIXELS), file_format, **FORMATS[file_format])
    refused = 0
    for length in range(len(data)):
        try:
            assert np.array_equal(read(data[:length]), np.array(Image.open(io.BytesIO(data)).convert("RGB")))
        except UnsupportedImage:
            refused += 1
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize("file_format", [
    *list(FORMATS)[:6], "TIFF", "AVIF"])
def test_an_altered_picture_is_read_or_refused(file_format):
    """Each byte inverted in turn: some pixels (a format without checksums cannot know) or UnsupportedImage, never another exception."""
    if not features.check("avif") and file_format == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    data = saved(Image.fromarray(PIXELS), file_format, **FORMATS[file_format])
    for position in range(len(data)):
        altered = data[:position] + bytes([data[position] ^ 255]) + data[position + 1:]
        try:
            assert read(altered).shape[2] == 3
        except UnsupportedImage:
            pass


@pytest.mark.parametrize("suffix", LOSSLESS_SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5)])
def test_every_output_format_is_lossless(tmp_path, suffix, shape):
    """write_image then read_image gives the same pixels in each format that decompress offers."""
    pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = tmp_path / f"x{suffix.upper()}"
    with open(path, "wb") as stream:
        write_image(pixels, stream, image_format(path))
    assert np.array_equal(read_image(path, path), pixels)


@pytest.mark.parametrize("name", ["x.jpg", "x.gif", "x", "x.bbk", "x.png.txt"])
def test_other_outputs_are_refused(tmp_path, name):
    """A suffix that names no lossless format is refused, with those that do."""
    with pytest.raises(UnsupportedImage, match=f"{name}.*\\.png"):
        image_format(tmp_path / name)
