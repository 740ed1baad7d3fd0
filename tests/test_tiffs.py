"""tiffs.py: TIFFs of every kind that tifffile writes are restored exactly, or refused with the
reason.
"""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs import decode_image, encode_image
from bitsback.codecs.formats import tiffs
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import UnsupportedImage
from tests.by_hand import tiff

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")  # for compressed ones

RNG = np.random.default_rng(0)
COLOURMAP = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
EXTRAS = ("unspecified", "assocalpha", "unassalpha")


def samples(dtype, *shape):
    """All bits are used, numbers with fractions are finite."""
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 50, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def gray(dtype, photometric="minisblack", **options):
    return samples(dtype, 9, 17), {"photometric": photometric, **options}


def colour(dtype, channels, photometric="rgb", planar=False, **options):
    shape = (channels, 9, 17) if planar else (9, 17, channels)
    return samples(dtype, *shape), {
        "photometric": photometric,
        "planarconfig": "separate" if planar else "contig",
        **options,
    }


KINDS = {  # name: (samples, options of tifffile, mode of the ImageData or part of the reason)
    "L": (*gray("u1"), "L"),
    "white 8": (*gray("u1", "miniswhite"), "L"),
    "I;16": (*gray("u2"), "I;16"),
    "white 16": (*gray("u2", "miniswhite"), "I;16"),
    "signed 8": (*gray("i1"), "signed samples of 8 bits"),
    "signed 16": (*gray("i2"), "I"),
    "signed 32": (*gray("i4"), "I"),
    "unsigned 32": (*gray("u4"), "unsigned samples"),
    "64": (*gray("u8"), "not an image"),
    "small unsigned 32": (gray("u4")[0] >> 1, {"photometric": "minisblack"}, "I"),
    "half": (*gray("f2"), "not an image"),
    "F": (*gray("f4"), "F"),
    "double": (*gray("f8"), "not an image"),
    "white F": (*gray("f4", "miniswhite"), "0 is white"),
    "palette": (*gray("u1", "palette", colormap=COLOURMAP * 257), "P"),
    "palette of high bytes": (*gray("u1", "palette", colormap=COLOURMAP * 256), "P"),
    "palette of 16 bits": (
        *gray("u1", "palette", colormap=COLOURMAP * 255),
        "a palette of 16 bits",
    ),
    "RGB": (*colour("u1", 3), "RGB"),
    "planes": (*colour("u1", 3, planar=True), "RGB"),
    "RGB;16": (*colour("u2", 3), "RGB;16"),
    "planes of 16": (*colour("u2", 3, planar=True), "RGB;16"),
    "RGBA;16": (*colour("u2", 4, extrasamples=["unassalpha"]), "RGBA;16"),
    "CMYK": (*colour("u1", 4, "separated"), "CMYK"),
    "CMYK planes": (*colour("u1", 4, "separated", True), "CMYK"),
    "CMYK;16": (*colour("u2", 4, "separated"), "more than 8 bits"),
    "LAB": (*colour("u1", 3, "cielab"), "LAB"),
    "gray and alpha planes": (
        samples("u1", 2, 9, 11),
        {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
        "planes",
    ),
    "LAB planes": (*colour("u1", 3, "cielab", True), "planes"),
    "ICC LAB": (*colour("u1", 3, "icclab"), "not an image"),
    "ITU LAB": (*colour("u1", 3, "itulab"), "not an image"),
    "YCbCr": (*colour("u1", 3, "ycbcr"), "YCbCr"),
    "mask": (samples("u1", 9, 17) & 1, {"photometric": "mask"}, "not an image"),
    "predictor": (*colour("u1", 3, predictor=2), "RGB"),
    "predictor 16": (*gray("u2", predictor=2), "I;16"),
    "predictor F": (*gray("f4", predictor=3), "F"),
    "tiles": (samples("u1", 37, 45, 3), {"photometric": "rgb", "tile": (16, 32)}, "RGB"),
    "tiles of planes": (
        samples("u1", 3, 37, 45),
        {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 32)},
        "RGB",
    ),
    "tiles of 16": (samples("u2", 37, 45), {"photometric": "minisblack", "tile": (16, 16)}, "I;16"),
    "strips": (samples("u1", 37, 45, 3), {"photometric": "rgb", "rowsperstrip": 5}, "RGB"),
    "big": (*colour("u1", 3, bigtiff=True), "RGB"),
    **{
        f"RGB and {extra}": (*colour("u1", 4, extrasamples=[extra]), mode)
        for extra, mode in zip(EXTRAS, ("RGBX", "RGBa", "RGBA"))
    },
    **{
        f"RGB and {extra} planes": (*colour("u1", 4, planar=True, extrasamples=[extra]), mode)
        for extra, mode in zip(EXTRAS, ("RGBX", "", "RGBA"))
    },
    **{
        f"L and {extra}": (*colour("u1", 2, "minisblack", extrasamples=[extra]), mode)
        for extra, mode in zip(EXTRAS, ("ExtraSamples 0", "La", "LA"))
    },
    **{
        f"RGB16 and {extra}": (*colour("u2", 4, extrasamples=[extra]), f"ExtraSamples {i}")
        for i, extra in enumerate(EXTRAS[:2])
    },
    **{
        f"RGB, {extra} and more": (
            *colour("u1", 5, extrasamples=[extra, "unspecified"]),
            f"ExtraSamples {i}, 0",
        )
        for i, extra in enumerate(EXTRAS)
    },
    "CMYK and one more": (
        *colour("u1", 5, "separated", extrasamples=["unspecified"]),
        "ExtraSamples 0",
    ),
}
MAY_REFUSE = {
    "white 16",
    "small unsigned 32",
    "planes of 16",
    "RGB and unspecified planes",
    "YCbCr",
    "unsigned 32",
    "big",
}  # by byte order or compression


def written(array, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **options)
    return out.getvalue()


def restored(data):
    """(suffix, bytes, samples) of the default output of a file's .bbk."""
    suffix, back, _ = default_bytes(
        decode_image(encode_image(read_image(io.BytesIO(data), "x.tif"))), "x"
    )
    again = read_image(io.BytesIO(back), "x")
    return suffix, back, again.samples


@pytest.mark.parametrize(
    "kind, compression, order",
    list(itertools.product(KINDS, (None, "zlib", "lzw", "packbits"), "<>")),
)
def test_samples_as_tifffile_wrote_them(kind, compression, order):
    """Refused with name and reason, or the samples are exact (inverted if 0 is
    white) and restored.
    """
    array, options, expected = KINDS[kind]
    if (
        "predictor" in options
        and compression not in ("zlib", "lzw")
        or "mask" in kind
        and compression
    ):
        pytest.skip("tifffile does not write this")
    data = written(
        array,
        compression=compression,
        byteorder=order,
        **({"bitspersample": 1} if kind == "mask" else {}),
        **options,
    )
    raw = tifffile.imread(io.BytesIO(data))
    raw = (
        np.moveaxis(raw, 0, -1)
        if options.get("planarconfig") == "separate" and raw.ndim == 3
        else raw
    )
    try:
        found = read_image(io.BytesIO(data), "x.tif")
    except UnsupportedImage as error:
        assert "x.tif: " in str(error) and (expected in str(error) or kind in MAY_REFUSE), error
        return
    assert found.mode.replace("I;16B", "I;16") == expected
    own = np.iinfo(raw.dtype).max - raw if options["photometric"] == "miniswhite" else raw
    assert found.samples.shape == own.shape and np.array_equal(found.samples, own)
    assert np.array_equal(restored(data)[2], own)


@pytest.mark.parametrize("kind", ["RGB and assocalpha", "L and assocalpha", "RGB and unspecified"])
def test_the_meaning_of_extra_samples_is_restored(kind):
    """tifffile reads the same samples and the same ExtraSamples from the restored file."""
    array, options, _ = KINDS[kind]
    if array.shape[2] == 4:
        array = array.copy()
        array[:8, :8] = (
            110,
            110,
            110,
            5,
        )  # colours larger than their alpha, which dividing would clip
    suffix, back, _ = restored(written(array, **options))
    page = tifffile.TiffFile(io.BytesIO(back)).pages[0]
    assert (
        suffix == ".tiff"
        and np.array_equal(page.asarray(), array)
        and [e.name.lower() for e in page.extrasamples] == options["extrasamples"]
    )


def packed(values, bits, reverse=False):
    """(H, W) integers as rows of bits; reverse: FillOrder 2."""
    planes = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    rows = np.packbits(planes.reshape(len(values), -1).astype(np.uint8), axis=1)
    return (
        np.packbits(np.unpackbits(rows[..., None], axis=-1)[..., ::-1], axis=-1).tobytes()
        if reverse
        else rows.tobytes()
    )


@pytest.mark.parametrize(
    "bits, photometric, fill", list(itertools.product((1, 2, 4, 8, 12, 16), (0, 1, 3), (1, 2)))
)
def test_few_bits_and_their_order(bits, photometric, fill):
    """1 to 16 bits of gray and of palettes, both bit orders: each value has its gray level or
    index; 12 and 16 bits are the same integers.
    """
    values = RNG.integers(0, 2**bits, (5, 16))
    tags = {256: 16, 257: 5, 258: bits, 259: 1, 262: photometric, 266: fill, 277: 1, 278: 5}
    if photometric == 3:
        tags[320] = tuple(int(v) * 257 for v in RNG.integers(0, 256, 3 * 2**bits))
    try:
        stored = values % 256 * 256 + values // 256 if bits == 16 else values  # little-endian
        found = read_image(io.BytesIO(tiff(packed(stored, bits, fill == 2), tags)), "x.tif")
    except UnsupportedImage:
        assert (
            fill == 2 or bits > 8 and (bits, photometric) != (16, 1)
        )  # Pillow lacks some of the others
        return
    top = 2**bits - 1
    turned = top - values if photometric == 0 else values
    expected = turned * 255 // top if photometric < 3 and bits in (2, 4, 8) else turned
    assert np.array_equal(found.samples, expected)
    if photometric == 3:
        assert (
            found.look["palette"][: 3 * 2**bits]
            == np.array(tags[320]).reshape(3, -1).T.astype(np.uint8).tobytes()
        )


PLAIN = {256: 4, 257: 3, 258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 278: 3}
REFUSED = {
    "subsampled YCbCr": ({262: 6, 530: (2, 2)}, "subsampled colours"),
    "YCbCr of unsaid sampling": ({262: 6}, "subsampled colours"),
    "planes of YCbCr": (
        {262: 6, 530: (1, 1), 284: 2, 273: (8, 20, 32), 279: (12, 12, 12)},
        "planes",
    ),
    "images within": ({330: 8}, "further images"),
    "layers": ({37724: (1, 2, 3)}, "layers"),
    "a missing strip": ({273: (8, 0), 279: (24, 12), 278: 2}, "missing"),
    "an empty strip": ({273: (8, 32), 279: (24, 0), 278: 2}, "missing"),
    "other inks": ({262: 5, 258: (8, 8, 8, 8), 277: 4, 256: 3, 332: 2}, "inks other"),
    "one plane of few bits": ({258: 4, 262: 1, 277: 1, 284: 2, 256: 8, 257: 9, 278: 9}, "planes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_inexact_tiffs_are_refused(kind):
    """Files written by hand that Pillow decodes changed or in part; without the critical tag they
    are read.
    """
    tags, reason = REFUSED[kind]
    data = RNG.bytes(36)
    with pytest.raises(UnsupportedImage, match=f"x.tif: TIFF with .*{reason}"):
        read_image(io.BytesIO(tiff(data, {**PLAIN, **tags})), "x.tif")
    assert read_image(io.BytesIO(tiff(data, PLAIN)), "x.tif").samples.tobytes() == data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_orientation_is_metadata(orientation, order):
    """All eight values, both byte orders, with associated alpha: the samples are not rotated."""
    array = samples("u1", 4, 6, 4)
    tags = {
        256: 6,
        257: 4,
        258: (8, 8, 8, 8),
        259: 1,
        262: 2,
        274: orientation,
        277: 4,
        278: 4,
        338: 1,
    }
    found = read_image(io.BytesIO(tiff(array.tobytes(), tags, order)), "x.tif")
    assert found.mode == "RGBa" and np.array_equal(found.samples, array)
    kept = Image.Exif()
    kept.load(views(found.metadata).get("exif", b""))
    assert kept.get(0x112, 1) == orientation


def test_twelve_bits_of_a_camera():
    """The collection's compressed image of 12 bits, if present, against tifffile."""
    path = (
        Path(__file__).parents[2] / "shared" / "data" / "formats" / "pillow" / "12bit.cropped.tif"
    )
    if not path.is_file():
        pytest.skip("the folder of formats is not there")
    assert np.array_equal(read_image(path, path).samples, tifffile.imread(path))


def test_marking_changes_one_number():
    """mark_associated changes the value of ExtraSamples and nothing else."""
    out = io.BytesIO()
    Image.fromarray(samples("u1", 3, 4, 4), "RGBA").save(out, "TIFF")
    before, after = out.getvalue(), tiffs.mark_associated(out.getvalue())
    assert sum(a != b for a, b in zip(before, after)) == 1 and len(before) == len(after)
    assert Image.open(io.BytesIO(before)).tag_v2[338] == (2,) and Image.open(
        io.BytesIO(after)
    ).tag_v2[338] == (1,)
