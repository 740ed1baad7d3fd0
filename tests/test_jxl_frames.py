"""fallback/jxl.py and jxl_frames.py: JPEG XL without its headers comes back bit for bit; streams of
other sizes, frames, animations and lossy ones are refused before libjxl sees them.
"""

import re
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageDraw

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.bitstream.bits import Bits
from bitsback.codecs.fallback import jxl
from bitsback.codecs.fallback.codec import JXL, decode_fallback, encode_fallback
from bitsback.codecs.fallback.jxl_frames import REFERENCE_ONLY, _frame_header, check_frames
from bitsback.codecs.fallback.jxl_head import read_head
from bitsback.codecs.image import ImageData, same, same_samples
from bitsback.errors import DamagedFile, MissingPackage, UnsupportedImage

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (1, 300), (40, 33), (300, 9)]


def smooth(shape, dtype, channels):
    """Samples with all bits in use, also where the last channel is 0."""
    whole = (*shape, channels) if channels > 1 else shape
    samples = np.cumsum(RNG.integers(0, 9, whole), 0) * (1 if dtype == "u1" else 91)
    samples = (samples / np.float32(7)).astype(dtype) if dtype == "<f4" else samples.astype(dtype)
    if channels in (2, 4):
        samples[: shape[0] // 2, ..., -1] = 0
    return samples


def text(width=300, height=200):
    """A page whose repeated letters libjxl stores once, in a frame that is not shown."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    for top in range(0, height, 14):
        draw.text((3, top), "".join(chr(c) for c in RNG.integers(65, 123, width // 6)), fill=0)
    return np.array(image)


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_come_back(shape, channels, dtype):
    """Every dtype, number of channels and coding of a side, by every effort in use; the headers are
    those of libjxl, but for the colours, which do not matter."""
    samples = smooth(shape, dtype, channels)
    for effort in (jxl.QUICK, jxl.USUAL, jxl.MOST):
        data = jxl.encode_jxl(samples, effort)
        assert same_samples(jxl.decode_jxl(data, samples.shape, samples.dtype), samples)
    head = jxl.header(samples.shape, samples.dtype)
    found = read_head(head + data)
    depth = None if dtype == "<f4" else 8 * samples.itemsize
    assert (found.height, found.width, found.channels, found.bits) == (*shape, channels, depth)
    assert found.frames == len(head)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -0.0, 1e-42, 3e38])
def test_floats_come_back_bit_for_bit(value):
    """Also those that are no numbers: by libjxl, or another coder where it changes them."""
    samples = RNG.random((9, 8)).astype("<f4")
    samples[3, 4] = value
    samples.view("<u4")[0, 0] = 0x7FA00001  # a signalling NaN
    assert same_samples(decode_fallback(encode_fallback(samples), (9, 8), "<f4"), samples)


def test_what_libjxl_changes_is_not_chosen(monkeypatch):
    """A coder that decodes to other samples, or not at all, loses, however small."""
    samples = smooth((40, 33), "u1", 3)
    other = jxl.encode_jxl(np.zeros_like(samples), jxl.USUAL)
    for wrong in (other, b"", b"abc"):
        monkeypatch.setattr(jxl, "encode_jxl", lambda *_, wrong=wrong: wrong)
        data = encode_fallback(samples)
        assert data[0] != JXL and np.array_equal(decode_fallback(data, samples.shape), samples)


def test_repeated_letters():
    """A stream of two frames: the first is an atlas, which a small image must not have larger."""
    samples = text()
    data = jxl.encode_jxl(samples, jxl.USUAL)
    head = jxl.header(samples.shape, samples.dtype)
    bits = Bits(head + data)
    bits.position = 8 * len(head)
    assert _frame_header(bits, *samples.shape, 0).kind == REFERENCE_ONLY
    assert np.array_equal(jxl.decode_jxl(data, samples.shape, samples.dtype), samples)


def fields(*pairs):
    """(value, bits) pairs as bytes, lowest bits first."""
    value = at = 0
    for number, count in pairs:
        value, at = value | number << at, at + count
    return value.to_bytes(-(-at // 8), "little")


MODULAR = ((0, 1), (0, 2), (1, 1), (0, 2), (0, 1), (0, 2), (1, 2))  # up to group size
ATLAS = ((0, 1), (2, 2), *MODULAR[2:])
END = ((0, 2), (0, 6), (0, 2))  # no name, no filters, no extensions
HOSTILE = {  # by the reason
    "VarDCT": ((1, 1),),
    "unknown kind": ((0, 1), (1, 2)),
    "noise": (*MODULAR[:3], (1, 2), (0, 4)),
    "unknown flags": (*MODULAR[:3], (3, 2)),
    "YCbCr": (*MODULAR[:4], (1, 1)),
    "upsampling": (*MODULAR[:5], (1, 2)),
    "passes": (*MODULAR, (1, 2)),
    "a crop": (*MODULAR, (0, 2), (1, 1)),
    "blending": (*MODULAR, (0, 3), (1, 2)),
    "several frames": (*MODULAR, (0, 3), (0, 2), (0, 1)),
    "a name": (*MODULAR, (0, 3), (0, 2), (1, 1), (1, 2)),
    "filters": (*MODULAR, (0, 3), (0, 2), (1, 1), (0, 2), (3, 6)),
    "extensions": (*MODULAR, (0, 3), (0, 2), (1, 1), (0, 8), (1, 2)),
    "a larger frame": (*ATLAS, (1, 1), (3, 2), (2**20, 30), (3, 2), (2**20, 30), (0, 3), *END),
    "an empty frame": (*ATLAS, (1, 1), (0, 10), (0, 10), (0, 3), *END),
    "out of order": (*ATLAS, (0, 1), (0, 3), *END, (1, 1)),
    "too many frames": (*ATLAS, (0, 1), (0, 3), *END, (0, 1), (0, 5), (0, 16)),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_hostile_frames_are_refused(reason):
    """Frame headers written by the specification, for an image of 16x16; libjxl gets none."""
    data = fields(*HOSTILE[reason]) * (6 if reason == "too many frames" else 1) + bytes(20)
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_frames(data, 0, 16, 16, 0)
    with pytest.raises(DamagedFile):
        decode_fallback(bytes([JXL]) + data, (16, 16))


def test_streams_of_other_images_are_refused():
    """Another size, depth or number of channels, an animation, a lossy image, cut and altered
    bytes: DamagedFile, UnsupportedImage for too many pixels, or samples that the file's digest
    refuses."""
    samples = smooth((40, 33), "u1", 3)
    code = bytes([JXL]) + jxl.encode_jxl(samples, jxl.USUAL)
    for shape, dtype in [
        ((40, 33), "u1"),
        ((40, 33, 4), "u1"),
        ((40, 33, 3), "<u2"),
        ((400, 330, 3), "u1"),
        ((2**24, 2**7, 3), "u1"),
        ((2**24, 2**24), "u1"),
    ]:
        try:
            assert decode_fallback(code, shape, dtype).shape == shape
        except (DamagedFile, UnsupportedImage):
            pass
    lossy = imagecodecs.jpegxl_encode(samples, distance=1.0, usecontainer=False)
    film = imagecodecs.jpegxl_encode(np.stack([samples] * 3), lossless=True, usecontainer=False)
    for other in (lossy, film):  # frames behind their own headers, of which none are kept
        for position in range(2, 40):
            try:
                back = decode_fallback(bytes([JXL]) + other[position:], samples.shape)
                assert back.shape == samples.shape
            except DamagedFile:
                pass
    for position in range(1, len(code), 7):
        for bad in (code[:position], code[:position] + bytes([code[position] ^ 255])):
            with pytest.raises(DamagedFile):
                decode_fallback(bad, samples.shape)
    with pytest.raises(DamagedFile):
        decode_fallback(code, samples.shape, "<i4")


def test_jxl_size_of_strips(monkeypatch):
    """The sizes of strips are added, each with the byte that names the coder."""
    samples = smooth((40, 33), "u1", 3)
    whole = jxl.jxl_size(samples)
    assert whole == 1 + len(jxl.encode_jxl(samples, jxl.QUICK))
    monkeypatch.setattr(jxl, "STRIP", 20 * 33)
    assert jxl.jxl_size(samples) == jxl.jxl_size(samples[:20]) + jxl.jxl_size(samples[20:])


def test_without_imagecodecs(monkeypatch):
    """One error that names the package; a file without JPEG XL decodes; importing needs none."""
    crop = np.array(Image.open(Path(__file__).parent / "images" / "kodim23_crop.png"))[:90, :90]
    photograph = ImageData("YCbCr", crop)
    plain = ImageData("P", smooth((40, 33), "u1", 1) % 5, {"palette": bytes(15)})
    files = encode_image(photograph), encode_image(plain)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingPackage, match="needs the package imagecodecs"):
        decode_image(files[0])
    with pytest.raises(MissingPackage, match="needs the package imagecodecs"):
        encode_image(photograph)
    assert same(decode_image(files[1]), plain)
    code = "import sys, bitsback.codecs; sys.exit('imagecodecs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
