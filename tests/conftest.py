"""Fixtures of all tests: fixed seeds, one thread, tiny models with random weights, photographs."""

import dataclasses
import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():  # Triton reads it when it is imported: kernels run on CPU tensors
    os.environ.setdefault("TRITON_INTERPRET", "1")

from hypothesis import HealthCheck, settings
from PIL import Image

from bitsback.ans.gaussian_tables import Gaussians, gaussian_frequencies
from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.io import files
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.integer.config import NetworkConfig
from bitsback.integer.installed import FOLDER_VARIABLE
from bitsback.train.denoiser import Denoiser
from bitsback.train.ensemble import save_ensemble
from bitsback.train.experts import Experts
from bitsback.train.export import save_model

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
on_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    pytest.mark.skipif(INTERPRETED, reason="kernels are interpreted"),
]
TINY = NetworkConfig(16, 1, 16, 1, 16, 1, embedding=16, head=16, passes=8)
FOUR = dataclasses.replace(TINY, passes=4)


def unshuffled(known):
    """(B, 3, H, W) innovations -> (B, h, w, 12) int8 of 2x2 blocks, as IntegerNetwork.head takes.

    Zeros are added up to multiples of 8.
    """
    padded = np.pad(known, ((0, 0), (0, 0), (0, -known.shape[2] % 8), (0, -known.shape[3] % 8)))
    batch, channels, height, width = padded.shape
    blocks = padded.reshape(batch, channels, height // 2, 2, width // 2, 2).transpose(
        0, 2, 4, 1, 3, 5
    )
    return blocks.reshape(batch, height // 2, width // 2, 12).astype(np.int8)


settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")


@pytest.fixture(
    params=[
        pytest.param(
            "cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled")
        ),
        pytest.param("cuda", marks=on_cuda),
    ]
)
def device(request):
    """Where kernels run: on CPU tensors under Triton's interpreter, and on a CUDA device."""
    return torch.device(request.param)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def codec_device(request):
    """Where files are coded: on the host, and on a CUDA device."""
    return request.param


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_added_models(tmp_path_factory):
    """Whoever runs the tests may have added models: they look into a folder that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(tmp_path_factory.mktemp("user") / "models"))
        yield


def random_network(seed, config=TINY):
    """A Denoiser whose every weight is random, the layers that start at zero included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Denoiser(config)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.03 * torch.randn(parameter.shape))
    return network.eval().requires_grad_(False)


@functools.cache
def tiny_network_of(passes):
    return random_network(7, dataclasses.replace(TINY, passes=passes))


@pytest.fixture(scope="session")
def tiny_network():
    """Two coding passes a level: coding takes time in proportion to the passes."""
    return tiny_network_of(2)


@pytest.fixture(scope="session")
def eight_pass_network():
    return tiny_network_of(8)


def _model_file(folder, network, levels=default_levels()):
    path = folder / "tiny.safetensors"
    save_model(
        path,
        network,
        levels,
        {"minutes": 0, "steps": 0, "device": "cpu", "data": "random weights"},
    )
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Two passes; a module about passes overrides this by eight_pass_model."""
    return Model(_model_file(tmp_path_factory.mktemp("tiny"), tiny_network_of(2)))


@pytest.fixture
def opened_model(tiny_model, monkeypatch):
    """tiny_model as every model that is opened, for commands that are run many times."""
    monkeypatch.setattr(Model, "open", lambda *_, **__: tiny_model)
    return tiny_model


@pytest.fixture(scope="session")
def eight_pass_model(tmp_path_factory):
    return Model(_model_file(tmp_path_factory.mktemp("eight"), tiny_network_of(8)))


def _short_model(folder, passes, levels):
    return Model(_model_file(folder, tiny_network_of(passes), levels))


@pytest.fixture(scope="session")
def short_model(tmp_path_factory):
    """The first, a middle and the last level alone: a third of the time for interpreted kernels."""
    return _short_model(tmp_path_factory.mktemp("short"), 2, default_levels()[::4])


@pytest.fixture(scope="session")
def two_level_model(tmp_path_factory):
    """The first and the last level alone."""
    return _short_model(tmp_path_factory.mktemp("two"), 2, default_levels()[::8])


@pytest.fixture(scope="session")
def short_eight_pass_model(tmp_path_factory):
    return _short_model(tmp_path_factory.mktemp("short8"), 8, default_levels()[::4])


@pytest.fixture(scope="session")
def expert_model(tmp_path_factory):
    """Two networks of different sizes and passes that share the levels out."""
    noise = sigmas(default_levels())
    experts = Experts(
        [
            tiny_network_of(8),
            random_network(9, NetworkConfig(16, 1, 24, 2, 16, 1, embedding=16, head=24)),
        ],
        [range(5), range(5, len(noise))],
        noise,
    )
    return Model(_model_file(tmp_path_factory.mktemp("experts"), experts))


MEMBERS = [
    {"levels": [0, 0], "member": [["a", "", 3], ["a", "columns", 3], ["b", "rows", 2]]},
    {"levels": [1, 1], "member": [["b", "both", 1]]},
]


def ensemble_of(folder, models, steps, images=(), name="ensemble.safetensors"):
    """The Model of an ensemble; models: {name: Model}, which are added models while it is read."""
    added = folder / "added"
    added.mkdir(exist_ok=True)
    for model in models.values():
        shutil.copy(model.path, added / f"{model.id[:16]}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(added))
        named = [
            step | {"member": [[models[of].id, *rest] for of, *rest in step["member"]]}
            for step in steps
        ]
        return save_ensemble({"step": named}, folder / name, images)


@pytest.fixture(scope="session")
def ensemble_model(tmp_path_factory, photograph):
    """Of two networks of four passes and two levels: means of three, and one mirrored both ways,
    with rows of its own for pixels."""
    folder = tmp_path_factory.mktemp("ensemble")
    networks = {name: random_network(seed, FOUR) for name, seed in (("a", 3), ("b", 4))}
    models = {}
    for name, network in networks.items():
        (folder / name).mkdir()
        models[name] = Model(_model_file(folder / name, network, default_levels()[:2]))
    return ensemble_of(folder, models, MEMBERS, [photograph(64, 64, seed) for seed in range(3)])


@pytest.fixture(scope="session")
def other_model(tmp_path_factory):
    """Another model of the same network, with another id."""
    return Model(
        _model_file(
            tmp_path_factory.mktemp("other"), random_network(8, dataclasses.replace(TINY, passes=2))
        )
    )


@pytest.fixture(scope="session")
def gaussians():
    return Gaussians(gaussian_frequencies())


@pytest.fixture(scope="session")
def photograph():
    """photograph(height, width, seed=0) -> (H, W, 3) uint8: smooth colours, an edge, and noise."""

    def make(height, width, seed=0):
        rng = np.random.default_rng(seed)
        i, j = np.mgrid[0:height, 0:width]
        light = 128 + 50 * np.sin(i / 23 + j / 37) + 40 * (i + 2 * j > height + width / 2)
        colours = np.stack(
            [light, 0.8 * light + 20 * np.cos(i / 31 - j / 19), 0.6 * light + 0.2 * j], -1
        )
        noise = rng.normal(0, 3, (height, width, 1)) + rng.normal(0, 1, (height, width, 3))
        return np.clip(np.rint(colours + noise), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def prior_file(tiny_model):
    """prior_file(pixels, model=tiny_model) -> bytes of a file whose segments are under the prior.

    With random weights the prior loses against the fallback codec: `encode` would not choose it.
    """

    def make(pixels, model=tiny_model, device="cpu"):
        header = Header((Entry(pixels.shape[1], pixels.shape[0]),), pixel_digest([pixels]))
        header, payload = prior_codec.encode_stack([pixels], header, model, device)
        assert header.model == model.id[:16] and header.segments
        return container.write(header, payload)

    return make


@pytest.fixture
def folder(tmp_path, photograph):
    """A folder with a.png and b.png, 9x11 and 7x5."""
    Image.fromarray(photograph(9, 11, 1)).save(tmp_path / "a.png")
    Image.fromarray(photograph(7, 5, 2)).save(tmp_path / "b.png")
    return tmp_path


@pytest.fixture
def inputs(tmp_path, photograph):
    """a.png, its a.bbk, an archive all.bbk of in/b.png, and data/ with an image to train on."""
    Image.fromarray(photograph(9, 11, 1)).save(tmp_path / "a.png")
    for place in ("in", "data"):
        (tmp_path / place).mkdir()
    Image.fromarray(photograph(7, 5, 2)).save(tmp_path / "in" / "b.png")
    Image.fromarray(photograph(24, 24)).save(tmp_path / "data" / "p.png")
    files.compress_file(tmp_path / "a.png", tmp_path / "a.bbk")
    files.compress_archive([tmp_path / "in"], tmp_path / "all.bbk")
    return tmp_path


@pytest.fixture(scope="session")
def trained_checkpoint(tmp_path_factory, photograph):
    """A checkpoint of a run of a few steps."""
    from tests.commands import TINY_RUN, call  # which imports this module

    folder = tmp_path_factory.mktemp("checkpoint")
    Image.fromarray(photograph(24, 24)).save(folder / "p.png")
    run = ["-o", folder / "m", "--minutes", "0.001", "--batch", 8, "-q", *TINY_RUN]
    assert call("train", folder, *run).exit_code == 0
    return folder / "m.ckpt"


@pytest.fixture
def checkpoint(inputs, trained_checkpoint):
    """Its copy start.ckpt among the inputs."""
    return Path(shutil.copy(trained_checkpoint, inputs / "start.ckpt"))
