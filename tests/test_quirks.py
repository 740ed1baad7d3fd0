"""quirks.py: files of all other formats, written by hand, are restored exactly or refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import UnsupportedImage
from tests.by_hand import bmp, gif, icon, png, tga, tiff, unfiltered

RNG = np.random.default_rng(0)
GRAY, COLOUR, FOUR = (
    RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((4, 4), (4, 4, 3), (4, 4, 4))
)
OPAQUE = np.dstack([COLOUR, np.full((4, 4), 255, np.uint8)])
WORDS = RNG.integers(0, 2**16, (4, 4), dtype=np.uint16)
FEW = RNG.integers(0, 16, (4, 4), dtype=np.uint8)
BITS = RNG.integers(0, 2, (4, 4), dtype=np.uint8)
MAP = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
WIDE = MAP[:, ::-1].tobytes()
BITS_OF_PCX = b"".join(np.packbits(row).tobytes() + b"\0" for row in BITS)
BITS_OF_XBM = np.unpackbits(np.uint8([[0x05, 0x80], [0xA1, 0xFF]]), axis=1, bitorder="little")


def read(data):
    return read_image(io.BytesIO(data), "x")


def rows(samples, down=True):
    """Bytes of BGR(A) or gray rows, from the bottom up if down."""
    swapped = samples[..., [2, 1, 0, *range(3, samples.shape[2])]] if samples.ndim == 3 else samples
    return (swapped[::-1] if down else swapped).tobytes()


def nibbles(values):
    return (values[:, ::2] << 4 | values[:, 1::2]).astype(np.uint8)


def padded(packed):
    """BMP's rows of whole four bytes, from the bottom up."""
    return b"".join(
        row.tobytes().ljust(-(-len(row.tobytes()) // 4) * 4, b"\0") for row in packed[::-1]
    )


def quads(palette):
    return b"".join(bytes([b, g, r, 0]) for r, g, b in palette)


def spread(words, widths):
    """Colours of some bits in words, from the top down, as 8 bits each."""
    at, out = 0, []
    for width in reversed(widths):
        out.insert(0, (words.astype(int) >> at & (1 << width) - 1) * 255 // ((1 << width) - 1))
        at += width
    return np.stack(out, -1).astype(np.uint8)


def dib(bits, pixels, mask, palette=b"", used=0, tail=b""):
    return (
        struct.pack("<IiiHHIIiiII", 40, 4, 8, 1, bits, 0, 0, 0, 0, used, 0)
        + palette
        + pixels
        + mask
        + tail
    )


def mask(hidden):
    return b"".join(
        np.packbits(row).tobytes().ljust(4, b"\0") for row in hidden[::-1].astype(np.uint8)
    )


def pfm(scale):
    return (
        b"Pf\n4 4\n%s\n" % scale
        + np.arange(16, dtype="<f4" if scale.startswith(b"-") else ">f4").tobytes()
    )


def sgi(size=1, colours=0):
    return (
        struct.pack(">hBBHHHH", 474, 0, size, 2, 4, 4, 1)
        + struct.pack(">ii", 0, 255)
        + bytes(84)
        + struct.pack(">i", colours)
        + bytes(404)
        + (GRAY[::-1].tobytes() if size == 1 else WORDS.astype(">u2")[::-1].tobytes())
    )


def sun(depth, kind, pixels, palette=b""):
    return (
        struct.pack(">8I", 0x59A66A95, 4, 4, depth, len(pixels), kind, bool(palette), len(palette))
        + palette
        + pixels
    )


def pcx(bits, planes, stride, body, version=5, palette=bytes(48), tail=b"", runs=1, gray=0):
    packed = b"".join(b"\xc1" + bytes([byte]) for byte in body)
    return (
        struct.pack("<BBBBHHHHHH", 10, version, runs, bits, 0, 0, 3, 3, 72, 72)
        + palette
        + bytes([0, planes])
        + struct.pack("<HH", stride, gray)
        + bytes(58)
        + packed
        + tail
    )


def xbm(numbers, kind=b"unsigned char", more=b""):
    """An XBM of 16x2 pixels."""
    head = b"#define x_width 16\n#define x_height 2\n" + more
    return head + b"static " + kind + b" x_bits[] = {\n" + numbers + b"};\n"


def xpm(digits):
    return (
        b'/* XPM */\nstatic char *x[] = {\n"2 1 2 1",\n"a c #%s",\n"b c #%s",\n'
        b'/* pixels */\n"ab"\n};\n' % (b"102030" * (digits // 6), b"405060" * (digits // 6))
    )


def runs(*parts):
    return bytes(byte for part in parts for byte in part)


SKIPPED = np.array(
    [[0, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 2, 3]], np.uint8
)  # the result of the runs below, with index 0 where they skip
GRAYS = bytes(v for i in range(256) for v in (i, i, i, 0))
TRANSPARENT = np.full((6, 5), 3, np.uint8)
TRANSPARENT[1:5, 1:5] = FEW

KEPT = {  # name: (file, samples expected)
    "BMP 24": (bmp(4, 4, 24, rows(COLOUR)), COLOUR),
    "BMP 32": (bmp(4, 4, 32, rows(np.dstack([COLOUR, 0 * GRAY]))), COLOUR),
    "BMP 555": (bmp(4, 4, 16, rows(WORDS & 0x7FFF)), spread(WORDS & 0x7FFF, (5, 5, 5))),
    "BMP 565": (
        bmp(4, 4, 16, rows(WORDS), compression=3, masks=(0xF800, 0x7E0, 0x1F)),
        spread(WORDS, (5, 6, 5)),
    ),
    "BMP alpha": (
        bmp(
            4,
            4,
            32,
            rows(FOUR),
            compression=3,
            masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000),
            header=56,
        ),
        FOUR,
    ),
    "BMP P": (bmp(4, 4, 8, rows(FEW), quads(MAP)), FEW),
    "BMP 4": (bmp(4, 4, 4, padded(nibbles(FEW)), quads(MAP)), FEW),
    "BMP gray": (bmp(4, 4, 8, rows(GRAY), GRAYS), GRAY),
    "BMP 1": (bmp(4, 4, 1, padded(np.packbits(BITS, axis=1)), bytes(4) + b"\xff\xff\xff\0"), BITS),
    "BMP RLE8 skips": (
        bmp(
            4,
            4,
            8,
            runs((2, 1, 1, 2, 1, 3, 0, 0), (0, 2, 3, 2), (1, 5, 0, 1)),
            quads(MAP),
            compression=1,
        ),
        SKIPPED,
    ),
    "TGA up": (tga(4, 4, 2, 24, 0, rows(COLOUR)), COLOUR),
    "TGA down": (tga(4, 4, 2, 24, 0x20, rows(COLOUR, False)), COLOUR),
    "TGA mirrored": (tga(4, 4, 2, 24, 0x10, rows(COLOUR[:, ::-1])), COLOUR),
    "TGA turned": (tga(4, 4, 2, 24, 0x30, rows(COLOUR[:, ::-1], False)), COLOUR),
    "TGA RLE": (
        tga(4, 4, 10, 24, 0, b"".join(b"\x03" + rows(row[None]) for row in COLOUR[::-1])),
        COLOUR,
    ),
    "TGA alpha": (tga(4, 4, 2, 32, 8, rows(FOUR), extension=3), FOUR),
    "TGA opaque": (tga(4, 4, 2, 32, 0, rows(OPAQUE)), OPAQUE),
    "TGA 555": (
        tga(4, 4, 2, 16, 0, rows(WORDS & 0x7FFF)),
        np.dstack([spread(WORDS & 0x7FFF, (5, 5, 5)), 0 * GRAY + 255]),
    ),
    "TGA P": (tga(4, 4, 1, 8, 0, rows(FEW + 2), WIDE, 24, 2), FEW + 2),
    "TGA gray": (tga(4, 4, 3, 8, 0, rows(GRAY)), GRAY),
    "GIF": (gif((4, 4), (0, 0, 4, 4), FEW.ravel(), MAP.tobytes()), FEW),
    "GIF on a transparent canvas": (
        gif((5, 6), (1, 1, 4, 4), FEW.ravel(), MAP.tobytes(), 3),
        TRANSPARENT,
    ),
    "PNG 16 gray": (png(4, 4, 16, 0, unfiltered(WORDS.astype(">u2"))), WORDS),
    "ICO 24": (icon(dib(24, rows(COLOUR), mask(BITS))), np.dstack([COLOUR, 255 - 255 * BITS])),
    "ICO 8": (
        icon(dib(8, rows(FEW), mask(BITS), quads(MAP), 16), bits=8),
        np.dstack([MAP[FEW], 255 - 255 * BITS]),
    ),
    "ICO 32": (icon(dib(32, rows(FOUR), mask(FOUR[..., 3] == 0)), bits=32), FOUR),
    "ICO 32 without a mask": (icon(dib(32, rows(FOUR), b""), bits=32), FOUR),
    "ICO of a PNG": (
        icon(
            png(
                4,
                4,
                8,
                3,
                unfiltered(FEW),
                chunk(b"PLTE", MAP.tobytes()),
                chunk(b"tRNS", bytes(range(16))),
            )
        ),
        FEW,
    ),
    "ICO of a deep PNG": (
        icon(png(4, 4, 16, 2, unfiltered(np.dstack([WORDS] * 3).astype(">u2")))),
        np.dstack([WORDS] * 3),
    ),
    "PFM little": (pfm(b"-1.0"), np.arange(16, dtype="f4").reshape(4, 4)[::-1]),
    "PFM big": (pfm(b"1.0"), np.arange(16, dtype="f4").reshape(4, 4)[::-1]),
    "PBM": (b"P4 4 4\n" + np.packbits(BITS, axis=1).tobytes(), 1 - BITS),
    "PGM 16": (b"P5 4 4 65535\n" + WORDS.astype(">u2").tobytes(), WORDS.astype("i4")),
    "SGI": (sgi(), GRAY),
    "SUN 24": (sun(24, 1, rows(COLOUR, False)), COLOUR),
    "SUN P": (sun(8, 1, FEW.tobytes(), MAP.T.tobytes()), FEW),
    "PCX": (pcx(8, 3, 4, COLOUR.transpose(0, 2, 1).tobytes()), COLOUR),
    "PCX 1": (pcx(1, 1, 2, BITS_OF_PCX), BITS),
    "PCX planes": (
        pcx(
            1,
            4,
            2,
            b"".join(
                np.packbits(row >> plane & 1).tobytes() + b"\0" for row in FEW for plane in range(4)
            ),
            palette=MAP.tobytes(),
        ),
        FEW,
    ),
    "PCX P": (pcx(8, 1, 4, FEW.tobytes(), tail=b"\x0c" + MAP.tobytes().ljust(768, b"\0")), FEW),
    "PCX of 256 grays": (
        pcx(8, 1, 4, GRAY.tobytes(), tail=b"\x0c" + bytes(i // 3 for i in range(768))),
        GRAY,
    ),
    "PCX of grays without a palette": (pcx(8, 1, 4, GRAY.tobytes()), GRAY),
    "PCX of grays and more": (pcx(8, 1, 4, GRAY.tobytes(), gray=2, tail=b"more"), GRAY),
    "PCX 1 with a palette": (
        pcx(1, 1, 2, BITS_OF_PCX, palette=bytes(3) + b"\xff\xff\xff" + bytes(42)),
        BITS,
    ),
    "XBM": (xbm(b"0x05, 0x80,\n 0xA1, 0xfF"), BITS_OF_XBM),
    "XBM of X11": (
        xbm(
            b"0x05,0x80,0xa1,0xff,",
            b"char",
            b"#define x_x_hot 1\n#define x_y_hot 1\n",
        ),
        BITS_OF_XBM,
    ),
    "XBM with a comment": (xbm(b"/* bits */ 0x05, 0x80, 0xa1, 0xff"), BITS_OF_XBM),
    "XPM": (xpm(6), np.array([[0, 1]], np.uint8)),
}

REFUSED = {  # name: (file, part of the reason)
    "BMP of two colours in 8 bits": (
        bmp(4, 4, 8, rows(BITS), bytes(4) + b"\xff\xff\xff\0"),
        "black and white",
    ),
    "BMP of two colours in 4 bits": (
        bmp(4, 4, 4, padded(nibbles(BITS)), bytes(4) + b"\xff\xff\xff\0"),
        "black and white",
    ),
    "BMP of 16 grays in order": (bmp(4, 4, 4, padded(nibbles(FEW)), GRAYS[:64]), "black and white"),
    "BMP of a fourth channel": (bmp(4, 4, 32, rows(FOUR)), "fourth channel"),
    "BMP 1555": (
        bmp(4, 4, 16, rows(WORDS), compression=3, masks=(0x7C00, 0x3E0, 0x1F, 0x8000), header=56),
        "alpha",
    ),
    "TGA alpha of no bits": (tga(4, 4, 2, 32, 0, rows(FOUR)), "fourth channel"),
    "TGA 1555": (tga(4, 4, 2, 16, 1, rows(WORDS | 0x8000)), "fourth channel"),
    "TGA premultiplied": (tga(4, 4, 2, 32, 8, rows(FOUR), extension=4), "fourth channel"),
    "TGA alpha to be ignored": (tga(4, 4, 2, 32, 8, rows(FOUR), extension=1), "fourth channel"),
    "TGA palette 1555": (
        tga(4, 4, 1, 8, 0, rows(FEW), (WORDS | 0x8000).tobytes(), 16),
        "fourth channel",
    ),
    "TGA interleaved": (tga(4, 4, 2, 24, 0x40, rows(COLOUR)), "interleaved"),
    "GIF on a canvas": (gif((5, 6), (1, 1, 4, 4), FEW.ravel(), MAP.tobytes()), "canvas"),
    "ICO of two depths": (
        icon(dib(24, rows(COLOUR), mask(BITS)), dib(32, rows(FOUR), mask(FOUR[..., 3] == 0))),
        "2 images",
    ),
    "ICO 32 that calls itself 24": (icon(dib(32, rows(FOUR), mask(BITS))), "unusual header"),
    "ICO of two masks": (icon(dib(32, rows(FOUR), mask(BITS)), bits=32), "differs from its alpha"),
    "ICO without alpha in 32 bits": (
        icon(dib(32, rows(np.dstack([COLOUR, 0 * GRAY])), mask(0 * BITS)), bits=32),
        "differs from its alpha",
    ),
    "ICO with more behind": (
        icon(dib(24, rows(COLOUR), mask(BITS), tail=bytes(16))),
        "another position",
    ),
    "PFM of a scale": (pfm(b"-2.5"), "scale of 2.5"),
    "PGMs": (
        b"P5 4 4 255\n" + GRAY.tobytes() + b"P5 4 4 255\n" + GRAY.tobytes(),
        "several images",
    ),
    "PGM of 100": (b"P5 4 4 100\n" + (GRAY % 101).tobytes(), "which Pillow would scale"),
    "Pillow's own": (b"PyRGBA 4 4 255\n" + FOUR.tobytes(), "extension by Pillow"),
    "SGI 16": (sgi(2), "16 bits"),
    "SGI by palette": (sgi(colours=1), "palette"),
    "SUN 32": (sun(32, 1, rows(FOUR, False)), "misread"),
    "SUN 1 with a palette": (sun(1, 1, bytes(8), MAP[:2].T.tobytes()), "misread"),
    "PCX of longer rows": (pcx(8, 3, 8, bytes(96)), "another length"),
    "PCX without a palette": (pcx(1, 4, 2, bytes(32), version=3), "palette"),
    "PCX with a byte after its palette": (
        pcx(8, 1, 4, FEW.tobytes(), tail=b"\x0c" + MAP.tobytes().ljust(768, b"\0") + b"\x1a"),
        "palette that is cut",
    ),
    "PCX with a palette that is cut": (
        pcx(8, 1, 4, FEW.tobytes(), tail=b"\x0c" + MAP.tobytes().ljust(767, b"\1")),
        "palette that is cut",
    ),
    "PCX with a palette among its pixels": (
        pcx(8, 1, 4, b"\x0c" * 800).replace(b"\3\0\3\0", b"\3\0\xc7\0", 1),
        "among its pixels",
    ),
    "PCX of red and blue": (
        pcx(1, 1, 2, BITS_OF_PCX, palette=b"\xff\0\0\0\0\xff" + bytes(42)),
        "a palette other",
    ),
    "PCX of white and black": (
        pcx(1, 1, 2, BITS_OF_PCX, palette=b"\xff\xff\xff" + bytes(45)),
        "a palette other",
    ),
    "PCX without runs": (pcx(8, 3, 4, COLOUR.tobytes(), runs=0), "not compressed"),
    "XBM of one digit": (xbm(b"0x5, 0x80, 0xa1, 0xff"), "two hexadecimal digits"),
    "XBM of shorts": (xbm(b"0x8005, 0xffa1", b"short"), "two hexadecimal digits"),
    "XBM of short shorts": (xbm(b"0x05, 0x80, 0xa1, 0xff", b"short"), "two hexadecimal digits"),
    "XBM with an x in a comment": (
        xbm(b"/* pixels */ 0x05, 0x80, 0xa1, 0xff"),
        "two hexadecimal digits",
    ),
    "XBM of capitals": (xbm(b"0XA5, 0x05, 0x80, 0xa1, 0xff"), "two hexadecimal digits"),
    "XBM that is short": (xbm(b"0x05, 0x80, 0xa1") + b"/* 0xff */", "fewer bytes"),
    "XPM of 16 bits": (xpm(12), "colours of other"),
    "FITS": (
        b"SIMPLE  =                    T".ljust(80)
        + b"BITPIX  =                   16".ljust(80)
        + b"NAXIS   =                    2".ljust(80)
        + b"NAXIS1  =                    4".ljust(80)
        + b"NAXIS2  =                    4".ljust(80)
        + b"END".ljust(2880 - 400)
        + WORDS.tobytes().ljust(2880, b"\0"),
        "not known",
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_samples_are_exact(kind):
    """Read, coded, decoded and written by default: the samples that the file was made of."""
    data, expected = KEPT[kind]
    back = decode_image(encode_image(read(data)))
    assert back.samples.shape == expected.shape and np.array_equal(back.samples, expected)
    assert np.array_equal(read(default_bytes(back, "x")[1]).samples, expected)


@pytest.mark.parametrize("kind", REFUSED)
def test_inexact_files_are_refused(kind):
    """One line with the file's name and the reason; Pillow opens each of them."""
    data, reason = REFUSED[kind]
    Image.open(io.BytesIO(data)).close()
    with pytest.raises(UnsupportedImage, match=f"^x: .*{reason}"):
        read(data)


@pytest.mark.parametrize("depth, value", [(1, 0), (1, 1), (2, 1), (4, 5), (8, 5), (16, 5)])
def test_a_transparent_gray_is_the_gray_of_its_depth(depth, value):
    """A transparent level of few bits stays transparent: Pillow scales the samples, not the chunk
    tRNS.
    """
    values = np.arange(16).reshape(4, 4) % 2**depth
    packed = np.packbits(
        np.unpackbits(values.astype(">u2").view(np.uint8).reshape(4, 4, 2), axis=-1)[
            ..., 16 - depth :
        ].reshape(4, -1),
        axis=1,
    )
    found = read(png(4, 4, depth, 0, unfiltered(packed), chunk(b"tRNS", struct.pack(">H", value))))
    samples, look = read(default_bytes(found, "x")[1]).samples, found.look["transparency"]
    assert np.array_equal(samples * (255 if depth == 1 else 1) == look, values == value)


def test_palettes_of_icons_and_transparency_within():
    """Palette and transparency of the PNG in an icon are stored."""
    look = read(KEPT["ICO of a PNG"][0]).look
    assert look["palette"][:48] == MAP.tobytes() and look["transparency"] == bytes(range(16))


def test_the_comments_of_an_xbm_are_stored():
    """GIMP writes one into each file."""
    data = b"/* Created with GIMP */\n" + xbm(b"0x05, 0x80, 0xa1, 0xff", more=b"/*\ntwo\n*/\n")
    assert read(data).metadata["text"] == (("Comment", "Created with GIMP\ntwo", "", "", False),)
    assert not read(xbm(b"0x05, 0x80, 0xa1, 0xff")).metadata


def test_the_bytes_of_a_qoi():
    """QOI files written by imagecodecs."""
    codecs = pytest.importorskip("imagecodecs")
    for samples in (COLOUR, FOUR, np.zeros((4, 4, 4), np.uint8)):
        assert np.array_equal(read(codecs.qoi_encode(samples)).samples, samples)


def test_an_animation_of_one_frame_is_refused():
    """A WebP of one frame at a position on its canvas, which Pillow does not report as lossy."""
    frame = io.BytesIO()
    Image.fromarray(COLOUR).save(frame, "WEBP", quality=50)
    body = frame.getvalue()[12:]
    part = lambda name, data: name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)  # noqa: E731
    size = struct.pack("<I", 3)[:3] * 2
    chunks = (
        part(b"VP8X", b"\2\0\0\0" + size)
        + part(b"ANIM", bytes(6))
        + part(b"ANMF", bytes(6) + size + bytes(4) + body)
    )
    with pytest.raises(UnsupportedImage, match="x: an animation"):
        read(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks)


def test_a_tiff_by_hand_is_read():
    """The builder of by_hand.py makes valid files."""
    assert np.array_equal(
        read(
            tiff(COLOUR.tobytes(), {256: 4, 257: 4, 258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 278: 4})
        ).samples,
        COLOUR,
    )
