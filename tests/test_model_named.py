"""Every interface that takes a model codes with the one asked for, colour and gray; the file is
read by whoever has another.
"""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

import bitsback.plugins.pillow  # noqa: F401
from bitsback.cli import pool
from bitsback.codecs import (
    Encoder,
    archive,
    checksums,
    decode,
    decode_image,
    encode,
    encode_image,
    mode_decision,
    prior_codec,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.borders import border_bits
from bitsback.codecs.image import ImageData, same
from bitsback.codecs.io import files
from bitsback.coder.model import Model
from bitsback.errors import WrongModel
from bitsback.integer import installed, model_file, selftest
from bitsback.sampling.preview import preview
from tests.commands import call

PHOTOGRAPH = np.array(Image.open(Path(__file__).parent / "images" / "kodim07_crop.png"))[
    :64, 96:160
]
STILLS = {
    "RGB": ImageData("RGB", PHOTOGRAPH),
    "L": ImageData("L", np.ascontiguousarray(PHOTOGRAPH[..., 1])),
}
NAMES = {"RGB": "fast", "L": "other"}  # the fast model was not trained on gray, and says so


@pytest.fixture(scope="module", autouse=True)
def shipped(tmp_path_factory):
    """{name: path}: the shipped models and `other`, the default but for one number.

    oneDNN's self-test runs once, and large start blocks leave few segments: these take the time.
    """
    folder = tmp_path_factory.mktemp("models")
    for path in installed.shipped_models().values():
        (folder / path.name).symlink_to(path)
    tensors, description, _ = model_file.read_model(folder / "default.safetensors")
    tensors["0.last.bias"][0] += 1
    model_file.write_model(folder / "other.safetensors", tensors, description)
    agrees, small = selftest.agrees, selftest.in_small_strips
    exact = agrees(small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            selftest,
            "agrees",
            lambda make, device="cpu": exact if make is small else agrees(make, device),
        )
        patch.setattr(installed, "MODELS", folder)
        patch.setattr(prior_codec, "START_SIDES", ((2, 64),))
        yield installed.shipped_models()


@pytest.fixture(scope="module")
def models(shipped):
    return {name: Model.open(name) for name in shipped}


class Made(dict):
    """Makes the file of a mode when it is first asked for."""

    def __init__(self, models):
        self.models = models

    def __missing__(self, mode):
        self[mode] = encode_image(STILLS[mode], model=self.models[NAMES[mode]])
        return self[mode]


@pytest.fixture(scope="module")
def made(models):
    """{mode: bytes} with the model as a Model: what all other ways must make too."""
    return Made(models)


@pytest.fixture(params=list(STILLS))
def mode(request):
    return request.param


@pytest.fixture
def name(mode):
    return NAMES[mode]


@pytest.fixture
def path(tmp_path, mode):
    """The image as a file."""
    Image.fromarray(STILLS[mode].samples).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def made_with(data, model):
    return container.read_header(data).model == model.id[:16]


@pytest.mark.slow
def test_by_name_path_and_model(made, mode, name, models):
    """Same bytes whichever way it is named; decoded by its id whatever model is at hand."""
    assert made_with(made[mode], models[name])
    assert encode_image(STILLS[mode], model=name, verify=True) == made[mode]
    assert encode_image(STILLS[mode], model=models[name].path) == made[mode]
    for named in (None, "default" if mode == "L" else models["default"]):
        assert same(decode_image(made[mode], model=named), STILLS[mode])
    if mode == "L":
        assert made_with(encode_image(STILLS[mode]), models["default"])


def test_arrays(models):
    """encode and decode of (H, W, 3)."""
    data = encode(PHOTOGRAPH, model="fast")
    assert (
        made_with(data, models["fast"])
        and np.array_equal(decode(data), PHOTOGRAPH)
        and np.array_equal(decode(data, model="default"), PHOTOGRAPH)
    )


def test_gray_is_never_another_models(models):
    """A model not trained on gray leaves it to the fallback codec: no other takes its place."""
    data = encode_image(STILLS["L"], model="fast")
    assert container.read_header(data).model in ("", models["fast"].id[:16]) and same(
        decode_image(data, model="fast"), STILLS["L"]
    )


def test_another_shipped_model_is_opened_once(made, models, monkeypatch):
    """A Model used for files of another keeps that one: opening is slower than a small image."""
    decode(made["RGB"], model=models["default"])
    monkeypatch.setattr(Model, "open", lambda *_, **__: pytest.fail("opened again"))
    assert np.array_equal(decode(made["RGB"], model=models["default"]), PHOTOGRAPH)


@pytest.mark.parametrize(
    "kinds",
    [
        ("RGB", "fast"),
        pytest.param(("L", "other"), marks=pytest.mark.slow),
        pytest.param(("both", "other"), marks=pytest.mark.slow),
    ],
)
def test_archives(kinds, models, tmp_path):
    """The images of one mode or both; verified, unpacked without a word about the model."""
    modes, name = kinds
    wanted = {mode: image for mode, image in STILLS.items() if modes in (mode, "both")}
    for mode, image in wanted.items():
        Image.fromarray(image.samples).save(tmp_path / f"{mode}.png")
    data, count = archive.encode_archive(sorted(tmp_path.glob("*.png")), model=name, verify=True)
    assert (
        count == len(wanted)
        and made_with(data, models[name])
        and container.read_header(data).fallback_count == 0
    )
    (tmp_path / "all.bbk").write_bytes(data)
    for restored in files.decompress_file(tmp_path / "all.bbk", folder=tmp_path / "out"):
        assert np.array_equal(np.array(Image.open(restored)), wanted[restored.stem].samples)


@pytest.mark.slow
def test_commands(made, mode, name, path, models, tmp_path):
    """compress, alone, beside others and into archives; then test, info, preview and decompress,
    without --model or with another.  (In processes: test_cli_many.py.)
    """
    one, whole = tmp_path / "one.bbk", tmp_path / "all.bbk"
    assert call("compress", path, "-o", one, "--model", name).exit_code == 0
    (tmp_path / "other.png").write_bytes(path.read_bytes())
    assert (
        call(
            "compress",
            "-j",
            "1",
            path,
            tmp_path / "other.png",
            "--dir",
            tmp_path / "jobs",
            "--model",
            name,
        ).exit_code
        == 0
    )
    assert one.read_bytes() == (tmp_path / "jobs" / "in.bbk").read_bytes() and made_with(
        one.read_bytes(), models[name]
    )
    assert call("compress", "--archive", whole, path, "--model", name).exit_code == 0
    assert made_with(whole.read_bytes(), models[name])
    assert call("test", one, whole).exit_code == 0
    facts, looks = [], []
    for named in ((), ("--model", "default")):
        facts.append(json.loads(call("info", "--borders", "--json", *named, one).stdout))
        assert call("preview", one, "-f", "-o", tmp_path / "look.png", *named).exit_code == 0
        assert call("decompress", one, "-f", "-o", tmp_path / "out.png", *named).exit_code == 0
        looks.append((tmp_path / "look.png").read_bytes())
        assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), STILLS[mode].samples)
    assert (
        facts[0] == facts[1] and facts[0]["model"] == models[name].id[:16] and looks[0] == looks[1]
    )


@pytest.mark.slow
def test_efforts(path, mode, models, tmp_path):
    """-e 1 is the fast model: of gray, that or none."""
    assert call("compress", path, "-o", tmp_path / "one.bbk", "-e", "1").exit_code == 0
    header = container.read_header((tmp_path / "one.bbk").read_bytes())
    assert header.model in [models["fast"].id[:16]] + [""] * (mode == "L")


@pytest.mark.slow
def test_tasks_of_other_processes(made, mode, name, path, models, tmp_path):
    """What -j and --dask hand to a worker: the path of the model."""
    task = pickle.loads(
        pickle.dumps(
            pool.Task("compress", str(path), str(tmp_path / "a.bbk"), model=str(models[name].path))
        )
    )
    header, size = pool.run_task(task)
    assert header.model == models[name].id[:16] and size == len(made[mode])
    (restored,), _ = pool.run_task(
        pool.Task("decompress", str(tmp_path / "a.bbk"), str(tmp_path / "a.png"))
    )
    assert np.array_equal(np.array(Image.open(restored)), STILLS[mode].samples)


@pytest.mark.slow
def test_preview_and_borders(made, mode, name, models):
    """From Python, with the name of the model, another, or none."""
    looks, costs = zip(
        *(
            (preview(made[mode], model=named), border_bits(made[mode], model=named))
            for named in (None, name, models["default"])
        )
    )
    assert (
        all(np.array_equal(look.pixels, looks[0].pixels) for look in looks)
        and len(set(costs)) == 1
        and costs[0] is not None
    )


@pytest.mark.slow
def test_pillow(mode, name, models):
    """save(model=...) by name and Model; open reads it without."""
    for named in (name, models[name]):
        out = io.BytesIO()
        Image.fromarray(STILLS[mode].samples).save(out, "BITSBACK", model=named)
        assert made_with(out.getvalue(), models[name])
        assert np.array_equal(
            np.array(Image.open(io.BytesIO(out.getvalue()))), STILLS[mode].samples
        )


@pytest.mark.slow
def test_numcodecs(mode, name, models):
    """By name and path, pickled, several images in a chunk; read by a codec of another model,
    which goes on encoding with its own.
    """
    Bitsback = pytest.importorskip(
        "bitsback.plugins.numcodecs", reason="numcodecs is not installed"
    ).Bitsback
    pixels, codec, other = STILLS[mode].samples, Bitsback(model=models[name].path), Bitsback()
    data, own = codec.encode(pixels), other.encode(pixels)
    assert (
        made_with(data, models[name])
        and made_with(own, models["default"])
        and np.array_equal(other.decode(data), pixels)
    )
    assert pickle.loads(pickle.dumps(Bitsback(name))).encode(pixels) == data
    assert (
        np.array_equal(codec.decode(own), pixels) and codec.encode(pixels) == data
    )  # what it decoded last does not matter
    if mode == "RGB":
        stack = np.stack([pixels, pixels[::-1]])
        assert made_with(codec.encode(stack), models[name]) and np.array_equal(
            other.decode(codec.encode(stack)), stack
        )


CHUNKS = {
    1: PHOTOGRAPH[..., 1],
    3: PHOTOGRAPH,
    4: np.dstack([PHOTOGRAPH, np.full(PHOTOGRAPH.shape[:2], 200, np.uint8)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("channels", CHUNKS)
@pytest.mark.parametrize("name", ["fast", "default", "best"])
def test_numcodecs_codes_with_the_model_asked_for(name, channels, models):
    """Every shipped model and kind of chunk: its own id in the file, or none where it was not
    trained on gray; read by the same codec and by the default one.
    """
    Bitsback = pytest.importorskip(
        "bitsback.plugins.numcodecs", reason="numcodecs is not installed"
    ).Bitsback
    chunk = CHUNKS[channels]
    with patch.object(mode_decision, "fallback_hopeless", lambda *_: True):
        data = Bitsback(model=name).encode(chunk)
    codes = channels > 1 or models[name].codes_gray
    assert container.read_header(data).model == (models[name].id[:16] if codes else "")
    for other in (name, None):
        assert np.array_equal(Bitsback(model=other).decode(data), chunk)
    if channels == 3:
        several = np.stack([chunk, chunk[::-1]])
        data = Bitsback(model=name).encode(several)
        assert container.read_header(data).model == models[name].id[:16]
        assert np.array_equal(Bitsback(model=name).decode(data), several)


@pytest.mark.slow
def test_threads_of_several_models(models):
    """Threads that share models: each file is that of its own."""
    pairs = [("RGB", "fast"), ("L", "other"), ("RGB", "default")]
    wanted = {pair: encode_image(STILLS[pair[0]], model=models[pair[1]]) for pair in pairs}

    def work(i):
        mode, name = pairs[i % 3]
        data = encode_image(STILLS[mode], model=models[name])
        return data == wanted[mode, name] and same(
            decode_image(data, model=models[pairs[(i + 1) % 3][1]]), STILLS[mode]
        )

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(6)))


def test_small_chunks_open_no_model(monkeypatch):
    """Neither colour nor gray of a few pixels."""
    module = pytest.importorskip("bitsback.plugins.numcodecs", reason="numcodecs is not installed")
    monkeypatch.setattr(Model, "open", lambda *_, **__: pytest.fail("a model was opened"))
    for image in STILLS.values():
        small = np.ascontiguousarray(image.samples[:20, :20])
        assert np.array_equal(
            module.Bitsback("fast").decode(module.Bitsback("fast").encode(small)), small
        )


def test_a_small_archive_is_the_same_by_name_and_by_model(models):
    """Two images too small for the prior alone: how the model is named does not matter."""
    images = [
        ImageData("RGB", np.ascontiguousarray(PHOTOGRAPH[top : top + 30, 8:38])) for top in (4, 34)
    ]
    entries = tuple(
        container.Entry(30, 30, str(i), check=checksums.image_check(image.samples))
        for i, image in enumerate(images)
    )
    by_name, by_model = (
        Encoder(model).encode_many(images, entries) for model in ("fast", models["fast"])
    )
    assert by_name == by_model and made_with(by_name, models["fast"])


def test_another_model_than_the_files_own(tiny_model):
    """The error names both: the one that is missing, and the one that was given."""
    with pytest.raises(WrongModel, match=f"made with model {'0' * 16}.* {tiny_model.id[:16]}$"):
        Model.of_file(tiny_model, "0" * 16)
