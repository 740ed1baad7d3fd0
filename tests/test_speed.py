"""What the benchmarks of speed and memory count, against other ways to count it."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import device_speed, folder
from benchmarks.device_measures import layer_bytes
from benchmarks.device_speed import Work, observed, parts_of_kernels
from benchmarks.speed_measures import Counter
from bitsback.ans.lanes import random_lanes
from bitsback.codecs import estimate
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.integer.convolution import Layer, Reference


def test_operations_of_the_network(eight_pass_model):
    """Two for each product of a segment's convolutions; the chain is as before afterwards."""
    chain = eight_pass_model.chain("cpu", Reference(eight_pass_model.layers))
    counter, work, x = Counter(), Work(), np.zeros((2, 3, 24, 20), np.int32)
    backend = chain.network.backend
    counter.watch(backend)
    lanes, top = random_lanes(x.size, len(chain.levels)), Top((0, 0, 0), (70, 70, 70))
    with observed(chain, work):
        chain.push(lanes, x, top, no_context(x))
    assert work.operations == 2 * counter.multiply_adds > 0
    assert work.segments == 1 and 0 < work.seconds <= work.host and work.waiting == 0
    before = work.operations
    chain.pop(lanes, x.shape, top, no_context(x))
    assert work.operations == before


def test_bytes_of_a_layer():
    """A block's second layer: 6 bytes in and, as sums in, sums out and bytes out, 9 out."""

    def layer(outputs, inputs, size=3):
        weight = torch.zeros(outputs, inputs, size, size, dtype=torch.int8)
        return Layer(weight, torch.zeros(1, outputs, dtype=torch.int32), torch.zeros(outputs))

    assert layer_bytes("down1.0.a", layer(4, 6), 100) == 100 * (6 + 4) + 4 * 6 * 9
    assert layer_bytes("down1.0.b", layer(4, 6), 100) == 100 * (6 + 4 * 9) + 4 * 6 * 9
    assert layer_bytes("last", layer(4, 6, 1), 10) == 10 * (6 + 4 * 4) + 4 * 6


def test_kernels_belong_to_the_network_or_to_the_coder():
    pytest.importorskip("triton")
    from bitsback.ans import lanes_push_triton, lanes_triton  # noqa: F401
    from bitsback.coder import distribution_triton, distribution_triton_pop  # noqa: F401
    from bitsback.integer import triton_kernels  # noqa: F401

    found = parts_of_kernels()
    assert found["convolve_kernel"] == found["digits_kernel"] == "network"
    assert found["push_gaussian"] == found["prepare"] == "coder"


def test_a_report(tmp_path, photograph, tiny_model, capsys, monkeypatch):
    """All rows, both ways, without a device."""
    Image.fromarray(photograph(56, 48)).save(tmp_path / "a.png")
    monkeypatch.setattr(device_speed, "int8_peak", lambda device: 1e12)
    monkeypatch.setattr(device_speed, "copy_bandwidth", lambda device: 1e9)
    device_speed.report(tmp_path / "a.png", [str(tiny_model.path)], "cpu", tmp_path / "out", 48)
    text = (tmp_path / "out.md").read_text("utf-8")
    assert text in capsys.readouterr().out and "| share of the int8 peak |" in text
    assert "| MP/s | 0.0" in text and "megapixels 0.002304" in text


def test_a_folder(tmp_path, photograph, tiny_model, monkeypatch):
    """Several at once and one by one: the same files; another pixel or byte is found."""
    monkeypatch.setattr("bitsback.codecs.mode_decision.fallback_hopeless", lambda *_: True)
    Image.fromarray(photograph(40, 90)).save(tmp_path / "a.png")
    sources, path = folder.pieces(tmp_path / "a.png", 2, 32, tmp_path), str(tiny_model.path)
    assert not np.array_equal(*map(folder.pixels, sources))
    many, one = tmp_path / "many", tmp_path / "one"
    facts = [folder.measure(sources, many, "cpu", 2, path)]
    facts.append(folder.measure(sources, one, "cpu", 1, path))
    for found in facts:
        assert found["images"] == 2 and not found["other pixels"] and found["decode MP/s"] > 0
    assert not folder.differing(sources, many, one)
    (one / "piece_1.bbk").write_bytes(b"")
    assert folder.differing(sources, many, one) == ["piece_1.bbk"]
    sources = folder.crops(sources, 16, tmp_path)
    assert folder.pixels(sources[0]).shape == (16, 16, 3)


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["default", *(pytest.param(n, marks=pytest.mark.slow) for n in ("best", "fast"))]
)
def test_the_announced_memory_of_a_device(name):
    """It is at least what a segment of 2^20 pixels of a photograph of 24 megapixels takes there,
    added up from all tensors, and at most a third more; far below 6 GiB.
    """
    pytest.importorskip("triton")
    from benchmarks.footprint import segment_peaks

    model = Model.open(name)
    peaks = segment_peaks(model, 1024, 1024, estimate.WORDS)
    announced = estimate.device_bytes(model)
    assert max(peaks) <= announced <= 4 / 3 * max(peaks) and announced < 2**31


def test_a_footprint_counts_what_is_held():
    """At the peak, not in sum; views take nothing; a list of tensors does."""
    from benchmarks.footprint import Footprint

    with Footprint("cpu") as counted:
        for _ in range(3):
            a = torch.zeros(1024, dtype=torch.float32)
            b = a[3:].view(-1)
            del a, b
        pair = torch.ones(256).split(128)
        assert counted.held == 1024 and counted.peak == 4096
        both = [torch.cat(pair), torch.empty(1)]
    assert counted.held == 1024 + 1024 + 512 and len(both) == 2


def test_the_announced_memory_of_the_host():
    """An upper bound of what was measured of whole images of 24 megapixels, of best 12, and of one
    segment (benchmarks/results/memory.md), by half at most.
    """
    whole = {"fast": 1391, "default": 2696, "best-1.0": 3173, "best": 3414}
    segment = {"fast": 914, "default": 1199, "best-1.0": 1644, "best": 1974}
    for name, peak in whole.items():
        model, pixels = Model.open(name), 12_000_000 if name == "best" else 24_000_000
        assert peak <= estimate.host_bytes(model, pixels) / 2**20 <= 1.5 * peak
        two = estimate.host_bytes(model, 2 * 2**20) / 2**20 - 2 * estimate.IMAGE_BYTES
        assert segment[name] <= two <= 1.4 * segment[name]
