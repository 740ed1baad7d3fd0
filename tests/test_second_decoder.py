"""A decoder written from the documents alone reads golden files and what the package writes."""

import ast
import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import fuzz_cases
from benchmarks.fuzz_cases import sealed
from bitsback.codecs import encode_image
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import codec, jxl, webp
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.fallback.png import encode_png
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.formats.views import views
from bitsback.codecs.image import MODES, ImageData, same_samples
from bitsback.integer.installed import shipped_models
from tests.by_hand import png
from tests.second_decoder import fallback
from tests.second_decoder.__main__ import main
from tests.second_decoder.decoder import decode_file
from tests.second_decoder.errors import Damaged, NotOurFile, WrongModel
from tests.second_decoder.header import read_header
from tests.second_decoder.sections import BLOCK_CHECKS
from tests.test_odd_files import outcome

FOLDER = Path(__file__).parent
DECODER = sorted((FOLDER / "second_decoder").glob("*.py"))
GOLDEN = sorted(FOLDER.glob("golden/v*/**/*.bbk"))
PARTS = sorted(FOLDER.glob("golden/v*/jxl/*.part"))
SLOW = {  # over 2 s of one core
    *("told_96x88", "tuned_72x80", "photo_96x72", "photo_odd_61x83"),
    *("fast_152x160", "best_56x64"),
}
ALLOWED = {*sys.stdlib_module_names, "numpy", "PIL", "imagecodecs"}


def imported(path):
    """Names of all modules that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name whole modules"
            yield node.module


@pytest.mark.parametrize("path", DECODER, ids=lambda path: path.stem)
def test_nothing_of_the_package_is_imported(path):
    """Standard library, numpy, the standard image formats, and the decoder's own modules."""
    for name in imported(path):
        own = f"{name}.".startswith("tests.second_decoder.")
        assert own or name.split(".")[0] in ALLOWED, name


@pytest.fixture(scope="module")
def models():
    """The shipped models, which the golden files name."""
    return [path.read_bytes() for path in shipped_models().values()]


def is_slow(path):
    return [pytest.mark.slow] * (path.stem in SLOW)


def name_of(path):
    return "-".join(path.relative_to(FOLDER / "golden").with_suffix("").parts)


def shown(image):
    """Look and metadata of ImageData or a decoded image, as Pillow reads chunks and tags."""
    return image.look, views(image.metadata)


def same_image(decoded, expected):
    """Whether an image of the second decoder is this ImageData."""
    samples = decoded.samples.reshape(expected.samples.shape)
    return decoded.mode == expected.mode and same_samples(samples, expected.samples)


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=is_slow(path)) for path in GOLDEN], ids=map(name_of, GOLDEN)
)
def test_golden_file(path, models):
    """Samples, look and metadata of the image beside it, or of the images of the folder."""
    images = decode_file(path.read_bytes(), models)
    if path.with_suffix("").is_dir():
        names = [p.relative_to(path.with_suffix("")).as_posix() for p in beside(path)]
        assert sorted(image.name for image in images) == sorted(names) and len(names) > 1
    else:
        assert [image.name for image in images] == [""]
    for image in images:
        source = path.with_suffix("") / image.name if image.name else beside(path)[0]
        expected = read_image(source, source)
        assert same_image(image, expected) and shown(image) == shown(expected)


def beside(path):
    """The image of a golden file, or the images of a golden archive."""
    folder, kinds = path.with_suffix(""), (".png", ".tiff")
    found = folder.rglob("*") if folder.is_dir() else path.parent.glob(f"{path.stem}.*")
    return [one for one in found if one.suffix in kinds]


def test_all_golden_files_are_there():
    assert {path.parent.name for path in GOLDEN} >= {"modes", "archives"} and PARTS
    assert {path.stem for path in GOLDEN} >= SLOW and len(GOLDEN) > len(SLOW) + 10


@pytest.mark.parametrize("path", PARTS, ids=map(name_of, PARTS))
def test_golden_part_by_jpeg_xl(path):
    (samples,) = np.load(path.with_suffix(".npz")).values()
    shape = samples.shape if samples.ndim == 3 else (*samples.shape, 1)
    found = fallback.decode_part(path.read_bytes(), shape, samples.dtype)
    assert path.read_bytes()[0] == 6 and same_samples(found, samples.reshape(shape))


def test_golden_file_names_its_model(models):
    """Without it: WrongModel.  Another version and no .bbk file: NotOurFile."""
    data = next(path for path in GOLDEN if path.stem == "noise_56x64").read_bytes()
    with pytest.raises(WrongModel, match=data[17:25].hex()):
        decode_file(data, [])
    for wrong in (b"\x89PNG" + data[4:], data[:4] + bytes([data[4] ^ 48]) + data[5:]):
        with pytest.raises(NotOurFile):
            decode_file(wrong, models)


# Files that the package writes


@pytest.fixture(scope="module")
def files(tiny_model):
    """{name: (bytes, [ImageData])}: every mode, archives, all kinds of side information."""
    return fuzz_cases.good_files(tiny_model, np.random.default_rng(21))


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return [tiny_model.path.read_bytes()]


def test_files_of_the_fallback_codec(files, tiny):
    """Under the fallback codec."""
    check_files({name: file for name, file in files.items() if name.startswith("fallback")}, tiny)


PRIOR = "RGB", "RGBA", "16 bits", "archive", "gray", "tuned", "alike", "means", "flat", "lanes"


@pytest.mark.parametrize("name", PRIOR)
def test_files_under_the_prior(name, files, tiny):
    """Alpha, remainders, archives, bias updates, block means, a flat map, several lanes."""
    assert {f"prior {one}" for one in PRIOR} == {one for one in files if "prior" in one}
    check_files({name: files[f"prior {name}"]}, tiny)


def check_files(files, models):
    for name, (data, expected) in files.items():
        images = decode_file(data, models)
        assert len(images) == len(expected), name
        for image, one in zip(images, expected):
            assert same_image(image, one), name
            assert (image.look, image.metadata) == (one.look, one.metadata), name


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(sorted(MODES)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 3, 7, 16, 200, 60000]),
    smooth=st.booleans(),
    icc=st.binary(max_size=3),
    seed=st.integers(0, 99),
)
def test_fallback_files_of_every_mode(mode, height, width, levels, smooth, icc, seed):
    """Any samples, by whatever coder is smallest, with metadata of any length."""
    image = ImageData(mode, samples_of(mode, height, width, levels, smooth, seed))
    image = ImageData(mode, image.samples, {}, {"icc": icc} if icc else {})
    (found,) = decode_file(encode_image(image), [])
    assert same_image(found, image) and found.metadata == image.metadata and not found.look


def samples_of(mode, height, width, levels, smooth, seed):
    """(H, W) or (H, W, C): noise or slopes of so many values."""
    dtype, channels = np.dtype(MODES[mode][0]), MODES[mode][1]
    rng, levels = np.random.default_rng(seed), 2 if mode == "1" else levels
    found = rng.integers(0, levels, (height, width, channels))
    if smooth:
        found = np.cumsum(found // 2, axis=1) % levels
    found = found.astype(dtype)
    return found[..., 0] if channels == 1 else found


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", range(5))
def test_filters_of_a_png(kind, depth):
    """All five, at every depth, by Pillow's decoder."""
    rng = np.random.default_rng(depth)
    rows = rng.integers(0, 256, (9, 1 + (11 * depth + 7) // 8), np.uint8)
    rows[:, 0] = kind
    data = png(11, 9, depth, 0, rows.tobytes())
    expected = np.array(Image.open(io.BytesIO(data)))
    found = fallback.png(
        zlib.compress(rows.tobytes()), (9, 11, 1), np.dtype("u1" if depth < 16 else "<u2"), depth
    )
    scale = {2: 85, 4: 17}.get(depth, 1)  # of gray levels, as Pillow reads them
    assert np.array_equal(found[..., 0] * scale, expected)


def by_coder(coder, samples):
    """The part of samples by one of the coders."""
    if coder == codec.WEBP:
        return bytes([coder]) + webp.webp_streams(samples, webp.QUICK)[0]
    if coder == codec.DIFFERENCES:
        return bytes([coder]) + encode_differences(samples)
    if coder == codec.JXL:
        return bytes([coder]) + jxl.encode_jxl(samples, jxl.USUAL)
    if coder == codec.NARROW:
        return bytes([coder]) + by_coder(codec.JXL, samples.astype("<u2"))
    return bytes([coder]) + encode_png(samples, {1: 8 * samples.itemsize, 2: 1, 3: 2, 4: 4}[coder])


@pytest.mark.parametrize(
    "coder, mode, levels",
    [
        *((codec.WEBP, mode, 200) for mode in ("L", "LA", "RGB", "RGBA")),
        *((codec.PNG, mode, 200) for mode in ("L", "LA", "RGB", "RGBA", "I;16")),
        (codec.PNG1, "1", 2),
        (codec.PNG2, "P", 4),
        (codec.PNG4, "P", 16),
        *((codec.DIFFERENCES, mode, 250) for mode in ("L", "LA", "RGB", "RGBA")),
        *((codec.DIFFERENCES, mode, 60000) for mode in ("LA;16", "RGB;16", "I", "F")),
        *((codec.JXL, mode, 250) for mode in ("L", "LA", "RGB", "RGBA")),
        *((codec.JXL, mode, 60000) for mode in ("I;16", "LA;16", "RGB;16", "RGBA;16", "F")),
        (codec.NARROW, "I", 60000),
    ],
)
def test_coders(coder, mode, levels):
    """Each coder, whether or not it is the smallest, and samples that it holds."""
    for smooth in (False, True):
        samples = samples_of(mode, 33, 31, levels, smooth, coder)
        shape = samples.shape if samples.ndim == 3 else (*samples.shape, 1)
        found = fallback.decode_part(by_coder(coder, samples), shape, samples.dtype)
        assert same_samples(found, samples.reshape(shape))


# Damaged files, and files of later versions


def test_checksums_of_blocks():
    """Of a large payload: right in what the encoder writes, and damage where they are not."""
    noise = np.random.default_rng(3).integers(0, 256, (170, 150, 3), np.uint8)
    entries, digest = (container.Entry(150, 170),), container.pixel_digest([noise])[:4]
    part = by_coder(codec.DIFFERENCES, noise)
    data = container.write(container.Header(entries, digest), part)
    (image,) = decode_file(data, [])
    header, payload = read_header(data)
    section = header.sections[BLOCK_CHECKS]
    assert same_image(image, ImageData("RGB", noise)) and len(section) == 1 + 4 + 2 * 4
    begin = len(data) - 4 - len(payload) - len(section)
    for i in range(len(section)):
        wrong = data[: begin + i] + bytes([data[begin + i] ^ 64]) + data[begin + i + 1 : -4]
        with pytest.raises(Damaged, match="checksum|size of a block"):
            decode_file(sealed(wrong), [])


def test_a_later_minor_version():
    """It is read; of what it added, ignorable sections are passed over, others named."""
    image = ImageData("RGB", np.full((1, 1, 3), 7, np.uint8))
    data = encode_image(image)[:-4]
    head, rest = data[:4] + b"\x13", data[6:]
    (found,) = decode_file(sealed(head + b"\0" + rest), [])
    assert same_image(found, image)
    name = b"\x0btone curves"
    (found,) = decode_file(sealed(head + b"\x08" + rest[:7] + b"\1\xc8\1x" + rest[7:]), [])
    assert same_image(found, image)
    critical = rest[:7] + b"\1\x11" + bytes([len(name)]) + name + rest[7:]
    with pytest.raises(NotOurFile, match='needs "tone curves" .section 17.; the file is of .* 1.3'):
        decode_file(sealed(head + b"\x08" + critical), [])
    with pytest.raises(Damaged, match='needs "tone curves"'):
        decode_file(sealed(data[:5] + b"\x08" + critical), [])


def test_altered_files(files, tiny_model):
    """Bytes of the header, or the first of the payload, changed, lost or added: both decoders
    refuse the file by the same error, or both read it.
    """
    rng, refused = np.random.default_rng(7), 0
    for name, (data, _) in files.items():
        head = len(data) - 4 - len(container.read(data)[1]) + 12
        for way in range(3 if "lanes" not in name else 0):
            wrong, place = bytearray(data[:-4]), int(rng.integers(5, min(head, len(data) - 4)))
            if way == 0:
                wrong[place] = int(rng.integers(256))
            elif way == 1:
                del wrong[place]
            else:
                wrong.insert(place, int(rng.integers(256)))
            ours, theirs = outcome(sealed(wrong), tiny_model)
            assert ours == theirs, (name, place)
            refused += not isinstance(ours, list)
    assert refused > 90


def test_command(files, tmp_path):
    """python -m tests.second_decoder: samples, and a list of what is known."""
    data, expected = files["fallback archive"]
    (tmp_path / "a.bbk").write_bytes(data)
    main([str(tmp_path / "a.bbk"), "-o", str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out" / "images.json").read_text("utf-8"))
    assert [row["name"] for row in rows] == [f"{i}.png" for i in range(len(expected))]
    for i, (row, image) in enumerate(zip(rows, expected, strict=True)):
        samples = np.fromfile(tmp_path / "out" / f"{i}.samples", row["dtype"])
        assert row["mode"] == image.mode and np.array_equal(samples, image.samples.ravel())
