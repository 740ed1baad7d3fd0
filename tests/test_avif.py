"""avif.py and av1_headers.py: AVIFs without loss are taken and come back exactly; with loss, or
where it cannot be told, they are refused.
"""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image, features

from bitsback.codecs.formats import av1_headers, avif
from bitsback.codecs.formats.image_files import read_image
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
def test_lossless_ones_are_taken(channels, shape, options):
    """What went into the encoder comes out, through the default output too; a wide image has
    several tiles.
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
def test_lossy_ones_are_refused_unless_allowed(kind):
    """With the reason, which does not claim more than is known, and the way round it."""
    data = LOSSY[kind]()
    with pytest.raises(
        LossySource, match=f"x.avif: AVIF .*({REASONS.get(kind, kind)}).*--allow-lossy-source"
    ):
        read(data)
    assert np.array_equal(
        read(data, allow_lossy=True).samples, np.array(Image.open(io.BytesIO(data)))
    )


def test_what_cannot_be_told_is_not_claimed():
    """A grid of streams, premultiplied colours, and an auxiliary image that is no alpha."""
    alpha = codecs.avif_encode(PIXELS.copy(), level=100)
    assert avif.loss(alpha) is None
    for data in (
        replaced(b"infe\2\0\0\0\0\1\0\0av01", b"infe\2\0\0\0\0\1\0\0grid"),
        alpha.replace(b"auxl", b"prem"),
        alpha.replace(b"auxiliary:alpha", b"auxiliary:depth"),
    ):
        assert avif.loss(data).startswith("it cannot be told")


def bits(*fields):
    """(value, count) as bytes, highest bit first."""
    text = "".join(format(value, f"0{count}b") for value, count in fields if count)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def units(*parts):
    return b"".join(bytes([kind << 3 | 2, len(body)]) + body for kind, body in parts)


def sequence(
    profile=1, superres=0, grain=0, colours=((0, 1), (1, 1), (1, 8), (13, 8), (0, 8), (0, 1))
):
    """A reduced still image's sequence header, 16 by 16; colours: color_config of profile 1."""
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


def frame(quantiser=0, deltas=(0, 0, 0), segments=0, superres=(), uniform=1):
    told = [field for delta in deltas for field in ([(1, 1), (delta, 7)] if delta else [(0, 1)])]
    return bits(
        (0, 1),
        (0, 1),
        *superres,
        (0, 1),
        (uniform, 1),
        (quantiser, 8),
        *told,
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
        (units((1, sequence()), (6, frame(deltas=(0, 0, 3)))), "quantised"),
        (units((1, sequence()), (6, frame(deltas=(5, 0, 0)))), "quantised"),
        (units((1, sequence()), (6, frame(segments=1))), "quantisers of their own"),
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
    """Headers put together from the specification, each of which ends in its own answer."""
    found = av1_headers.read(data).reason
    assert found is None if reason is None else reason in found


def test_boxes_of_every_width():
    """Locations of four and eight bytes, long boxes, items of four bytes: the same item is found."""
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


def test_claims_are_bounded():
    """Boxes that claim more items, extents or links than they hold end at once."""
    items = bytes(6) + struct.pack(">H", 1000) + struct.pack(">HHH", 1, 0, 65535) * 1000
    links = bytes(4) + struct.pack(">I4sHH", 12, b"dimg", 1, 65535) * 1000
    for name, body in ((b"iloc", items), (b"iref", links)):
        meta = struct.pack(">I4sI", 20 + len(body), b"meta", 0)
        meta += struct.pack(">I4s", 8 + len(body), name) + body
        begin = time.perf_counter()
        assert avif.loss(meta).startswith("it cannot be told") and time.perf_counter() - begin < 2


def test_damage_is_refused():
    """Cut and altered headers: a reason, the pixels, or one error."""
    for position in range(0, min(len(LOSSLESS), 400)):
        for data in (
            LOSSLESS[:position],
            LOSSLESS[:position] + bytes([LOSSLESS[position] ^ 255]) + LOSSLESS[position + 1 :],
        ):
            assert avif.loss(data) is None or isinstance(avif.loss(data), str)
            try:
                assert read(data).samples.size
            except UnsupportedImage as error:
                assert str(error).startswith("x.avif: ")
