"""On a device: tuning, samples, previews, and the commands' --device."""

import numpy as np
import pytest
import torch

from bitsback.ans.device_lanes import Kernels
from bitsback.cli.main import main
from bitsback.codecs import prior_codec, segments
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.decoder import decode
from bitsback.integer.convolution import Reference
from bitsback.sampling.gallery import draw_images
from bitsback.sampling.preview import preview
from bitsback.tune import tuning
from tests.commands import TINY_RUN, call, error_lines, load, names, save
from tests.conftest import on_cuda

pytest.importorskip("imagecodecs")  # commands need it; a machine lent for its GPU may lack it


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_cuda)])
def there(request, short_model, monkeypatch):
    """A device whose chain of short_model codes tensors; torch operations on a CPU stand for it."""
    monkeypatch.setattr(segments, "SAMPLES_PER_LANE", 48)  # few steps
    if request.param == "cpu":
        kernels, backend = Kernels(False, False, False), Reference(short_model.layers)
        chain = short_model.chain("cpu", backend, kernels=kernels)
        monkeypatch.setitem(short_model._chains, "cpu", chain)
    assert short_model.chain(request.param).tensors
    return request.param


@pytest.fixture
def host(short_model, monkeypatch):
    """Does `work` with the chain of the host's arrays."""

    def on_host(work):
        with monkeypatch.context() as patch:
            chain = short_model.chain("cpu", Reference(short_model.layers))
            patch.setitem(short_model._chains, "cpu", chain)
            return work("cpu")

    return on_host


@pytest.mark.parametrize("sampler", ["ancestral", "seeds3"])
def test_samples(there, host, short_model, sampler):
    """The coder's own chain from random bits is the host's; samplers end where the host's do."""

    def draw(device):
        generator = torch.Generator().manual_seed(1)
        return draw_images(short_model, (2, 3, 24, 17), generator, sampler=sampler, device=device)

    ours, expected = draw(there), host(draw)
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("shown", [1, 2])
def test_previews(there, host, short_model, prior_file, photograph, shown):
    """The part that decodes first, and one that is decoded whole before it."""
    data = host(lambda device: prior_file(photograph(64, 64), short_model, device))

    def look(device):
        return preview(data, model=short_model, segments=shown, device=device)

    ours, expected = look(there), host(look)
    assert np.array_equal(ours.pixels, expected.pixels) and ours.known.any()
    assert np.array_equal(ours.known, expected.known) and ours.share == expected.share


def test_a_file_tuned_on_a_device_decodes_everywhere(there, host, short_model, photograph):
    """Which updates are found may depend on the device: they are stored."""
    image = photograph(256, 264)
    entry = container.Entry(264, 256)
    header = container.Header((entry,), container.pixel_digest([image]))
    updates = tuning.tune(short_model, [image], 20, device=there)
    assert updates is not None and updates.dtype == np.int32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SAMPLES_PER_LANE", 512)
        patch.setattr(prior_codec, "tune", lambda *_, **__: updates)
        found = prior_codec.encode_stack([image], header, short_model, there, tuning=20)
        data = container.write(*found)
        assert container.read_header(data).section(Tag.BIAS_UPDATES)

        def back(device):
            return decode(data, model=short_model, device=device)

        assert np.array_equal(back(there), image) and np.array_equal(host(back), image)


WITH_DEVICE = ["compress", "decompress", "evaluate", "test", "info", "preview", "sample", "train"]


def test_every_command_that_computes_has_the_option():
    found = {
        name
        for name, command in main.commands.items()
        if any("--device" in parameter.opts for parameter in command.params)
    }
    assert found == {*WITH_DEVICE, "view"}  # which serves until it is stopped: test_view.py


ARGUMENTS = {
    "compress": ["a.png", "-o", "new.bbk"],
    "decompress": ["a.bbk", "-o", "new.png"],
    "evaluate": ["data", "--measure", "net"],
    "test": ["a.bbk"],
    "info": ["a.bbk"],
    "preview": ["a.bbk", "-o", "new.png"],
    "sample": ["-o", "new.png", "--count", 1, "--size", "8x8", "--steps", 1],
    "train": ["data", "-o", "new", "--minutes", 0.001, "--batch", 8, *TINY_RUN[2:]],
    "view": ["a.bbk"],
}


@pytest.mark.parametrize("device", ["cuda:99", "toaster", "cpu:x", ""])
@pytest.mark.parametrize("command", [*WITH_DEVICE, "view"])
def test_a_device_that_is_not_there(command, device, inputs, monkeypatch):
    """A usage error with its name, and nothing is written."""
    monkeypatch.chdir(inputs)
    before = names(inputs)
    result = call(command, *ARGUMENTS[command], "--device", device)
    assert result.exit_code == 2 and f"--device {device}" in error_lines(result)[-1]
    assert names(inputs) == before


@pytest.mark.parametrize("command", WITH_DEVICE)
def test_commands_on_a_device(
    command, codec_device, inputs, monkeypatch, tiny_model, prior_file, photograph
):
    """All end well; files and restored images are those of a CPU."""
    monkeypatch.chdir(inputs)
    save(photograph(64, 56), "a.png")
    (inputs / "a.bbk").write_bytes(prior_file(load("a.png")))
    arguments = [*ARGUMENTS[command], "--device", codec_device]
    if command != "train":
        arguments += ["--model", tiny_model.path]
    result = call(command, *arguments)
    assert result.exit_code == 0, result.output
    if command == "decompress":
        assert np.array_equal(load("new.png"), load("a.png"))
    if command == "compress":
        call("compress", "a.png", "-o", "cpu.bbk", "--model", tiny_model.path)
        assert (inputs / "new.bbk").read_bytes() == (inputs / "cpu.bbk").read_bytes()
    if command == "info":
        assert f"on {codec_device}" in result.stdout
