"""avif.py and av1_headers.py: lossless AVIFs are restored exactly; lossy ones, and those whose
headers do not show it, are refused.
"""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image, features

from bitsback.codecs.formats import av1_headers, avif
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.jpeg2000 import UNDECIDED
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import LossySource, UnsupportedImage

codecs = pytest.importorskip("imagecodecs")
if not (features.check("avif") and codecs.AVIF.available):
    pytest.skip("without AVIF", allow_module_level=True)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 50, 4), dtype=np.uint8)
LOSSLESS = codecs.avif_encode(PIXELS[..., :3].copy(), level=100)


def read(data, **options):
    return read_image(io.BytesIO(data), "x.avif", **options)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(40, 50), (1, 1), (9, 5000)])
@pytest.mark.parametrize("options", [{}, {"speed": 0}, {"speed": 10}, {"speed": 9}])
def test_lossless_files_are_read(channels, shape, options):
    """Samples are those given to the encoder, in the default output too; a wide image has several
    tiles.
    """
    if max(shape) > 100 and options.get("speed", 0) < 9:
        pytest.skip("slow")
    samples = RNG.integers(0, 256, (*shape, channels)[: 2 if channels == 1 else 3], dtype=np.uint8)
    found = read(codecs.avif_encode(samples, level=100, **options))
    expected = samples if samples.ndim == 3 or found.mode == "L" else np.dstack([samples] * 3)
    assert np.array_equal(found.samples, expected)
    assert np.array_equal(
        read_image(io.BytesIO(default_bytes(found, "x")[1]), "x").samples, expected
    )


def pillow(**options):
    out = io.BytesIO()
    Image.fromarray(PIXELS[..., :3]).save(out, "AVIF", **options)
    return out.getvalue()


def test_boxes_that_are_not_kept_are_named():
    """Content credentials are a uuid box."""
    assert not read(LOSSLESS).lost
    credentials = (24).to_bytes(4, "big") + b"uuid" + bytes(16)
    assert read(LOSSLESS + credentials).lost == ("uuid",)


@pytest.mark.parametrize(
    "primaries, transfer, names",
    [
        (1, 13, ()),
        (2, 2, ()),
        (1, 1, ()),
        (12, 13, ("colours (cICP 12/13)",)),
        (9, 16, ("colours (cICP 9/16)",)),
    ],
)
def test_colours_other_than_srgb_are_named(primaries, transfer, names):
    """The restored PNG has no place for them, or is shown with other colours."""
    options = {"primaries": primaries, "transfer": transfer, "matrix": 0}
    data = codecs.avif_encode(PIXELS[..., :3].copy(), level=100, pixelformat="444", **options)
    assert read(data).lost == names
    assert read(data.replace(b"nclx", b"nope")).lost == names  # by the AV1 stream


def test_items_and_properties_that_are_not_kept_are_named():
    """A range of brightness; a thumbnail; Exif and XMP, which are kept, are not."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x10F] = "camera"
    Image.fromarray(PIXELS).save(out, "AVIF", exif=exif, xmp=b"<x/>")
    data = out.getvalue()
    found = read(data, allow_lossy=True)
    assert found.lost == () and {"exif", "xmp"} <= found.metadata.keys()
    altered = data.replace(b"pixi", b"clli").replace(b"cdsc", b"thmb")
    assert read(altered, allow_lossy=True).lost == ("thumbnail", "clli")
    assert tuple(avif.not_kept(data, {})) == ("Exif", "mime")


def replaced(old, new):
    assert LOSSLESS.count(old) == 1 and len(old) == len(new)
    return LOSSLESS.replace(old, new)


NCLX = LOSSLESS[LOSSLESS.index(b"nclx") :][:11]
LOSSY = {
    "quantised": lambda: codecs.avif_encode(PIXELS[..., :3].copy(), level=90, pixelformat="444"),
    "alpha": lambda: codecs.avif_encode(PIXELS.copy(), level=60),
    "converted": lambda: pillow(quality=100, subsampling="4:4:4"),
    "subsampled": lambda: pillow(quality=100),
    "matrix": lambda: replaced(NCLX, NCLX[:8] + b"\0\6" + NCLX[10:]),
    "range": lambda: replaced(NCLX, NCLX[:10] + b"\0"),
}
REASONS = {
    "converted": "converted|quantised",
    "subsampled": "converted|quantised",
    "alpha": "quantised",
    "matrix": "converted",
    "range": "full range",
}


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_files_are_refused_unless_allowed(kind):
    """The error contains the reason and the option that allows lossy files."""
    data = LOSSY[kind]()
    with pytest.raises(
        LossySource, match=f"x.avif: AVIF .*({REASONS.get(kind, kind)}).*--allow-lossy-source"
    ):
        read(data)
    assert np.array_equal(
        read(data, allow_lossy=True).samples, np.array(Image.open(io.BytesIO(data)))
    )


def test_unknown_properties_are_not_called_lossy():
    """A grid of streams, premultiplied colours, an auxiliary image other than alpha."""
    alpha = codecs.avif_encode(PIXELS.copy(), level=100)
    assert avif.lossy_reason(alpha) is None
    for data in (
        replaced(b"infe\2\0\0\0\0\1\0\0av01", b"infe\2\0\0\0\0\1\0\0grid"),
        alpha.replace(b"auxl", b"prem"),
        alpha.replace(b"auxiliary:alpha", b"auxiliary:depth"),
    ):
        assert avif.lossy_reason(data).startswith(UNDECIDED)


def bits(*fields):
    """Fields of (value, bits) as bytes, highest bit first."""
    text = "".join(format(value, f"0{count}b") for value, count in fields if count)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def units(*parts):
    return b"".join(bytes([kind << 3 | 2, len(body)]) + body for kind, body in parts)


def sequence(
    profile=1, superres=0, grain=0, colours=((0, 1), (1, 1), (1, 8), (13, 8), (0, 8), (0, 1))
):
    """A reduced still picture header, 16x16; colours: color_config of profile 1."""
    return bits(
        (profile, 3),
        (1, 1),
        (1, 1),
        (0, 5),
        (3, 4),
        (3, 4),
        (15, 4),
        (15, 4),
        (0, 1),
        (0, 2),
        (superres, 1),
        (0, 2),
        *colours,
        (grain, 1),
        (0, 8),
    )


def frame(quantiser=0, updates=(0, 0, 0), segments=0, superres=(), uniform=1):
    fields = [field for delta in updates for field in ([(1, 1), (delta, 7)] if delta else [(0, 1)])]
    return bits(
        (0, 1),
        (0, 1),
        *superres,
        (0, 1),
        (uniform, 1),
        (quantiser, 8),
        *fields,
        (0, 1),
        (segments, 1),
        (0, 16),
    )


@pytest.mark.parametrize(
    "data, reason",
    [
        (units((1, sequence()), (6, frame())), None),
        (units((2, b""), (1, sequence()), (5, b"\1\2"), (3, frame())), None),
        (units((1, sequence()), (6, frame(1))), "quantised"),
        (units((1, sequence()), (6, frame(updates=(0, 0, 3)))), "quantised"),
        (units((1, sequence()), (6, frame(updates=(5, 0, 0)))), "quantised"),
        (units((1, sequence()), (6, frame(segments=1))), "different quantisers"),
        (units((1, sequence(grain=1)), (6, frame())), "film grain"),
        (units((1, sequence(superres=1)), (6, frame(superres=((1, 1),)))), "quantised"),
        (units((1, sequence(superres=1)), (6, frame(superres=((0, 1),)))), None),
        (units((1, sequence()), (6, frame(uniform=0))), "tiles"),
        (units((1, sequence()), (6, frame()), (6, frame())), "several frames"),
        (units((6, frame())), "several frames"),
        (units((1, sequence())), "no frame"),
        (units((1, sequence()[:3])), "early"),
        (b"\x0a", "early"),
        (b"\x0a\xff\xff", "early"),
    ],
)
def test_streams_by_hand(data, reason):
    """Headers written by the specification, each with its own result."""
    found = av1_headers.read(data).reason
    assert found is None if reason is None else reason in found


def test_boxes_of_every_width():
    """Offsets of 4 and 8 bytes, item ids of 4 bytes, boxes with 8-byte lengths."""
    body = struct.pack(">BBBBBBI", 2, 0, 0, 0, 0x88, 0x80, 1) + struct.pack(
        ">IHHQHQQ", 7, 0, 0, 100, 1, 20, 5
    )
    assert avif._locations(b"\0" * 3 + body, 3) == {7: [(120, 5)]}
    assert list(
        avif._boxes(
            struct.pack(">I4sQ", 1, b"free", 20)
            + b"abcd"
            + struct.pack(">I4s", 0, b"mdat")
            + b"xy",
            0,
            30,
        )
    ) == [(b"free", 16, 20), (b"mdat", 28, 30)]


def test_counts_are_bounded():
    """Boxes with too large counts of items, extents or links are given up at once."""
    items = bytes(6) + struct.pack(">H", 1000) + struct.pack(">HHH", 1, 0, 65535) * 1000
    links = bytes(4) + struct.pack(">I4sHH", 12, b"dimg", 1, 65535) * 1000
    for name, body in ((b"iloc", items), (b"iref", links)):
        meta = struct.pack(">I4sI", 20 + len(body), b"meta", 0)
        meta += struct.pack(">I4s", 8 + len(body), name) + body
        begin = time.perf_counter()
        assert avif.lossy_reason(meta).startswith(UNDECIDED) and time.perf_counter() - begin < 2


def test_damage_is_refused():
    """Cut and altered headers: an image, or an error with a reason."""
    for position in range(0, min(len(LOSSLESS), 400)):
        for data in (
            LOSSLESS[:position],
            LOSSLESS[:position] + bytes([LOSSLESS[position] ^ 255]) + LOSSLESS[position + 1 :],
        ):
            assert avif.lossy_reason(data) is None or isinstance(avif.lossy_reason(data), str)
            try:
                assert read(data).samples.size
            except UnsupportedImage as error:
                assert str(error).startswith("x.avif: ")
