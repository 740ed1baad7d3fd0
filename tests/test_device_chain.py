"""A segment coded as tensors, by torch operations and by Triton kernels: the host's bytes."""

import numpy as np
import pytest

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import Kernels
from bitsback.ans.lanes import Lanes
from bitsback.codecs import segments, sharpness
from bitsback.codecs.bitstream import container
from bitsback.codecs.decoder import decode
from bitsback.coder.context import Context
from bitsback.coder.top import Top
from bitsback.errors import StackEmpty
from bitsback.integer.convolution import Reference
from bitsback.integer.ensemble import IntegerEnsemble

pytest.importorskip("triton")
KINDS = [False, True]  # torch operations, Triton kernels


def chains(model, device, kernels, kind=Reference):
    """(the host's chain, the one of tensors on a device); kind: the backend of the latter."""
    host = model.chain("cpu", Reference(model.layers))
    chosen = Kernels(kernels, kernels, kernels)
    return host, model.chain(str(device), kind(model.layers, device), kernels=chosen)


def credit(x):
    lanes = Lanes(np.random.default_rng(1).bytes(6 * x.size + 4096))
    lanes.widen(33)
    return lanes


def laws(model, device, kernels, x, context, sharpness=0, kind=Reference):
    """Both chains push the same bytes, watched alike, and pop what was pushed."""
    pair = chains(model, device, kernels, kind)
    top = Top((3, -5, 9), (70, 71, 69))
    found = []
    for chain in pair:
        lanes, watched = credit(x), []
        counts = ColourCounts(sharpness) if sharpness else None
        if counts:
            counts.count_all(x)
        counts = chain.counts_for(counts)
        chain.push(lanes, x, top, context, lambda s, w=watched: w.append(s.size_bits), counts)
        data = lanes.to_bytes()
        found.append((data, list(map(int, watched))))
        counts = chain.counts_for(ColourCounts(sharpness) if sharpness else None)
        back = chain.pop(lanes, x.shape, top, context, counts=counts)
        assert np.array_equal(back, x)
        assert lanes.to_bytes() == credit(x).to_bytes()
    assert found[0] == found[1]


def pixels(shape, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.integers(-3, 4, shape), 3)
    return np.clip(smooth + rng.integers(-40, 40, (*shape[:2], 1, 1)), -128, 127).astype(np.int32)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("shape", [(1, 3, 9, 14), (2, 1, 8, 5)])
def test_an_ensemble_codes_alike(device, ensemble_model, kernels, shape, monkeypatch):
    """Inputs of one model in a batch, on tensors of a CPU as on a GPU."""
    runs_of = IntegerEnsemble._runs_of
    monkeypatch.setattr(IntegerEnsemble, "_runs_of", lambda self, m, _: runs_of(self, m, True))
    x = pixels(shape)
    laws(ensemble_model, device, kernels, x, Context(x[:, :, :0], x[:, :, :, :0]), 3)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize(
    "shape, sharpness",
    [((1, 3, 1, 1), 0), ((2, 3, 7, 10), 3), ((1, 1, 9, 5), 3), ((3, 1, 1, 6), 0)],
)
def test_the_host_and_tensors_code_alike(device, short_model, kernels, shape, sharpness):
    """Colour and gray, batches, odd sizes, with and without colour counts."""
    x = pixels(shape)
    laws(short_model, device, kernels, x, Context(x[:, :, :0], x[:, :, :, :0]), sharpness)


@pytest.mark.parametrize("kernels", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_masks_and_context(device, short_eight_pass_model, kernels, channels):
    """Fixed samples inside, known pixels around, eight passes, colour counts."""
    whole = pixels((1, channels, 14, 11), 5)
    x = np.ascontiguousarray(whole[:, :, :8, :6])
    free = np.random.default_rng(2).random(x.shape) < 0.5
    context = Context(whole[:, :, 8:], whole[:, :, :8, 6:], free, x[~free])
    laws(short_eight_pass_model, device, kernels, x, context, 2)


def test_convolutions_by_kernels(device, short_model):
    """All that a GPU does, under the interpreter."""
    from bitsback.integer.triton_convolution import TritonInt8

    whole = pixels((1, 3, 14, 13), 5)
    x = np.ascontiguousarray(whole[:, :, :6, :6])
    context = Context(whole[:, :, 6:], whole[:, :, :6, 6:])
    laws(short_model, device, True, x, context, 2, TritonInt8)


@pytest.mark.parametrize("kernels", KINDS)
def test_nothing_is_coded_where_all_samples_are_fixed(device, short_model, kernels):
    """Empty arrays."""
    x = pixels((1, 3, 4, 6))
    free = np.zeros(x.shape, bool)
    context = Context(x[:, :, :0], x[:, :, :, :0], free, x[~free])
    laws(short_model, device, kernels, x, context, 1)


@pytest.mark.parametrize("kernels", KINDS)
def test_a_stack_that_runs_dry_is_found_at_the_end(device, short_model, kernels):
    """StackEmpty, and lanes that were not changed."""
    x = pixels((1, 3, 4, 6))
    _, chain = chains(short_model, device, kernels)
    lanes = Lanes(bytes(range(64)))
    lanes.widen(9)
    before = lanes.to_bytes()
    with pytest.raises(StackEmpty):
        chain.push(lanes, x, Top((0, 0, 0), (70, 70, 70)), Context(x[:, :, :0], x[:, :, :, :0]))
    assert lanes.to_bytes() == before


@pytest.mark.parametrize(
    "kernels, side", [(False, 64), pytest.param(True, 48, marks=pytest.mark.slow)]
)
def test_a_file_is_the_same(
    device, two_level_model, kernels, side, photograph, prior_file, monkeypatch
):
    """Segments that run dry and are tried again, a flat corner, colours that are counted.

    Of 64x64 pixels 15 segments run dry, of 48x48 one.
    """
    monkeypatch.setattr(segments, "SAMPLES_PER_LANE", 48)  # few steps: the interpreter is slow
    monkeypatch.setattr(sharpness, "SHARPNESS_PAYS", -9.0)  # random weights: nothing pays
    image = photograph(side, side) // 4 * 4
    image[side // 2 :, side // 4 :] = 17
    host, chain = chains(two_level_model, device, kernels)
    monkeypatch.setitem(two_level_model._chains, "cpu", host)
    expected = prior_file(image, two_level_model)
    monkeypatch.setitem(two_level_model._chains, str(device), chain)
    data = prior_file(image, two_level_model, str(device))
    assert data == expected and container.read_header(data).sharpness
    assert np.array_equal(decode(data, model=two_level_model, device=str(device)), image)
