"""tiff_checks.py: TIFFs with more images than Pillow tells are refused, other data are named."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from tests.by_hand import tiff
from tests.tiff_files import GRAY, read, refused, written

tifffile = pytest.importorskip("tifffile")


STACK = np.stack([GRAY, GRAY[::-1], GRAY ^ 1])


@pytest.mark.parametrize(
    "options",
    [
        {"truncate": True, "metadata": {"axes": "ZYX"}},
        {"truncate": True, "imagej": True},
        {"truncate": True, "imagej": True, "byteorder": "<"},
        {"truncate": True, "bigtiff": True, "metadata": {}},
        {"volumetric": True, "tile": (3, 16, 16)},
        {"volumetric": True, "tile": (1, 16, 16), "compression": "zlib"},
    ],
    ids=["tifffile", "ImageJ", "ImageJ little", "BigTIFF", "voxels", "slices"],
)
def test_stacks_of_one_directory(options):
    """Pillow shows the first image only."""
    out = io.BytesIO()
    options.setdefault("metadata", None if "volumetric" in options else {})
    tifffile.imwrite(out, STACK, photometric="minisblack", **options)
    assert len(tifffile.TiffFile(io.BytesIO(out.getvalue())).pages) == 1
    reason = refused(out.getvalue())
    assert "several pages" in reason or "three dimensions" in reason


@pytest.mark.parametrize(
    "text",
    ["ImageJ=1.11a\nimages=3\nslices=3\n", '{"shape": [3, 20, 24]}', "ImageJ=1.54f\n", "a photo"],
)
def test_a_page_of_a_stack(text):
    """A page that another program took out of a stack, with its description, is one image; so is
    one whose description tells of no other.
    """
    data = written(description=text)
    found = read(data)
    assert np.array_equal(found.samples, GRAY) and not found.lost
    found = None if "3" in text else read(data + bytes([1]) * 1200)
    if found:
        assert found.lost == ("data outside the image",)
    else:
        assert "several pages" in refused(data + bytes(1200))


def test_a_page_behind_a_damaged_entry():
    """Pillow stops at an entry that it cannot read and does not see the next directory."""
    out = io.BytesIO()
    first = Image.fromarray(GRAY)
    first.save(out, "TIFF", save_all=True, append_images=[Image.fromarray(GRAY[::-1])])
    data = out.getvalue()
    assert "several pages" in refused(data)
    (place,) = struct.unpack_from("<I", data, 4)
    count = struct.unpack_from("<H", data, place)[0]
    at = next(
        at
        for at in range(place + 2, place + 2 + 12 * count, 12)
        if struct.unpack_from("<H", data, at)[0] == 279
    )
    wrong = bytearray(data)
    struct.pack_into("<I", wrong, at + 4, 257)  # within the file, but its values are not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Image.open(io.BytesIO(wrong)).n_frames == 1
    assert "several pages" in refused(bytes(wrong))


def test_data_outside_the_image():
    """They are named, but not padding, nor the old directory of a file that was changed."""
    data = written()
    assert read(data + bytes(5000)).lost == ()
    assert read(data + b"\1" * 500).lost == ()
    assert read(data + b"\1" * 1500).lost == ("data outside the image",)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"\1" * 3000
    exif[0x8769] = exif.get_ifd(0x8769)
    for big in (False, True):
        out = io.BytesIO()
        Image.fromarray(GRAY).save(out, "TIFF", exif=exif, big_tiff=big)
        assert out.getvalue().count(b"\1" * 3000) == 1 and read(out.getvalue()).lost == ()


def test_rows_below_the_image():
    """A damaged height: the strip has more rows than the image."""
    data = written(np.vstack([GRAY] * 4))
    at = data.index(struct.pack("<HHII", 257, 4, 1, 80))
    short = data[:at] + struct.pack("<HHII", 257, 4, 1, 20) + data[at + 12 :]
    assert np.array_equal(read(short).samples, GRAY)
    assert read(short).lost == ("data outside the image",) and not read(data).lost


def test_bytes_around_tiles():
    """As in GDAL's cloud-optimised TIFFs: the size before each tile, its last bytes behind it."""
    rows = [(place, place + 48) for place in range(12, 12 + 200 * 56, 56)]
    data = bytearray(b"\1" * (200 * 56))
    tags = {256: 48, 257: 200, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    tags |= {273: tuple(place for place, _ in rows), 279: (48,) * 200}
    assert not read(tiff(data, tags)).lost
