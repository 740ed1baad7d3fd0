"""losses.py: metadata in a file that are not stored are named, stored ones are not."""

import contextlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.formats.containers import gif_blocks
from bitsback.codecs.formats.ends import end_of_lzw
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.losses import lost_names
from bitsback.codecs.formats.lost_parts import of_webp
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import UnsupportedImage

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


def thumbnail():
    """A JPEG with a whole JPEG in its Exif."""
    return saved("JPEG", exif=EXIF + saved("JPEG"))


def icon(kind):
    out = io.BytesIO()
    image = Image.fromarray(PIXELS).convert("RGBA").resize((16, 16))
    image.save(out, "ICO", sizes=[(16, 16)], bitmap_format=kind)
    return out.getvalue()


def in_runs():
    """An SGI file of 9x8 grays, each row a run."""
    head = struct.pack(">HBBHHHHII", 474, 1, 1, 2, 9, 8, 1, 0, 255).ljust(512, b"\0")
    table = struct.pack(">16I", *(576 + 3 * row for row in range(8)), *[3] * 8)
    return head + table + b"".join(bytes([9, row, 0]) for row in range(8))


def sun():
    """A SUN raster file of 9x8 grays, its rows padded to 16 bits."""
    rows = b"".join(bytes([row] * 10) for row in range(8))
    return struct.pack(">8I", 0x59A66A95, 9, 8, 8, len(rows), 1, 0, 0) + rows


def xpm(values=b""):
    lines = [b"2 1 2 1" + values, b"a c #102030", b"b c #405060", b"ab"]
    body = b",\n".join(b'"%s"' % line for line in lines)
    return b"/* XPM */\nstatic char *x[] = {\n" + body + b"\n};\n"


def titled(name):
    """An SGI file with a name, as by other programs than Pillow."""
    data = saved("SGI")
    return data[:24] + name.ljust(80, b"\0") + data[104:]


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
        (bmp5()[14:], []),
        (bmp5(profile=b"profile")[14:], ["icc"]),
        (P6, ["comment"]),
        (saved("PPM") + b"\n", []),
        (saved("PPM") + b"more", ["data after the end"]),
        (saved("PPM", "L") + b"more", ["data after the end"]),
        (saved("PPM", "1") + b"more", ["data after the end"]),
        (saved("PPM", "I") + b"more", ["data after the end"]),
        (saved("PPM", "F") + b"more", ["data after the end"]),
        (saved("PPM", "F"), []),
        (saved("PPM", "I"), []),
        (P6.replace(b"# made by hand\n", b""), []),
        (b"P2\n2 1\n255\n1 2 # odd\n", ["comment"]),
        (b"P1\n2 2\n01\n1 1\n", []),
        (b"P1\n2 1\n01\n0\n", ["data after the end"]),
        (b"P2\n2 1\n255\n1 2\nP2\n2 1\n255\n1 2\n", ["data after the end"]),
        (b"P3\n1 2\n255\n1 2 3 4 5 6\n", []),
        (b"P4\n#c\n8 1\n#", ["comment"]),
        (b"P4\n8 1\n#", []),
        (saved("PPM"), []),
        (TGA, []),
        (TGA + bytes(9), []),
        (TGA + b"more", ["data after the end"]),
        (saved("TGA", "P"), []),
        (saved("TGA", "P") + b"more", ["data after the end"]),
        (saved("TGA", "RGBA", compression="tga_rle"), []),
        (saved("TGA", "RGBA", compression="tga_rle") + b"more", ["data after the end"]),
        (saved("TGA", "1"), []),
        (saved("TGA", "LA", compression="tga_rle")[:-26] + b"more", ["data after the end"]),
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
        (saved("JPEG") + b"film", ["data after the end"]),
        (saved("JPEG") + bytes(9), []),
        (saved("JPEG", progressive=True, restart_marker_rows=1), []),
        (thumbnail(), []),
        (saved("JPEG2000"), []),
        (saved("QOI"), []),
        (saved("QOI") + bytes(9), []),
        (saved("QOI") + b"more", ["data after the end"]),
        (saved("QOI", "RGBA") + b"more", ["data after the end"]),
        (icon("bmp"), []),
        (icon("bmp") + b"more", ["data after the end"]),
        (icon("png") + bytes(9), []),
        (icon("png") + b"more", ["data after the end"]),
        (saved("PCX"), []),
        (saved("PCX") + b"\x1a", []),
        (saved("PCX") + b"more", ["data after the end"]),
        (saved("PCX", "P"), []),
        (saved("PCX", "1"), []),
        (saved("PCX", "1") + b"\x0c" + bytes(768), []),
        (saved("SGI"), []),
        (saved("SGI", "L") + b"more", ["data after the end"]),
        (in_runs(), []),
        (in_runs() + b"more", ["data after the end"]),
        (titled(b"no name"), []),
        (titled(b"Grandmother, 1961"), ["image name"]),
        (sun(), []),
        (sun() + b"more", ["data after the end"]),
        (xpm(), []),
        (xpm() + b"/* more */", ["data after the end"]),
        (xpm(b" 1 0"), ["hotspot"]),
        (xpm(b" XPMEXT"), ["XPMEXT"]),
        (saved("XBM", "1"), []),
        (saved("XBM", "1", hotspot=(1, 2)), ["hotspot"]),
        (b"/* by Ada */\n" + saved("XBM", "1"), []),
        (saved("XBM", "1") + b"more", ["data after the end"]),
    ],
    ids=lambda v: "" if isinstance(v, bytes) else "-".join(v) or "nothing",
)
def test_names_by_format(data, names):
    """Chunks, extensions, blocks and comments that are not stored, and nothing that is."""
    assert lost(data) == names


def test_a_terminator_that_is_altered():
    """The blocks that follow an image are then taken for its samples, a second image too."""
    out, images = io.BytesIO(), [Image.fromarray(PIXELS[::step]).quantize(8) for step in (1, -1)]
    images[0].save(out, "GIF", save_all=True, append_images=images[1:])
    data = out.getvalue()
    second = data.rindex(b"!\xf9")
    assert data[second - 1] == 0
    found = []
    for length in range(1, 256):
        altered = data[: second - 1] + bytes([length]) + data[second:]
        with contextlib.suppress(UnsupportedImage):  # where Pillow still finds the second one
            found.append(lost(altered))
    assert len(found) > 50 and found == [["damaged parts"]] * len(found)


@pytest.mark.parametrize("colours, side", [(2, 3), (2, 300), (30, 100), (256, 200)])
def test_the_end_of_the_codes_of_a_gif(colours, side):
    """Codes of all lengths, with clear codes in between; an end within is found."""
    pixels = np.random.default_rng(0).integers(0, colours, (side, side), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "GIF")
    ((least, parts),) = [part[1:] for part in gif_blocks(out) if part[0] == b","]
    codes = b"".join(parts)
    assert end_of_lzw(codes, least) == end_of_lzw(codes + b"more", least) == len(codes)
    assert end_of_lzw(codes[:-2], least) is None


def test_an_sgi_with_the_name_of_its_file(tmp_path):
    """Pillow writes it into each file; a name of another file is text that is lost."""
    path = tmp_path / "house.sgi"
    Image.fromarray(PIXELS).save(path)
    assert read_image(path, path).lost == ()
    assert read_image(path.rename(tmp_path / "1.sgi"), path).lost == ("image name",)


def test_undeclared_metadata_of_a_webp_are_stored():
    """Pillow, as libwebp, leaves them out; the restored PNG has them."""
    for data in (undeclared(), undeclared(simple=True)):
        assert not Image.open(io.BytesIO(data)).getexif()
        found = read_image(io.BytesIO(data), "x")
        back = Image.open(io.BytesIO(default_bytes(found, "x")[1]))
        assert back.getexif() == {0x112: 1}
    assert read_image(io.BytesIO(undeclared()), "x").metadata["xmp"] == b"<x/>"


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
        saved("TGA", "RGBA", compression="tga_rle"),
        saved("JPEG2000"),
        saved("JPEG"),
        saved("QOI"),
        saved("SGI"),
        saved("XBM", "1"),
        icon("bmp"),
        saved("PCX", "P"),
        in_runs(),
        sun(),
        xpm(),
    ],
    ids="WebP GIF BMP PPM TGA TGA-runs J2K JPEG QOI SGI XBM ICO PCX SGI-runs SUN XPM".split(),
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
