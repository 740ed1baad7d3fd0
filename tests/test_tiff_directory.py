"""tiff_directory.py: TIFFs that contradict themselves are refused, what programs write is read."""

import io
import struct
import zlib

import numpy as np
import pytest

from tests.by_hand import tiff
from tests.tiff_files import GRAY, PLAIN, read, refused, written

tifffile = pytest.importorskip("tifffile")

STRIPS = {273: (8, 200, 392), 279: (192, 192, 96)}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "places, reason",
    [
        ((8, 200, 392, 8), "4 strips or tiles, where its size needs 3"),
        ((8, 200), "strips or tiles missing: 2 of 3"),
    ],
    ids=["more", "fewer"],
)
def test_numbers_of_strips(order, places, reason):
    """One too many, which Pillow would put over row 0; one too few, which it would make black."""
    data = GRAY.tobytes()
    assert np.array_equal(read(tiff(data, {**PLAIN, **STRIPS}, order)).samples, GRAY)
    wrong = {273: places, 279: (192,) * len(places)}
    assert reason in refused(tiff(data, {**PLAIN, **wrong}, order))
    assert "missing" in refused(tiff(data, {**PLAIN, **STRIPS, 279: (192,) * 2}, order))
    whole = {278: 20, 273: (8, 8), 279: (480, 480)}  # of these Pillow takes the last
    assert "2 strips" in refused(tiff(data, {**PLAIN, **whole}, order))


@pytest.mark.parametrize("big", [False, True])
def test_numbers_of_tiles(big):
    """Of tiles beyond the border, in a TIFF and a BigTIFF; the same of compressed ones."""
    for compression in (None, "zlib"):
        data = written(tile=(16, 16), bigtiff=big, compression=compression)
        assert np.array_equal(read(data).samples, GRAY)
        page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
        for number, refuses in ((3, True), (5, not compression)):
            wrong = bytearray(data)
            for tag in (324, 325):
                at, values = page.tags[tag].offset, [*page.tags[tag].value] + [400]
                form = "HHQQ" if big else "HHII"
                new = struct.pack(f"<{number}Q", *values[:number])
                struct.pack_into(f"<{form}", wrong, at, tag, 16, number, len(wrong))
                wrong += new
            if refuses:
                assert "strips or tiles" in refused(bytes(wrong))
            else:
                assert np.array_equal(read(bytes(wrong)).samples, GRAY)


def test_strips_and_tiles_at_once():
    """Pillow would read the strips, libtiff tiles."""
    tiles = {322: 32, 323: 32, 324: 8, 325: 480}
    assert "at once" in refused(tiff(GRAY.tobytes(), {**PLAIN, 273: 8, 278: 20, **tiles}))


def test_tags_about_layout():
    """Repeated with another value, or not to be read."""
    data = tiff(GRAY.tobytes(), {**PLAIN, 278: 20})
    at = data.index(struct.pack("<HHI", 277, 3, 1))
    twice = data[:at] + struct.pack("<HHIHH", 278, 3, 1, 10, 0) + data[at + 12 :]
    assert "two different tags RowsPerStrip" in refused(twice)
    unknown = data[: at + 2] + b"\x63" + data[at + 3 :]
    assert "SamplesPerPixel that cannot be read" in refused(unknown)
    kept = tiff(GRAY.tobytes(), {**PLAIN, 278: 20, 254: 0})
    at = kept.index(struct.pack("<HHI", 254, 3, 1))
    assert read(kept[: at + 2] + b"\x63" + kept[at + 3 :]).lost == (
        "NewSubfileType (damaged or too long)",
    )


@pytest.mark.parametrize(
    "tags",
    [
        {278: 2**16 - 1},
        {279: ()},
        {273: (8, 200, 392), 279: (192, 192, 96, 7), 278: 8},
        {273: (200, 8, 392), 279: (192, 192, 96), 278: 8},
    ],
    ids=["rows", "no sizes", "one size more", "order"],
)
def test_what_programs_write(tags):
    """More rows to a strip than the image has, no sizes of strips or too many of them,
    strips in another order.
    """
    tags = {**PLAIN, 278: 20, 273: 8, 279: 480, **tags}
    shown = GRAY[[*range(8, 16), *range(8), *range(16, 20)]] if tags[273] == (200, 8, 392) else GRAY
    data = GRAY.tobytes()
    if tags[279] == ():
        file = bytearray(tiff(data, {**tags, 279: 480}))
        at = file.index(struct.pack("<HHI", 279, 4, 1))
        file[at : at + 12] = struct.pack("<HHIHH", 284, 3, 1, 1, 0)
        data = bytes(file)
    else:
        data = tiff(data, tags)
    found = read(data)
    assert np.array_equal(found.samples, shown) and not found.lost


@pytest.mark.parametrize(
    "tags, reason",
    [
        ({284: 3}, "an unknown order of channels"),
        ({278: (8, 8)}, "several values of RowsPerStrip"),
        ({278: 0}, "no rows"),
    ],
    ids=["channels", "values", "rows"],
)
def test_values_that_libtiff_refuses(tags, reason, capfd):
    """They are refused before libtiff prints a line of its own."""
    packed = [zlib.compress(GRAY[top : top + 8].tobytes()) for top in (0, 8, 16)]
    sizes = tuple(map(len, packed))
    places = (8, 8 + sizes[0], 8 + sizes[0] + sizes[1])
    layout = {**PLAIN, 259: 8, 273: places, 279: sizes}
    assert np.array_equal(read(tiff(b"".join(packed), layout)).samples, GRAY)
    assert reason in refused(tiff(b"".join(packed), {**layout, **tags}))
    assert "tempfile" not in capfd.readouterr().err


def test_sizes_of_compressed_strips(capfd):
    """Without them one strip is read, several are not; libtiff says so of the latter."""
    for rows in (20, 8):
        packed = [zlib.compress(GRAY[top : top + rows].tobytes()) for top in range(0, 20, rows)]
        places = tuple(8 + sum(map(len, packed[:i])) for i in range(len(packed)))
        data = tiff(b"".join(packed), {**PLAIN, 259: 8, 273: places, 278: rows})
        at = data.index(struct.pack("<HHI", 279, 4, 1))
        data = data[:at] + struct.pack("<HHIHH", 284, 3, 1, 1, 0) + data[at + 12 :]
        if rows == 20:
            assert np.array_equal(read(data).samples, GRAY)
        else:
            assert "sizes of strips or tiles missing" in refused(data)
    assert capfd.readouterr().err == ""
