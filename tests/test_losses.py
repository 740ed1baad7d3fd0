"""losses.py: metadata in a file that are not stored are named, stored ones are not."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.losses import lost_names
from bitsback.codecs.formats.lost_parts import of_webp

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)


def saved(file_format, mode="RGB", **options):
    out = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(out, file_format, **options)
    return out.getvalue()


def lost(data):
    return list(read_image(io.BytesIO(data), "x", allow_lossy=True).lost)


def webp(*chunks, tail=b""):
    data = saved(
        "WEBP",
        lossless=True,
        xmp=b"<x/>",
        icc_profile=b"profile",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
    )
    data += b"".join(
        name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for name, body in chunks
    )
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:] + tail


EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"


def undeclared(simple=False, orientation=1):
    """A WebP with metadata that its chunk VP8X does not declare, or without this chunk."""
    exif = EXIF[:14] + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    data = saved("WEBP", lossless=True, xmp=b"<x/>", icc_profile=b"profile!", exif=exif)
    if not simple:
        return data[:20] + bytes([data[20] & ~44]) + data[21:]
    samples = saved("WEBP", lossless=True)[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(samples) + 4) + b"WEBP" + samples


def gif(*blocks, tail=b""):
    data = saved("GIF", "P", comment=b"hello")
    begin = data.rindex(b"!\xfe")
    return data[:begin] + b"".join(blocks) + data[begin:] + tail


def aspect(value):
    return gif()[:12] + bytes([value]) + gif()[13:]


def application(name):
    return b"!\xff" + bytes([len(name)]) + name + b"\3abc\0"


def bmp5(colours=b"BGRs", profile=b""):
    """A BMP of version 5 written by hand, with a profile after the samples."""
    rows = PIXELS[::-1, :8].tobytes()
    head = (
        struct.pack("<IiiHHIIiiII", 124, 8, 8, 1, 24, 0, len(rows), 0, 0, 0, 0)
        + bytes(16)
        + colours[::-1]
        + bytes(48)
    )
    head += struct.pack("<IIII", 0, 124 + len(rows) if profile else 0, len(profile), 0)
    size = 14 + 124 + len(rows) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 138) + head + rows + profile


P6 = b"P6\n# made by hand\n9 8\n255\n" + PIXELS.tobytes()
TGA = saved("TGA")
FOOT = struct.pack("<II", 500, 0) + b"TRUEVISION-XFILE.\0"


@pytest.mark.parametrize(
    "data, names",
    [
        (webp(), []),
        (webp((b"abcd", b"x"), (b"abcd", b"y")), ["abcd"]),
        (webp((b"XMP ", b"two")), ["XMP"]),
        (webp(tail=b"zz"), ["data after the end"]),
        (undeclared(), ["ICCP"]),
        (undeclared(simple=True), []),
        (undeclared(simple=True, orientation=6), ["EXIF"]),
        (gif(), []),
        (gif()[:-1], []),
        (gif(b"\0\0"), []),
        (gif()[:-1] + b"\0;", []),
        (gif()[:-1] + b"?;", ["damaged parts"]),
        (gif()[:-1] + b"!\xfe\x0cother", ["comment", "damaged parts"]),
        (gif()[:-1] + b"!\xf9\4\0\0\0\0\0;", []),
        (gif()[:-1] + b"!\xf9\3\0\0\0\0;", ["damaged parts"]),
        (gif()[:-2], ["damaged parts"]),
        (aspect(49), []),
        (aspect(50), ["pixel aspect"]),
        (gif(application(b"ICCRGBG1012")), ["ICCRGBG1012"]),
        (gif(application(b"NETSCAPE2.0")), []),
        (gif(tail=b"x"), ["data after the end"]),
        (bmp5(), []),
        (bmp5(profile=b"profile"), ["icc"]),
        (bmp5() + b"x", ["data after the end"]),
        (saved("BMP"), []),
        (P6, ["comment"]),
        (P6.replace(b"# made by hand\n", b""), []),
        (b"P2\n2 1\n255\n1 2 # odd\n", ["comment"]),
        (b"P4\n#c\n8 1\n#", ["comment"]),
        (b"P4\n8 1\n#", []),
        (saved("PPM"), []),
        (TGA, []),
        (TGA[:-26] + FOOT if TGA[-18:-10] == b"TRUEVISI" else TGA + FOOT, ["extension area"]),
        (
            saved(
                "JPEG",
                comment=b"hello",
                exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
                icc_profile=b"p",
            ),
            [],
        ),
        (saved("JPEG", extra=b"\xff\xed\0\x0ePhotoshop \0x"), ["APP13 Photoshop"]),
        (saved("JPEG2000"), []),
        (saved("QOI"), []),
    ],
    ids=lambda v: "" if isinstance(v, bytes) else "-".join(v) or "nothing",
)
def test_names_by_format(data, names):
    """Chunks, extensions, blocks and comments that are not stored, and nothing that is."""
    assert lost(data) == names


def test_chunks_that_are_cut():
    """libwebp refuses most such files; a last byte of padding may be missing."""
    whole = webp((b"abcd", b"x"))
    found = {"icc": b"", "exif": b"", "xmp": b""}
    assert list(of_webp(io.BytesIO(whole[:-1]), found)) == ["abcd"]
    assert list(of_webp(io.BytesIO(whole[:-2]), found)) == ["damaged parts"]


def test_boxes_of_jpeg_2000():
    """XML and other boxes of a JP2 are named; a bare codestream has none."""
    data = saved("JPEG2000")
    at = data.index(b"jp2c") - 4
    box = struct.pack(">I4s", 8 + 5, b"xml ") + b"<xml>"
    assert lost(data[:at] + box + data[at:]) == ["xml"]
    assert lost(saved("JPEG2000", no_jp2=True)) == []


@pytest.mark.parametrize(
    "data",
    [
        webp((b"abcd", b"x")),
        gif(application(b"ICCRGBG1012")),
        bmp5(profile=b"p"),
        P6,
        TGA + FOOT,
        saved("JPEG2000"),
    ],
    ids=["WebP", "GIF", "BMP", "PPM", "TGA", "JPEG 2000"],
)
def test_damaged_metadata_raise_no_error(data):
    """A file that Pillow has read, then cut anywhere or with any byte altered:
    names, no exception.
    """
    image = Image.open(io.BytesIO(data))
    for position in range(min(len(data), 400)):
        for altered in (
            data[:position],
            data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :],
        ):
            assert all(
                name and name.isprintable() for name in lost_names(image, io.BytesIO(altered), {})
            )
