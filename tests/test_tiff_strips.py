"""tiff_strips.py: damaged strips are refused, as far as that can be known."""

import io
import lzma
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.by_hand import tiff
from tests.tiff_files import GRAY, PLAIN, read, refused

imagecodecs = pytest.importorskip("imagecodecs")

LIBTIFF = {"lzw": "tiff_lzw", "packbits": "packbits", "zstd": "zstd"}
TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def strips(*packed, rows=8, **tags):
    """A TIFF of compressed strips; tags: {_number: value}."""
    sizes = tuple(map(len, packed))
    places = tuple(8 + sum(sizes[:i]) for i in range(len(sizes)))
    more = {int(tag[1:]): value for tag, value in tags.items()}
    return tiff(b"".join(packed), {**PLAIN, 278: rows, 273: places, 279: sizes, **more})


def parts(pack):
    return [pack(GRAY[top : top + 8].tobytes()) for top in (0, 8, 16)]


@pytest.mark.parametrize("compression", [8, 32946, 34925])
@pytest.mark.parametrize("fill", [1, 2])
def test_strips_that_do_not_decode_to_their_end(compression, fill):
    """A flipped bit, which libtiff decodes without looking at the checksum, a strip that is cut,
    and one with more rows than it has; bytes behind a strip's end do no harm.
    """
    pack = lzma.compress if compression == 34925 else zlib.compress

    def file(*packed):
        turned = [data.translate(TURNED) if fill == 2 else data for data in packed]
        return strips(*turned, _259=compression, _266=fill)

    good = parts(pack)
    assert np.array_equal(read(file(*good)).samples, GRAY)
    assert np.array_equal(read(file(good[0] + b"\0", *good[1:])).samples, GRAY)
    padded = pack(GRAY[16:].tobytes() + bytes(96))  # the last strip has as many rows as the others
    assert np.array_equal(read(file(*good[:2], padded)).samples, GRAY)
    flipped = good[1][:-1] + bytes([good[1][-1] ^ 1])
    for bad in (flipped, good[1][:-1], pack(bytes(193)), pack(bytes(191))):
        assert "damaged strip or tile (number 2)" in refused(file(good[0], bad, good[2]))


@pytest.mark.parametrize("name, number", [("lzw", 5), ("packbits", 32773), ("zstd", 50000)])
def test_strips_of_another_length(name, number):
    """Where there is no checksum, a strip must have the bytes of its rows."""
    pack = getattr(imagecodecs, f"{name}_encode")
    try:
        Image.fromarray(GRAY).save(io.BytesIO(), "TIFF", compression=LIBTIFF[name])
    except (OSError, KeyError):
        pytest.skip("Pillow's libtiff lacks it")
    good = parts(pack)
    assert np.array_equal(read(strips(*good, _259=number)).samples, GRAY)
    assert "(number 1)" in refused(strips(pack(bytes(200)), *good[1:], _259=number))
    if number != 32773:
        assert "(number 3)" in refused(strips(*good[:2], good[2][:-20], _259=number))


def test_damage_prints_nothing(capfd):
    """libtiff, which writes to standard error, is not asked."""
    good = parts(imagecodecs.lzw_encode)
    bad = good[1][:4] + b"\xff\xff\xff" + good[1][7:]
    assert "(number 2)" in refused(strips(good[0], bad, good[2], _259=5))
    assert capfd.readouterr() == ("", "")


def test_lzw_of_old_libtiff():
    """Its codes begin with the lowest bit of a byte."""
    codes = [256, *GRAY[:8].reshape(-1).tolist(), 257]
    bits = "".join(f"{code:09b}"[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    assert np.array_equal(read(strips(packed, _257=8, _259=5)).samples, GRAY[:8])
