"""jpeg2000.py: lossy files are recognised whatever boxes come first, for each component and tile;
files that Pillow would change are refused.
"""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.jpeg2000 import inspect
from bitsback.errors import LossySource, UnsupportedImage

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8)


def saved(pixels=PIXELS, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG2000", **options)
    return out.getvalue()


def box(name, body, long=False):
    return (
        struct.pack(">I4sQ", 1, name, 16 + len(body)) + body
        if long
        else struct.pack(">I4s", 8 + len(body), name) + body
    )


def rebuilt(data, *before, long=False, colour=None, more=b""):
    """A JP2 by Pillow, rebuilt.  before: boxes before the codestream; long: 8-byte length of jp2c;
    colour: another colr box; more: boxes within jp2h.
    """
    ftyp, place = data[12 : 12 + int.from_bytes(data[12:16], "big")], data.index(b"jp2c")
    head = data[data.index(b"jp2h") + 4 : place - 4]
    if colour:
        at = head.index(b"colr") - 4
        head = (
            head[:at] + box(b"colr", colour) + head[at + int.from_bytes(head[at : at + 4], "big") :]
        )
    return (
        data[:12]
        + ftyp
        + box(b"jp2h", head + more)
        + b"".join(before)
        + box(b"jp2c", data[place + 4 :], long)
    )


def inserted(data, before, segment):
    """A bare codestream with a segment before the first marker `before`.

    Before SOD the length of the tile-part grows.
    """
    place = data.index(before)
    if before == b"\xff\x93":
        sot = data.index(b"\xff\x90")
        size = int.from_bytes(data[sot + 6 : sot + 10], "big") + len(segment)
        data = data[: sot + 6] + struct.pack(">I", size) + data[sot + 10 :]
    return data[:place] + segment + data[place:]


BARE = saved(no_jp2=True)
TILED = saved(no_jp2=True, tile_size=(16, 16))
IRREVERSIBLE = saved(no_jp2=True, irreversible=True)
PROFILE = RNG.bytes(2**17)
COC = b"\xff\x53\0\x09\1\0\5\4\4\0\0"
QCC = b"\xff\x5d\0\x06\1\x42\x11\x22"
COD = BARE[BARE.index(b"\xff\x52") :][:14]


@pytest.mark.parametrize(
    "data",
    [
        saved(),
        BARE,
        TILED,
        saved(PIXELS[..., 0]),
        saved(num_resolutions=1),
        rebuilt(saved(), box(b"uuid", bytes(2**18))),
        rebuilt(saved(), long=True),
        rebuilt(
            saved(),
            box(b"xml ", bytes(70000)),
            box(b"free", b"\xff\x4f\xff\x51\xff\x52"),
            long=True,
        ),
        rebuilt(saved(), colour=b"\2\0\0" + PROFILE),
    ],
    ids=[
        "JP2",
        "bare",
        "tiles",
        "gray",
        "one resolution",
        "large box",
        "long length",
        "several boxes",
        "large profile",
    ],
)
def test_lossless_files_are_read(data):
    """The pixels are exact wherever the codestream lies."""
    found = read_image(io.BytesIO(data), "x.jp2")
    assert np.array_equal(found.samples, PIXELS if found.mode == "RGB" else PIXELS[..., 0])


def test_all_comments_are_stored():
    """Pillow reads the first one only."""
    comments = [struct.pack(">HHH", 0xFF64, 4 + len(text), 1) + text for text in (b"one", b"two")]
    data = saved(no_jp2=True, comment="")
    data = inserted(data, b"\xff\x5c", b"".join(comments))
    found = read_image(io.BytesIO(data), "x.j2k")
    assert found.metadata["text"][0][1].startswith("one\ntwo\n") and not found.lost


def lost(data):
    return read_image(io.BytesIO(data), "x.jp2").lost


def test_what_is_not_kept_is_named():
    """Data after the end of the codestream, a display resolution, boxes that are cut."""
    bare, whole = saved(no_jp2=True), rebuilt(saved())
    assert lost(bare) == lost(bare + bytes(5)) == lost(whole) == ()
    assert lost(bare + b"more") == ("data after the end",)
    assert lost(whole + b"more") == ("damaged parts",)
    numbers = struct.pack(">HHHHBB", 11811, 1, 11811, 1, 0, 0)
    shown, taken = box(b"resd", numbers), box(b"resc", numbers)
    assert lost(rebuilt(saved(), more=box(b"res ", shown))) == ("display resolution",)
    assert lost(rebuilt(saved(), more=box(b"res ", taken))) == ()
    assert lost(rebuilt(saved(), more=box(b"res ", taken + shown))) == ()


def test_a_second_codestream_is_refused():
    """It is another image."""
    data = rebuilt(saved(), box(b"jp2c", saved(no_jp2=True)))
    with pytest.raises(UnsupportedImage, match="x.jp2: several images"):
        read_image(io.BytesIO(data), "x.jp2")


def test_the_profile_of_a_jp2_is_stored():
    """Pillow does not read it; this one is longer than 64 KiB."""
    assert (
        read_image(io.BytesIO(rebuilt(saved(), colour=b"\2\0\0" + PROFILE)), "x.jp2").metadata[
            "icc"
        ]
        == PROFILE
    )
    assert "icc" not in read_image(io.BytesIO(saved()), "x.jp2").metadata


@pytest.mark.parametrize(
    "data, reason",
    [
        (saved(irreversible=True), "irreversible|quantised"),
        (IRREVERSIBLE, "irreversible|quantised"),
        (inserted(BARE, b"\xff\x90", COC), "irreversible"),
        (inserted(BARE, b"\xff\x90", QCC), "quantised"),
        (inserted(TILED, b"\xff\x93", COD[:13] + b"\0"), "irreversible"),
        (rebuilt(saved(irreversible=True), box(b"free", BARE[:200])), "irreversible|quantised"),
        (saved()[:60], "not found|lacks"),
    ],
    ids=[
        "JP2",
        "bare",
        "one component",
        "one component's quantisation",
        "one tile",
        "a decoy",
        "cut",
    ],
)
def test_lossy_files_are_refused(data, reason):
    """Any component or tile may have the lossy transform or quantisation; the error names it."""
    assert inspect(io.BytesIO(data)).loss
    with pytest.raises(UnsupportedImage, match="x.jp2: ") as error:
        read_image(io.BytesIO(data), "x.jp2")
    assert (
        isinstance(error.value, LossySource)
        or "damaged" in str(error.value)
        or "not an image" in str(error.value)
    )
    assert re.search(reason, inspect(io.BytesIO(data)).loss)


def patched(data, marker, offset, value):
    place = data.index(marker) + offset
    return data[:place] + bytes([value]) + data[place + 1 :]


@pytest.mark.parametrize(
    "data, reason",
    [
        (patched(BARE, b"\xff\x51", 40, 0x87), "signed"),
        (patched(BARE, b"\xff\x51", 41, 2), "subsampled"),
        (patched(BARE, b"\xff\x51", 40, 5), "6 bits|bits"),
        (rebuilt(saved(), colour=b"\1\0\0\0\0\0\x12"), "colours"),
        (
            rebuilt(saved(), more=box(b"cdef", struct.pack(">H9H", 3, 0, 0, 2, 1, 0, 1, 2, 0, 3))),
            "channels",
        ),
        (
            rebuilt(
                saved(np.dstack([PIXELS, PIXELS[..., 0]])),
                more=box(b"cdef", struct.pack(">H3H", 1, 3, 2, 0)),
            ),
            "channels",
        ),
        (TILED[: TILED.rindex(b"\xff\x90")] + b"\xff\xd9", "tiles"),
    ],
    ids=[
        "signed",
        "subsampled",
        "few bits",
        "sYCC",
        "swapped channels",
        "premultiplied alpha",
        "a tile is missing",
    ],
)
def test_what_pillow_would_change_is_refused(data, reason):
    """Depths, subsampling, colours and channels that Pillow does not decode exactly."""
    with pytest.raises(UnsupportedImage, match=f"x.jp2: JPEG2000 with .*({reason})"):
        read_image(io.BytesIO(data), "x.jp2")


def test_other_bits_against_imagecodecs():
    """16-bit gray is read as imagecodecs wrote it; 12 bits are refused."""
    codecs = pytest.importorskip("imagecodecs")
    words = RNG.integers(0, 2**16, (9, 11), dtype=np.uint16)
    assert np.array_equal(
        read_image(io.BytesIO(codecs.jpeg2k_encode(words, level=0, reversible=True)), "x").samples,
        words,
    )
    with pytest.raises(UnsupportedImage, match="12 bits"):
        read_image(
            io.BytesIO(
                codecs.jpeg2k_encode(words >> 4, level=0, reversible=True, bitspersample=12)
            ),
            "x",
        )


def test_damaged_files_end():
    """Every byte altered, every length cut: a result or struct.error, no endless loop."""
    data = rebuilt(saved(PIXELS[:8, :8]), box(b"xml ", b"x"))
    head = data.index(b"\xff\x93") + 4
    for position in range(head):
        for altered in (
            data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :],
            data[:position],
        ):
            try:
                assert inspect(io.BytesIO(altered)) is not None
            except struct.error:
                pass


def test_one_that_is_cut_short_is_not_skipped_as_lossy():
    """Below a folder lossy files are skipped: this one is an error."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(out, "JPEG2000")
    with pytest.raises(UnsupportedImage) as error:
        read_image(io.BytesIO(out.getvalue()[:-1]), "x.jp2")
    assert type(error.value) is UnsupportedImage
