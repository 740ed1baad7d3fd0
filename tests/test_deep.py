"""deep.py: 16-bit PNGs with every filter and both row orders, against Pillow's 8 bits and
imagecodecs.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats import deep
from bitsback.codecs.formats.image_files import read_image
from bitsback.errors import DamagedFile, UnsupportedImage

RNG = np.random.default_rng(0)
COLOUR_TYPES = {3: 2, 2: 4, 4: 6}


def filtered(samples, kind):
    """Rows of (H, W, C) uint16 after a PNG filter; kind 5: all five filters in turn."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1).astype(int)
    out, step = b"", 2 * channels
    for i, row in enumerate(rows):
        above = rows[i - 1] if i else np.zeros_like(row)
        a, c = (np.concatenate([np.zeros(step, int), line[:-step]]) for line in (row, above))
        p = a + above - c
        nearest = np.where(
            (abs(p - a) <= abs(p - above)) & (abs(p - a) <= abs(p - c)),
            a,
            np.where(abs(p - above) <= abs(p - c), above, c),
        )
        used = i % 5 if kind == 5 else kind
        guess = [0, a, above, (a + above) // 2, nearest][used]
        out += bytes([used]) + ((row - guess) & 255).astype(np.uint8).tobytes()
    return out


def png(samples, kind=5, interlaced=False, rows=None):
    height, width, channels = samples.shape
    if rows is None:
        parts = (
            [samples[top::down, left::right] for top, left, down, right in deep.ADAM7]
            if interlaced
            else [samples]
        )
        rows = b"".join(filtered(part, kind) for part in parts if part.size)
    head = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def smooth(height, width, channels):
    ramp = (
        np.add.outer(np.arange(height) * 777, np.arange(width) * 333)[..., None]
        + np.arange(channels) * 9999
    )
    return ((ramp + RNG.integers(0, 99, ramp.shape)) % 65536).astype("<u2")


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_filter_is_undone(channels, kind, interlaced):
    """All filters, numbers of channels and both row orders; Pillow decodes the high bytes."""
    for height, width in ((1, 1), (3, 2), (13, 11)):
        samples = smooth(height, width, channels)
        data = png(samples, kind, interlaced)
        assert np.array_equal(deep.read_png(data), samples)
        image = read_image(io.BytesIO(data), "x")
        assert image.mode == deep.MODES[channels] and np.array_equal(image.samples, samples)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_written_pngs(channels):
    """read_png, and imagecodecs if installed, read what write_png wrote; Pillow's other chunks and
    the size are in it.
    """
    samples, out = smooth(9, 14, channels), io.BytesIO()
    deep.write_png(samples, out, dpi=(72.009, 72.009), icc_profile=b"profile")
    assert np.array_equal(deep.read_png(out.getvalue()), samples)
    image = Image.open(io.BytesIO(out.getvalue()))
    assert (
        image.size == (14, 9)
        and image.info["icc_profile"] == b"profile"
        and image.info["dpi"] == (72.009, 72.009)
    )
    image.load()
    codecs = pytest.importorskip("imagecodecs")
    assert np.array_equal(codecs.png_decode(out.getvalue()), samples)


def test_missing_rows_are_damage():
    """A truncated stream, which Pillow completes with black, is refused at 16 and 8 bits, with and
    without interlacing.
    """
    samples = smooth(8, 8, 3)
    for interlaced in (False, True):
        parts = (
            [samples[top::down, left::right] for top, left, down, right in deep.ADAM7]
            if interlaced
            else [samples]
        )
        rows = b"".join(filtered(part, 0) for part in parts)
        for data in (
            png(samples, interlaced=interlaced, rows=rows[:-20]),
            png(samples, interlaced=interlaced, rows=rows[:-1]),
        ):
            with pytest.raises(DamagedFile):
                deep.read_png(data)
            with pytest.raises(UnsupportedImage, match="rows are missing"):
                read_image(io.BytesIO(data), "x.png")
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(out, "PNG")
    data = out.getvalue()
    start = data.index(b"IDAT")
    body = zlib.compress(
        zlib.decompress(
            data[start + 4 : start + 4 + int.from_bytes(data[start - 4 : start], "big")]
        )[:-70]
    )
    with pytest.raises(UnsupportedImage, match="rows are missing"):
        read_image(
            io.BytesIO(data[: start - 4] + chunk(b"IDAT", body) + chunk(b"IEND", b"")), "x.png"
        )


def test_a_checksum_after_the_last_row_is_seen():
    """Rows of 65529 bytes, stored: their Adler-32 is beyond the first 64 KiB.  Neither Pillow nor
    the checksum of the chunk would notice.
    """
    rows = np.random.default_rng(0).integers(0, 256, (81, 809), dtype=np.uint8)
    rows[:, 0] = 0
    whole = bytearray(zlib.compress(rows.tobytes(), 0))
    assert len(whole) == 65529 + 11 and zlib.decompress(whole) == rows.tobytes()
    head = struct.pack(">IIBBBBB", 808, 81, 8, 0, 0, 0, 0)

    def written():
        parts = ((b"IHDR", head), (b"IDAT", bytes(whole)), (b"IEND", b""))
        return deep.SIGNATURE + b"".join(chunk(name, body) for name, body in parts)

    assert not deep.has_more_than_rows(written())
    whole[4000] ^= 64
    with pytest.raises(DamagedFile, match="broken data stream"):
        deep.has_more_than_rows(written())


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("where", ["in the stream", "after it", "in a chunk of its own"])
def test_data_after_the_last_row_is_named(depth, where):
    """It is not kept, so that --rm keeps the file; the pixels are read."""
    rows, more = bytes(9 * (1 + 7 * 3 * depth // 8)), RNG.bytes(50)
    packed = zlib.compress(rows + more * (where == "in the stream"))
    packed += more * (where == "after it")
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 7, 9, depth, 2, 0, 0, 0)), (b"IDAT", packed)]
    parts += [(b"IDAT", more)] * (where == "in a chunk of its own") + [(b"IEND", b"")]
    data = deep.SIGNATURE + b"".join(chunk(name, body) for name, body in parts)
    image = read_image(io.BytesIO(data), "x.png")
    assert image.samples.shape == (9, 7, 3) and not image.samples.any()
    assert image.lost == ("IDAT (data after the last row)",)
    if where == "after it":
        data = data.replace(chunk(b"IDAT", packed), chunk(b"IDAT", packed[:-50] + bytes(50)))
        assert read_image(io.BytesIO(data), "x.png").lost == ()


def test_unknown_filters_are_damage():
    """An unknown filter, or a stream that is not deflate."""
    with pytest.raises(DamagedFile):
        deep.read_png(png(smooth(2, 2, 3), rows=(b"\5" + bytes(12)) * 2))
    data = png(smooth(2, 2, 3))
    with pytest.raises(DamagedFile):
        deep.read_png(data[:45] + b"\0\0\0\0" + data[49:])


def test_a_tiff_is_read_with_imagecodecs():
    """An uncompressed TIFF written by hand is read; other data are refused with the file's name."""
    pytest.importorskip("imagecodecs")
    from tests.test_image_files import tiff16

    samples = smooth(6, 5, 3)
    assert np.array_equal(deep.read_tiff(tiff16(samples), "x.tif"), samples)
    with pytest.raises(UnsupportedImage, match="x.tif"):
        deep.read_tiff(b"II*\0garbage", "x.tif")
